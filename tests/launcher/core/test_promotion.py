"""What takes the place of a file at home: only what is better, with what was there kept."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.job import Promote
from launcher.promotion import Candidate, compared, promote
from launcher.runners.base import StageFile
from provisioning.models import utc_now

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def made(folder: Path, content: bytes, value: float | None, run_id: str = "night-0002") -> Candidate:
    """A result that is home."""
    source = folder / "results" / run_id / "models/best.pt"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(content)
    file = StageFile(
        name="models/best.pt", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    return Candidate(source=source, file=file, value=value, run_id=run_id, stage="compare")


WANTED = Promote(file="models/best.pt", metric="val", by=0.05)


def test_better_replaces_worse_stays_and_nothing_is_lost(tmp_path: Path) -> None:
    target, now = tmp_path / "models/best.pt", utc_now()
    first = promote(WANTED, made(tmp_path, b"first", 0.50, "night-0001"), tmp_path, now)
    assert (first.promoted, target.read_bytes()) == (True, b"first")
    for value, words in (
        (0.60, "worse by 0.1"),
        (0.48, "better by 0.02 only, at least 0.05"),
        (0.5, "no better"),
    ):
        kept = promote(WANTED, made(tmp_path, b"second", value), tmp_path, now)
        assert (kept.promoted, target.read_bytes()) == (False, b"first")
        assert words in kept.words
    done = promote(WANTED, made(tmp_path, b"third", 0.40), tmp_path, now)
    assert done.promoted
    assert "val 0.5 → 0.4, better by 0.1" in done.words
    assert done.backup is not None
    assert (target.read_bytes(), done.backup.read_bytes()) == (b"third", b"first")
    again = promote(WANTED, made(tmp_path, b"third", 0.40), tmp_path, now)
    assert (again.promoted, done.backup.read_bytes()) == (True, b"first"), "carried out twice after a crash"
    assert sorted(path.name for path in target.parent.iterdir() if not path.name.endswith(".json")) == [
        "best.pt", "best.pt.before-night-0002",
    ]  # fmt: skip


def test_of_two_that_end_together_the_second_is_compared_with_the_first(tmp_path: Path) -> None:
    promote(WANTED, made(tmp_path, b"old", 0.50, "night-0001"), tmp_path, utc_now())
    large = b"the best of all" * (1 << 21)
    best, better = made(tmp_path, large, 0.10, "night-0002"), made(tmp_path, b"better", 0.40, "night-0003")
    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(promote, WANTED, best, tmp_path, utc_now())
        while not first.done() and not list((tmp_path / "models").glob(".*.incoming")):
            time.sleep(0.001)
        second = promote(WANTED, better, tmp_path, utc_now())  # while the first is being copied
    assert first.result().promoted
    assert (second.promoted, second.old) == (False, 0.10), "and not with what both have found there"
    assert (tmp_path / "models/best.pt").stat().st_size == len(large)


@pytest.mark.parametrize("note", [None, "{", json.dumps({"metric": "other", "value": 0.9}), json.dumps([1])])
def test_a_file_of_which_nothing_is_known_is_never_replaced(tmp_path: Path, note: str | None) -> None:
    target = tmp_path / "models/best.pt"
    target.parent.mkdir()
    target.write_bytes(b"by hand")
    if note is not None:
        target.with_name("best.pt.promoted.json").write_text(note)
    kept = promote(WANTED, made(tmp_path, b"new", 0.1), tmp_path, utc_now())
    assert (kept.promoted, target.read_bytes()) == (False, b"by hand")
    assert "nothing says what its val is" in kept.words


def test_what_somebody_has_changed_since_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "models/best.pt"
    promote(WANTED, made(tmp_path, b"first", 0.5, "night-0001"), tmp_path, utc_now())
    target.write_bytes(b"edited")
    assert not promote(WANTED, made(tmp_path, b"new", 0.1), tmp_path, utc_now()).promoted
    assert target.read_bytes() == b"edited"


@pytest.mark.parametrize(("value", "words"), [(None, "never reported"), (float("nan"), "not a number")])
def test_a_number_that_never_came_promotes_nothing(tmp_path: Path, value: float | None, words: str) -> None:
    kept = promote(WANTED, made(tmp_path, b"new", value), tmp_path, utc_now())
    assert not kept.promoted
    assert words in kept.words
    assert not (tmp_path / "models").exists()


def test_a_result_that_was_changed_at_home_is_not_put_in_place(tmp_path: Path) -> None:
    candidate = made(tmp_path, b"new", 0.1)
    candidate.source.write_bytes(b"changed")
    with pytest.raises(OSError, match="changed since it came home"):
        promote(WANTED, candidate, tmp_path, utc_now())
    assert list((tmp_path / "models").iterdir()) == []


@given(FINITE, FINITE, st.floats(0, 10), st.sampled_from(["min", "max"]))
def test_two_files_never_each_replace_the_other(old: float, new: float, by: float, mode: str) -> None:
    wanted = Promote(file="f", metric="m", mode=mode, by=by)  # type: ignore[arg-type]
    there, back = compared(wanted, old, new)[0], compared(wanted, new, old)[0]
    assert not (there and back)
    assert not compared(wanted, old, old)[0]
    if there:
        assert (new < old) == (mode == "min")


def test_a_promotion_that_was_cut_off_between_file_and_note_is_finished(tmp_path: Path) -> None:
    target, now = tmp_path / "models/best.pt", utc_now()
    promote(WANTED, made(tmp_path, b"first", 0.5, "night-0001"), tmp_path, now)
    target.write_bytes(b"second")  # the note is still that of the first
    again = promote(WANTED, made(tmp_path, b"second", 0.3), tmp_path, now)
    assert again.promoted
    assert json.loads(target.with_name("best.pt.promoted.json").read_text())["value"] == 0.3
    assert promote(WANTED, made(tmp_path, b"third", 0.1, "night-0003"), tmp_path, now).promoted
