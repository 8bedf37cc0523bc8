"""The competition's submission: ``id,text``, one line per test trial, and the check before it is called done.

Ids count from 0 over the sessions in configured order and, within one, the trials in the order of their file. A
submission made of synthetic data says so in its name and is never accepted: the file itself has no room for a mark.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from trainer.durable import replace_text
from trainer.errors import BadSubmission, DataError
from trainer.sessions import data_root, find_test_sessions, split_file

__all__ = ["check_format", "check_submission", "count_test_trials", "submission_name", "write_submission"]

HEADER = ["id", "text"]
SYNTHETIC = "synthetic"


def submission_name(synthetic: bool) -> str:
    """``submission.csv``, or a name that says that the data were synthetic."""
    return f"submission_{SYNTHETIC}.csv" if synthetic else "submission.csv"


def write_submission(path: Path, sentences: Sequence[str]) -> None:
    """Write the sentences, already in the official order, by rename."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(enumerate(sentences))
    replace_text(path, out.getvalue())


def check_format(path: Path, num_trials: int | None = None) -> list[str]:
    """Read a submission back and return what deserves a second look. Raises `BadSubmission` for what is wrong."""
    rows = _rows(path)
    if not rows or rows[0] != HEADER:
        found = ",".join(rows[0]) if rows else "nothing"
        raise BadSubmission(f"{path}: the first line must be id,text and is {found}")
    for number, row in enumerate(rows[1:]):
        _check_row(path, number, row)
    found_trials = len(rows) - 1
    if num_trials is not None and found_trials != num_trials:
        raise BadSubmission(
            f"{path}: {found_trials} sentences, and the test split has {num_trials} trials",
            hint="decode every session of the run, and leave no trial out",
        )
    if not found_trials:
        raise BadSubmission(f"{path}: holds no sentence")
    empty = [int(row[0]) for row in rows[1:] if not row[1].strip()]
    return [f"{len(empty)} sentences are empty, the first is id {empty[0]}"] if empty else []


def _rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadSubmission(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise BadSubmission(f"{path}: is not UTF-8 text (byte {error.start})") from error
    try:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise BadSubmission(f"{path}: is not CSV: {error}") from error


def _check_row(path: Path, number: int, row: list[str]) -> None:
    if len(row) != 2:
        raise BadSubmission(f"{path}: sentence {number} has {len(row)} fields, expected id,text")
    if row[0] != str(number):
        raise BadSubmission(f"{path}: expected id {number}, found {row[0]!r}: ids count from 0 without gaps")
    if any(sign in row[1] for sign in "\r\n"):
        raise BadSubmission(f"{path}: the text of id {number} contains a line break")


def count_test_trials(data_dir: Path, sessions: Sequence[str] = ()) -> tuple[int, bool]:
    """Trials of the test split, and whether any of its files is synthetic.

    `sessions` empty: every session folder. Raises `DataError` when a session is missing or none has a test file.
    """
    import h5py

    root = data_root(data_dir)
    count, synthetic = 0, False
    for session in find_test_sessions(root, sessions):
        path = split_file(root, session, "test")
        try:
            with h5py.File(path, "r") as file:
                count += len(file)
                synthetic |= bool(file.attrs.get(SYNTHETIC, 0))
        except OSError as error:
            raise DataError(f"{path}: truncated or not HDF5 ({error})") from error
    return count, synthetic


def check_submission(path: Path, data_dir: Path, sessions: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Everything that must hold before a file is handed in: (number of sentences, remarks).

    Raises `BadSubmission` for a wrong format, a wrong number of sentences, or anything synthetic.
    """
    expected, synthetic = count_test_trials(data_dir, sessions)
    remarks = check_format(path, expected)
    if synthetic or SYNTHETIC in path.name.lower():
        raise BadSubmission(
            f"{path}: made of synthetic data: nothing to hand in",
            hint="train and decode with the competition's data",
        )
    return expected, remarks
