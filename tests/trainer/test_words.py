"""Words: the official normalisation case by case, word errors, and the submission file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.cli import main
from trainer.errors import BadSubmission, DataError
from trainer.submission import check_format, check_submission, submission_name, write_submission
from trainer.synthetic import SyntheticSpec, write_dataset
from trainer.words import WordErrors, normalise, word_edits, word_error_rate, word_errors


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("How are you?", "how are you"),
        ("Not too controversial.", "not too controversial"),
        ("It's 5 o'clock", "it's o'clock"),
        ("a well-known fact", "a well-known fact"),
        ("a well- known fact", "a well known fact"),
        ("wait -- what", "wait - what"),  # the hyphen before the blank goes first, one is left
        ("wait--what", "waitwhat"),
        ("the dogs ' tails", "the dogs' tails"),
        ("don 't", "don't"),
        ("one,two", "onetwo"),  # what is removed leaves no blank
        ("  many   blanks ", "many blanks"),
        ("a \n newline", "a newline"),
        ("naïve café", "nave caf"),
        ("", ""),
        ("...", ""),
    ],
)
def test_both_sides_are_spelled_as_in_the_official_scoring(sentence: str, expected: str) -> None:
    assert normalise(sentence) == expected


@given(st.text(alphabet="aB-' .,", max_size=30))
def test_normalised_sentences_hold_only_what_is_scored(sentence: str) -> None:
    assert set(normalise(sentence)) <= set("ab-' ")
    assert normalise(sentence) == " ".join(normalise(sentence).split())


def slow_edits(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(slow_edits(a[1:], b) + 1, slow_edits(a, b[1:]) + 1, slow_edits(a[1:], b[1:]) + (a[0] != b[0]))


@given(st.lists(st.sampled_from("xyz"), max_size=5), st.lists(st.sampled_from("xyz"), max_size=5))
def test_word_edits_are_the_fewest(a: list[str], b: list[str]) -> None:
    assert word_edits(a, b) == slow_edits(tuple(a), tuple(b))


def test_errors_are_summed_over_sentences_before_they_are_divided() -> None:
    pairs = [("a b c d", "a b c d"), ("x", "Y."), ("", "two words")]
    assert word_error_rate(pairs) == 3 / 7
    assert word_errors("The cat's -- here", "the cat's here!") == WordErrors(1, 3)
    assert WordErrors().rate == 0.0


def write_test_split(root: Path, session: str, trials: int, *, synthetic: bool = False) -> None:
    path = root / session / "data_test.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        for index in range(trials):
            file.create_group(f"trial_{index:04d}")["input_features"] = np.zeros((20, 4), np.float32)
        if synthetic:
            file.attrs["synthetic"] = 1


def test_a_submission_is_read_back_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_test_split(tmp_path / "data", "t15.2023.08.11", 2)
    write_test_split(tmp_path / "data", "t15.2023.08.13", 1)
    (tmp_path / "data" / "t15.2023.08.18").mkdir()  # a session without a test split, as there are
    path = tmp_path / "submission.csv"
    write_submission(path, ["how are you", "", 'he said "no", twice'])
    assert path.read_bytes() == b'id,text\n0,how are you\n1,\n2,"he said ""no"", twice"\n'
    count, remarks = check_submission(path, tmp_path / "data")
    assert count == 3
    assert remarks == ["1 sentences are empty, the first is id 1"]
    assert main(["submission", "check", str(path), "--data-dir", str(tmp_path / "data")]) == 0
    assert "3 sentences" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"t15\.2023\.09\.01 has no folder"):
        check_submission(path, tmp_path / "data", ["t15.2023.08.11", "t15.2023.09.01"])
    with pytest.raises(BadSubmission, match="3 sentences, and the test split has 2 trials"):
        check_submission(path, tmp_path / "data", ["t15.2023.08.11"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is nothing"),
        (b"id;text\n0;x\n", "is id;text"),
        (b"id,text\n", "holds no sentence"),
        (b"id,text\n1,x\n", "expected id 0, found '1'"),
        (b"id,text\n0,x\n2,y\n", "expected id 1, found '2'"),
        (b"id,text\n0,x,y\n", "has 3 fields"),
        (b'id,text\n0,"a\nb"\n', "line break"),
        (b'id,text\n0,"a\n', "is not CSV"),
        (b"id,text\n0,caf\xe9\n", "is not UTF-8"),
    ],
)
def test_a_wrong_submission_is_refused_with_what_is_wrong(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "submission.csv"
    path.write_bytes(content)
    with pytest.raises(BadSubmission, match=complaint):
        check_format(path)


def test_synthetic_results_are_never_a_submission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = SyntheticSpec.tiny()
    write_dataset(tmp_path / "data", spec)
    path = tmp_path / "innocent.csv"
    write_submission(path, ["words"] * spec.sessions * spec.test)
    assert check_format(path, spec.sessions * spec.test) == []
    assert main(["submission", "check", str(path), "--data-dir", str(tmp_path / "data")]) == 2
    assert "synthetic" in capsys.readouterr().err
    write_test_split(tmp_path / "real", "t15.2023.08.11", 4)
    named = tmp_path / submission_name(synthetic=True)
    path.rename(named)
    with pytest.raises(BadSubmission, match="synthetic"):
        check_submission(named, tmp_path / "real")
