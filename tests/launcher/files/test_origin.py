"""Where code comes from, as git tells it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launcher.snapshot import origin
from launcher.snapshot.origin import Origin, origin_of
from tests.launcher.files.trees import git, grow, repository

SENT = ("train.py", "new.py", "a", "deep/data.bin")


def test_a_commit_and_what_was_changed_since(tmp_path: Path) -> None:
    folder = repository(tmp_path / "p", {"train.py": "a = 1\n", "deep/data.bin": "\0\1"})
    git(folder, "remote", "add", "origin", "https://me:token@example.org/mine.git")
    commit = git(folder, "rev-parse", "HEAD").strip()
    clean, diff = origin_of(folder, SENT)
    assert (clean.commit, clean.remote, clean.is_changed, diff) == (
        commit,
        "https://example.org/mine.git",
        False,
        b"",
    )
    assert clean.branch

    grow(folder, {"train.py": "a = 2\n", "deep/data.bin": "\0\2", "new.py": "1", "results/x": "stays here"})
    changed, diff = origin_of(folder, SENT)
    assert (changed.commit, changed.is_changed, changed.new_files) == (commit, True, 1)
    assert changed.diff_bytes == len(diff)
    git(folder, "stash")  # the patch leads from the commit to what was there
    subprocess.run(["git", "-C", folder, "apply"], input=diff, check=True)
    assert (folder / "train.py").read_text() == "a = 2\n"
    assert (folder / "deep/data.bin").read_bytes() == b"\0\2"
    assert origin_of(folder / "deep", SENT)[0].commit == commit


def test_a_large_difference_is_counted_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(tmp_path / "p", {"a": "1\n"})
    (folder / "a").write_text("2\n" * 100)
    monkeypatch.setattr(origin, "DIFF_BYTES", 100)
    found, diff = origin_of(folder, SENT)
    assert found.diff_bytes > 100 and found.diff_sha256
    assert diff == b""


def test_without_git_or_a_commit(tmp_path: Path) -> None:
    assert origin_of(grow(tmp_path / "plain", {"a": "1"}), SENT) == (Origin(), b"")
    folder = grow(tmp_path / "fresh", {"a": "1\n"})
    git(folder, "init", "-q")
    git(folder, "add", "a")
    found, diff = origin_of(folder, SENT)
    assert (found.commit, found.is_changed) == ("", True)
    assert b"+1" in diff


def test_what_stays_at_home_and_what_is_gone_is_in_no_difference(tmp_path: Path) -> None:
    before = {"train.py": "a = 1\n", "private/token.env": "OLD\n", "old.key": "GONE\n"}
    folder = repository(tmp_path / "p", {**before, "sub/train.py": "b = 1\n"})
    grow(folder, {"train.py": "a = 2\n", "private/token.env": "NEW\n", "sub/train.py": "b = 2\n"})
    (folder / "old.key").unlink()
    found, diff = origin_of(folder, ("train.py", "sub/train.py"))
    assert b"a = 2" in diff and b"b = 2" in diff
    assert not any(word in diff for word in (b"OLD", b"NEW", b"GONE"))
    assert (found.deleted_files, found.is_changed) == (1, True)
    _, below = origin_of(folder / "sub", ("train.py",))
    assert b"b = 2" in below and b"a = 2" not in below
