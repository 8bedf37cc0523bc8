"""The snapshot: the same bytes for the same files, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from launcher.errors import HomeError, JobFileError
from launcher.snapshot import pack
from tests.launcher.files.trees import grow


def unpack(snapshot: Path, dest: Path) -> Path:
    dest.mkdir()
    subprocess.run(["tar", "-xzf", str(snapshot), "-C", str(dest)], check=True)
    return dest


def test_what_was_packed_is_what_comes_out(tmp_path: Path) -> None:
    folder = grow(
        tmp_path / "p",
        {"a.py": "print(1)\n", "sub dir/b\n.txt": "two", "empty": "", "x" * 150 + "/deep": "3"},
    )
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o775)
    (folder / "private").write_text("s")
    (folder / "private").chmod(0o600)
    (folder / "link").symlink_to("a.py")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")).write_bytes(b"latin")
    os.utime(folder / "a.py", (1_700_000_000, 1_700_000_000))
    seen: list[int] = []
    snapshot = pack(folder, tmp_path / "s" / "snapshot.tar.gz", on_bytes=seen.append)
    out = unpack(snapshot.path, tmp_path / "out")
    assert (out / "a.py").read_text() == "print(1)\n"
    assert (out / "sub dir/b\n.txt").read_text() == "two"
    assert (out / ("x" * 150) / "deep").read_text() == "3"
    assert (out / "link").readlink() == Path("a.py")
    assert Path(os.fsdecode(os.fsencode(out) + b"/caf\xe9")).read_bytes() == b"latin"
    assert (out / "a.py").stat().st_mtime == 1_700_000_000
    assert [(out / name).stat().st_mode & 0o777 for name in ("run.sh", "private", "a.py")] == [
        0o755,
        0o600,
        0o644,
    ]
    assert snapshot.sha256 == hashlib.sha256(snapshot.path.read_bytes()).hexdigest()
    assert snapshot.size_bytes == snapshot.path.stat().st_size
    assert seen[-1] == snapshot.manifest.size_bytes


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    files = {f"{n}/file{n}.py": str(n) for n in range(20)}
    digests = set()
    for name, order in (("one", list(files)), ("two", list(reversed(files)))):
        folder = grow(tmp_path / name, {path: files[path] for path in order})
        for path in files:
            os.utime(folder / path, (1_700_000_000, 1_700_000_000))
        digests.add(pack(folder, tmp_path / f"{name}.tar.gz").sha256)
    assert len(digests) == 1


def test_nobody_is_named_in_it(tmp_path: Path) -> None:
    snapshot = pack(grow(tmp_path / "p", {"a": "1"}), tmp_path / "s.tar.gz")
    with tarfile.open(snapshot.path) as tar:
        (member,) = tar.getmembers()
    assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")


def test_editing_afterwards_changes_nothing(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"a.py": "before"})
    snapshot = pack(folder, tmp_path / "s.tar.gz")
    grow(folder, {"a.py": "after"})
    assert (unpack(snapshot.path, tmp_path / "out") / "a.py").read_text() == "before"


def test_a_file_that_never_stands_still(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"a.py": "1", "log.txt": "x" * 20_000_000})
    writer = subprocess.Popen(["sh", "-c", 'while :; do printf x >> "$0"; done', str(folder / "log.txt")])
    try:
        with pytest.raises(
            JobFileError, match=r"workdir: log\.txt changed while it was packed, 3 times in a row"
        ):
            pack(folder, tmp_path / "s.tar.gz")
    finally:
        writer.kill()
        writer.wait()
    assert list(tmp_path.glob("s.tar.gz*")) == []


def test_a_file_that_vanishes_once_is_left_out_the_next_time(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"a.py": "1" * 1000, "b.tmp": "2"})

    def remove(done: int) -> None:
        (folder / "b.tmp").unlink(missing_ok=True)

    snapshot = pack(folder, tmp_path / "s.tar.gz", on_bytes=remove)
    assert [entry.path for entry in snapshot.manifest.entries] == ["a.py"]


def test_the_old_one_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"a.py": "1"})
    first = pack(folder, tmp_path / "s.tar.gz")
    with pytest.raises(RuntimeError):
        pack(folder, first.path, on_bytes=lambda done: (_ for _ in ()).throw(RuntimeError("killed")))
    assert hashlib.sha256(first.path.read_bytes()).hexdigest() == first.sha256
    assert [path.name for path in tmp_path.glob("s.tar.gz*")] == ["s.tar.gz"]


def test_no_place_for_it(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"a.py": "1"})
    grow(tmp_path, {"file": ""})
    with pytest.raises(HomeError, match="the snapshot cannot be written"):
        pack(folder, tmp_path / "file" / "s.tar.gz")
