"""Finding the session folders of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.errors import DataError

__all__ = ["SPLITS", "data_root", "find_sessions", "find_test_sessions", "split_file"]

SPLITS = ("train", "val", "test")


def split_file(root: Path, session: str, split: str) -> Path:
    """Where a session keeps the trials of one split."""
    return root / session / f"data_{split}.hdf5"


def data_root(data_dir: Path) -> Path:
    """The folder of session folders: `data_dir` itself, or its ``hdf5_data_final``. Raises `DataError`."""
    if not data_dir.is_dir():
        what = "is not a folder" if data_dir.exists() else "does not exist"
        raise DataError(f"data folder {data_dir} {what}", hint="name it with --data-dir")
    inner = data_dir / "hdf5_data_final"
    return inner if inner.is_dir() else data_dir


def find_sessions(root: Path, named: Sequence[str]) -> tuple[str, ...]:
    """The sessions to train on: those `named`, else every folder with HDF5 files, sorted.

    Raises `DataError` when a session has no folder or no training data, or when there is none at all.
    """
    sessions = tuple(named) or _discover(root)
    if not sessions:
        raise DataError(f"{root}: holds no session folders with data_train.hdf5")
    for session in sessions:
        if not (root / session).is_dir():
            raise DataError(f"session {session} has no folder in {root}")
        if not split_file(root, session, "train").is_file():
            raise DataError(
                f"session {session} has no training data: {split_file(root, session, 'train')} is missing",
                hint="leave the session out of dataset.sessions",
            )
    return sessions


def find_test_sessions(root: Path, named: Sequence[str] = ()) -> tuple[str, ...]:
    """The sessions with a test split, in the order of `named`, else sorted by name.

    A session without a test file has nothing to decode, as in the official data; a session without a folder is
    missing. Raises `DataError` for that, and when no session has a test file.
    """
    sessions = tuple(named) or _discover(root)
    for session in sessions:
        if not (root / session).is_dir():
            raise DataError(
                f"session {session} has no folder in {root}: the submission would lack its sentences",
                hint="copy the missing session, or name the right folder with --data-dir",
            )
    found = tuple(s for s in sessions if split_file(root, s, "test").is_file())
    if not found:
        raise DataError(f"{root}: no session has a data_test.hdf5")
    return found


def _discover(root: Path) -> tuple[str, ...]:
    folders = (p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return tuple(sorted(p.name for p in folders if any(split_file(root, p.name, s).exists() for s in SPLITS)))
