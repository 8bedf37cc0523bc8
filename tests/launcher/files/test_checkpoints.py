"""Checkpoints at home: chosen, checked by the real sha256sum's files, and cleared away."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.checkpoints import (
    Found,
    Mirrored,
    newest_good_checkpoint,
    order_of,
    patterns_of,
    prune,
    what_to_delete,
    what_to_mirror,
)
from launcher.runners.base import CheckpointEntry
from tests.launcher.files.trees import grow

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def entry(name: str, minutes: float) -> CheckpointEntry:
    return CheckpointEntry(name=name, size_bytes=1, modified_at=at(minutes))


def home(**copied: tuple[float, float]) -> dict[str, Mirrored]:
    return {name: Mirrored(modified_at=at(saved), at=at(came)) for name, (saved, came) in copied.items()}


def names(entries: tuple[CheckpointEntry, ...]) -> list[str]:
    return [entry.name for entry in entries]


def save(folder: Path, name: str, content: str | dict[str, str], minutes: float) -> None:
    """Write a checkpoint and its digest as ``sha256sum`` does."""
    if isinstance(content, str):
        grow(folder, {name: content})
        members = [name]
    else:
        grow(folder / name, content)
        members = [f"{name}/{inner}" for inner in content]
    digest = subprocess.run(["sha256sum", "--", *members], cwd=folder, capture_output=True, check=True).stdout
    (folder / f"{name}.sha256").write_bytes(digest)
    when = at(minutes).timestamp()
    for member in members:
        os.utime(folder / member, (when, when))


def test_the_first_is_copied_at_once_and_then_only_the_newest_now_and_then() -> None:
    saved = [entry("step_100", 1), entry("step_200", 2)]
    assert names(what_to_mirror(saved, {}, now=at(2), every_s=300)) == ["step_200"]
    copied = home(step_200=(2, 2))
    saved.append(entry("step_300", 3))
    assert what_to_mirror(saved, copied, now=at(3), every_s=300) == ()
    saved.append(entry("step_400", 7))
    assert names(what_to_mirror(saved, copied, now=at(7), every_s=300)) == ["step_400"]


def test_at_the_end_nothing_waits() -> None:
    saved = [entry("step_100", 1), entry("step_200", 2)]
    assert names(what_to_mirror(saved, home(step_100=(1, 1.9)), now=at(2), every_s=0)) == ["step_200"]
    assert what_to_mirror(saved, home(step_100=(1, 1), step_200=(2, 2)), now=at(3), every_s=0) == ()


def test_the_same_name_saved_again_is_another_checkpoint() -> None:
    copied = home(last=(1, 1))
    assert names(what_to_mirror([entry("last", 9)], copied, now=at(9), every_s=60)) == ["last"]


def test_a_new_best_one_comes_too() -> None:
    saved = [entry("best.pt", 1), entry("step_9.pt", 5)]
    assert names(what_to_mirror(saved, {}, now=at(5), every_s=60)) == ["best.pt", "step_9.pt"]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 100)), max_size=8), st.integers(0, 600))
def test_never_more_often_than_said(saves: list[tuple[int, int]], every_s: int) -> None:
    entries = [entry(f"step_{step}", minutes) for step, minutes in saves]
    copied = {"step_0": Mirrored(modified_at=at(0), at=at(100))}
    assert not every_s or what_to_mirror(entries, copied, now=at(100), every_s=every_s) == ()


def test_patterns_name_one_checkpoint_whatever_it_is_called() -> None:
    assert patterns_of("step_[1]*") == ("step_[[]1][*]", "step_[[]1][*]/", "step_[[]1][*].sha256")


def test_the_newest_is_found_files_and_folders_alike(tmp_path: Path) -> None:
    save(tmp_path, "step_100.pt", "a", 1)
    save(tmp_path, "step_200", {"model.pt": "b", "sub dir/optim.pt": "c"}, 2)
    save(tmp_path, "best.pt", "z", 9)
    assert newest_good_checkpoint(tmp_path) == Found(path=tmp_path / "step_200")


def test_a_later_attempt_is_newer_whatever_its_machines_clock_says(tmp_path: Path) -> None:
    save(tmp_path, "step_100", {"m.pt": "a"}, 600)
    save(tmp_path, "step_80", {"m.pt": "b"}, 10)
    save(tmp_path, "step_90", {"m.pt": "b"}, 20)
    save(tmp_path, "step_70", {"m.pt": "b"}, 900)
    attempts = {2: home(step_80=(10, 700), step_90=(20, 710)), 1: home(step_100=(600, 650))}
    order = order_of(attempts)
    assert newest_good_checkpoint(tmp_path, order).path == tmp_path / "step_90"
    assert prune(tmp_path, keep=2, order=order) == ("step_70", "step_100")


def test_one_that_was_on_its_way_when_we_were_killed_belongs_to_its_attempt(tmp_path: Path) -> None:
    save(tmp_path, "step_100", {"m.pt": "a"}, 600)
    save(tmp_path, "step_80", {"m.pt": "b"}, 10)
    order = order_of({1: home(step_100=(600, 650)), 2: {"step_80": Mirrored(modified_at=at(10))}})
    assert newest_good_checkpoint(tmp_path, order).path == tmp_path / "step_80"
    on_its_way = {"step_80": Mirrored(modified_at=at(10))}
    assert names(what_to_mirror([entry("step_80", 10)], on_its_way, now=at(700), every_s=60)) == ["step_80"]


def test_a_clock_at_home_that_was_set_back_holds_nothing_up() -> None:
    copied = home(step_1=(1, 500))
    assert names(what_to_mirror([entry("step_2", 2)], copied, now=at(3), every_s=60)) == ["step_2"]


def test_numbers_decide_where_times_are_equal(tmp_path: Path) -> None:
    for step in (90, 100):
        save(tmp_path, f"step_{step}.pt", str(step), 1)
    assert newest_good_checkpoint(tmp_path).path == tmp_path / "step_100.pt"


def test_names_that_sha256sum_escapes(tmp_path: Path) -> None:
    save(tmp_path, "line\nbreak\\slash.pt", "a", 1)
    assert newest_good_checkpoint(tmp_path).path == tmp_path / "line\nbreak\\slash.pt"


def test_a_broken_newest_one_falls_back_and_says_so(tmp_path: Path) -> None:
    save(tmp_path, "step_1", {"a.pt": "a", "b.pt": "b"}, 1)
    for step, minutes in (("step_2", 2), ("step_3", 3), ("step_4", 4), ("step_5", 5)):
        save(tmp_path, step, {"a.pt": "a", "b.pt": "b"}, minutes)
    (tmp_path / "step_5" / "b.pt").write_text("torn")
    (tmp_path / "step_4" / "b.pt").unlink()
    (tmp_path / "step_3.sha256").unlink()
    (tmp_path / "step_2.sha256").write_text("not a digest\n")
    found = newest_good_checkpoint(tmp_path)
    assert found.path == tmp_path / "step_1"
    reasons = dict(found.skipped)
    assert reasons["step_5"] == "step_5/b.pt does not match its digest"
    assert reasons["step_4"] == "step_4/b.pt cannot be read: No such file or directory"
    assert reasons["step_3"] == "has no digest: it was not complete"
    assert "not a line of sha256sum" in reasons["step_2"]


def test_a_digest_written_from_another_folder(tmp_path: Path) -> None:
    save(tmp_path / "checkpoints", "step_1.pt", "a", 1)
    line = subprocess.run(
        ["sha256sum", "checkpoints/step_1.pt"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    (tmp_path / "checkpoints/step_1.pt.sha256").write_bytes(line)
    assert newest_good_checkpoint(tmp_path / "checkpoints").path == tmp_path / "checkpoints/step_1.pt"


@pytest.mark.parametrize("line", ["{} ../outside", "{}  /etc/passwd", "{}  other.pt", ""])
def test_a_digest_about_something_else(line: str, tmp_path: Path) -> None:
    grow(tmp_path, {"step_1.pt": "a", "step_1.pt.sha256": line.format("0" * 64) + "\n"})
    found = newest_good_checkpoint(tmp_path)
    assert found.path is None
    assert [name for name, _ in found.skipped] == ["step_1.pt"]


def test_nothing_is_there(tmp_path: Path) -> None:
    assert newest_good_checkpoint(tmp_path / "missing") == Found(path=None)


def test_only_the_newest_stay_and_the_best(tmp_path: Path) -> None:
    for step in range(1, 6):
        save(tmp_path, f"step_{step}", {"m.pt": str(step)}, step)
    save(tmp_path, "best.pt", "b", 2)
    assert prune(tmp_path, keep=2) == ("step_1", "step_2", "step_3")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.pt",
        "best.pt.sha256",
        "step_4",
        "step_4.sha256",
        "step_5",
        "step_5.sha256",
    ]
    assert prune(tmp_path, keep=2) == ()


def test_the_one_before_stays_until_the_next_is_safe(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, f"step_{step}.pt", str(step), step)
    (tmp_path / "step_3.pt").write_text("half")
    assert prune(tmp_path, keep=1) == ()
    (tmp_path / "step_3.pt").write_text("3")
    os.utime(tmp_path / "step_3.pt", (at(3).timestamp(), at(3).timestamp()))
    assert prune(tmp_path, keep=1) == ("step_1.pt", "step_2.pt")


@given(
    st.lists(st.sampled_from(["best", "step_1", "step_2", "model_best.pt", "bestiary"]), unique=True),
    st.integers(0, 4),
)
def test_deleting_keeps_what_it_says(by_age: list[str], keep: int) -> None:
    left = [name for name in by_age if name not in what_to_delete(by_age, keep=keep)]
    assert {"best", "model_best.pt"} & set(by_age) <= set(left)
    others = [name for name in by_age if name not in ("best", "model_best.pt")]
    assert [name for name in left if name in others] == others[-max(keep, 1) :]


@pytest.mark.parametrize("inner", ["../other.pt", "/etc/hostname", "step_2/../other.pt"])
def test_a_digest_of_a_folder_never_reads_elsewhere(inner: str, tmp_path: Path) -> None:
    save(tmp_path, "other.pt", "a", 1)
    save(tmp_path, "step_2", {"m.pt": "b"}, 2)
    with (tmp_path / "step_2.sha256").open("a") as file:
        file.write(f"{'0' * 64}  {inner}\n")
    assert dict(newest_good_checkpoint(tmp_path).skipped) == {"step_2": "its digest is not about it"}
