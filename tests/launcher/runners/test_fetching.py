"""Files on their way home: chosen, verified, whole, inside the target folder."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from launcher.errors import FetchError
from launcher.remote.local import LocalShell
from launcher.runners.base import Area, FetchReport, Handle, Mount
from launcher.runners.machines import MachineRunner
from provisioning import LocalAccess
from tests.launcher.remote.jobs import FAST, Machine


def names(report: FetchReport, home: Path) -> list[str]:
    return sorted(str(file.path.relative_to(home)) for file in report.files)


@pytest.fixture
def handle(machine: Machine) -> Handle:
    """An ended job; the tests put files into its folder themselves."""
    return ended(machine)


def ended(machine: Machine) -> Handle:
    handle = machine.submit("exit 0", {"code.py": "code", "sub/changed.txt": "before", "data/small.csv": "1"})
    machine.ended(handle)
    return handle


def put(machine: Machine, handle: Handle, *paths: str) -> None:
    for path in paths:
        target = machine.workdir(handle) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"content of {path}")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Handle]]:
    """An ended job with files in its folder, to be fetched from and not to be changed."""
    machine = Machine(tmp_path_factory.mktemp("filled"))
    handle = ended(machine)
    put(machine, handle, "a.csv", ".hidden.csv", "r/b.csv", "r/deep/c.csv", "r/deep/d.txt", "[odd].csv")
    put(machine, handle, "checkpoints/step_1.pt", "outputs/x y.txt")
    yield machine, handle
    machine.close()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.csv"], ["a.csv"]),
        (["**/*.csv"], ["a.csv", "data/small.csv", "r/b.csv", "r/deep/c.csv"]),
        (["r/"], ["r/b.csv", "r/deep/c.csv", "r/deep/d.txt"]),
        (["r"], ["r/b.csv", "r/deep/c.csv", "r/deep/d.txt"]),
        (["r/**"], ["r/b.csv", "r/deep/c.csv", "r/deep/d.txt"]),
        (["r/*"], ["r/b.csv"]),
        (["./r/deep/[cd].*"], ["r/deep/c.csv", "r/deep/d.txt"]),
        (["r/deep/[!c].*"], ["r/deep/d.txt"]),
        (["?.csv", "checkpoints/"], ["a.csv", "checkpoints/step_1.pt"]),
        (["outputs/x y.txt"], ["outputs/x y.txt"]),
        (["[[]odd].csv"], ["[odd].csv"]),
    ],
)
def test_patterns_choose(
    filled: tuple[Machine, Handle], tmp_path: Path, patterns: list[str], expected: list[str]
) -> None:
    machine, handle = filled
    report = machine.runner.fetch(handle, patterns, tmp_path)
    found = names(report, tmp_path)
    assert [name for name in found if name != "[odd].csv" or "[odd].csv" in expected] == expected
    for file in report.files:
        assert hashlib.sha256(file.path.read_bytes()).hexdigest() == file.sha256
        assert file.size_bytes == file.path.stat().st_size
        assert not file.was_home


def test_what_matched_nothing_is_said(machine: Machine, handle: Handle) -> None:
    report = machine.runner.fetch(handle, ["code.py", "nothing/*.pt"], machine.folder / "home")
    assert report.unmatched == ("nothing/*.pt",)


def test_what_is_home_is_not_copied_again(machine: Machine, handle: Handle) -> None:
    put(machine, handle, "a.csv", "b.csv")
    home = machine.folder / "home"
    machine.runner.fetch(handle, ["*.csv"], home)
    put(machine, handle, "b.csv", "c.csv")
    (machine.workdir(handle) / "b.csv").write_text("changed")
    (home / "c.csv").write_text("something else of that name")
    before = (home / "a.csv").stat()
    report = machine.runner.fetch(handle, ["*.csv"], home)
    assert {file.path.name: file.was_home for file in report.files} == {
        "a.csv": True,
        "b.csv": False,
        "c.csv": False,
    }
    assert (home / "b.csv").read_text() == "changed"
    assert (home / "c.csv").read_text() == "content of c.csv"
    assert (home / "a.csv").stat().st_ino == before.st_ino


def test_all_that_the_run_changed(machine: Machine, handle: Handle) -> None:
    workdir = machine.workdir(handle)
    put(machine, handle, "new.txt", "outputs/o", "checkpoints/c.pt", ".dotted", "sub/deep/x")
    put(machine, handle, "data/made.csv", "env/pyvenv.cfg", "env/bin/python", "pkg/__pycache__/m.pyc")
    (workdir / "sub/changed.txt").write_text("after")
    home = machine.folder / "home"
    report = machine.runner.fetch(handle, ["**"], home, area=Area.CHANGED)
    expected = [".dotted", "checkpoints/c.pt", "new.txt", "outputs/o", "sub/changed.txt", "sub/deep/x"]
    assert names(report, home) == expected


def test_names_that_nobody_would_choose(machine: Machine, handle: Handle) -> None:
    workdir = machine.workdir(handle)
    odd = ["new\nline", "it's", 'say "x"', "-rf", "back\\slash", "ünï", " lead", "*"]
    put(machine, handle, *(f"outputs/{name}" for name in odd))
    (workdir / os.fsdecode(b"outputs/not-utf8-\xff")).write_text("bytes")
    home = machine.folder / "home"
    report = machine.runner.fetch(handle, ["outputs/"], home)
    assert {file.path.name for file in report.files} == {*odd, os.fsdecode(b"not-utf8-\xff")}
    assert not report.refused


def test_links_and_special_files(machine: Machine, handle: Handle) -> None:
    workdir = machine.workdir(handle)
    put(machine, handle, "outputs/real/x", "outputs/one")
    out = workdir / "outputs"
    (out / "to_file").symlink_to("one")
    (out / "to_folder").symlink_to("real")
    (out / "loop").symlink_to(".")
    (out / "dangling").symlink_to("nowhere")
    (out / "circle").symlink_to("circle")
    (out / "through_a_file").symlink_to("one/x")
    (out / "secret").symlink_to("/etc/passwd")
    (out / "tree").symlink_to("/etc")
    (out / "above").symlink_to("../../..")
    (out / "run").symlink_to("..")
    (out / "control").symlink_to("../control")
    (out / "orders").symlink_to("../control/placed.json")
    os.mkfifo(out / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(out)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        home = machine.folder / "home"
        report = machine.runner.fetch(handle, ["outputs/**"], home)
    assert names(report, home) == ["outputs/one", "outputs/real/x", "outputs/to_file", "outputs/to_folder/x"]
    assert {name for name, _ in report.refused} == {
        "outputs/secret",
        "outputs/tree",
        "outputs/above",
        "outputs/run",
        "outputs/control",
        "outputs/orders",
        "outputs/pipe",
        "outputs/socket",
    }
    assert not any(path.is_symlink() for path in home.rglob("*"))


def test_inputs_are_not_results(machine: Machine, tmp_path: Path) -> None:
    data = tmp_path / "set"
    data.mkdir()
    (data / "huge.bin").write_text("huge")
    handle = machine.submit("echo 1 > made.csv; exit 75", mounts=(Mount(target="input", source=str(data)),))
    machine.ended(handle)
    home = machine.folder / "home"
    for area in (Area.WORK, Area.CHANGED):
        report = machine.runner.fetch(handle, ["**"], home, area=area)
        assert "huge.bin" not in " ".join(names(report, home))
        assert not report.refused


def test_a_link_at_home_is_not_followed_out_of_the_target_and_a_person_is_told(
    machine: Machine, handle: Handle
) -> None:
    put(machine, handle, "outputs/x", "outputs/y", "a.csv")
    home, elsewhere = machine.folder / "home", machine.folder / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (elsewhere / "victim").write_text("mine")
    (home / "outputs").symlink_to(elsewhere)
    (home / "a.csv").symlink_to(elsewhere / "victim")
    with pytest.raises(FetchError, match=r"in the way of outputs/x.*outputs/y"):
        machine.runner.fetch(handle, ["outputs/", "a.csv"], home)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["victim"]
    assert (elsewhere / "victim").read_text() == "mine"
    assert (home / "a.csv").read_text() == "content of a.csv"


def test_a_folder_in_the_way_of_a_file_is_said_and_removed_by_a_person(
    machine: Machine, handle: Handle
) -> None:
    put(machine, handle, "a.csv", "b.csv")
    home = machine.folder / "home"
    (home / "a.csv").mkdir(parents=True)
    with pytest.raises(FetchError, match=r"in the way of a\.csv") as caught:
        machine.runner.fetch(handle, ["*.csv"], home)
    assert "1 files are home" in str(caught.value.left_behind)
    (home / "a.csv").rmdir()
    assert names(machine.runner.fetch(handle, ["*.csv"], home), home) == ["a.csv", "b.csv"]


def test_names_that_launch_keeps_for_itself_are_not_written(machine: Machine, handle: Handle) -> None:
    put(machine, handle, ".launch-run", ".incoming-1/x", "ok.txt")
    home = machine.folder / "home"
    home.mkdir()
    (home / ".launch-run").write_text("demo-ab12")
    report = machine.runner.fetch(handle, ["**"], home)
    assert (home / ".launch-run").read_text() == "demo-ab12"
    assert {name for name, _ in report.refused} >= {".launch-run", ".incoming-1/x"}
    assert "ok.txt" in names(report, home)


class RotatingShell(LocalShell):
    """A machine whose program deletes a file between the listing and the copy."""

    def get(self, remote: PurePosixPath, local: Path, **watched: Any) -> None:
        Path(remote).unlink(missing_ok=True)
        super().get(remote, local, **watched)


def test_a_file_that_the_program_deleted_meanwhile_is_no_failure(machine: Machine, handle: Handle) -> None:
    put(machine, handle, "old.pt")
    shell = RotatingShell(LocalAccess(work_root=machine.work_root))
    runner = MachineRunner(shell, PurePosixPath(machine.work_root), intervals=FAST)
    home = machine.folder / "home"
    report = runner.fetch(handle, ["*.pt"], home)
    assert report.files == ()


class ForeignShell(LocalShell):
    """A machine that was broken into: it names files that are not where it says."""

    def __init__(self, access: LocalAccess, names: list[str]) -> None:
        super().__init__(access)
        self._names = names

    def run(self, argv: Any, **kwargs: Any) -> Any:
        result = super().run(argv, **kwargs)
        if "manifest" in argv:
            import dataclasses
            import json

            digest = hashlib.sha256(b"x").hexdigest()
            files = [[name, 1, 0, digest] for name in self._names]
            answer = json.dumps({"files": files, "refused": [], "unmatched": []}).encode()
            return dataclasses.replace(result, stdout=answer)
        return result


@pytest.mark.parametrize("name", ["../up", "/tmp/absolute", "a/../../up", "", ".", "a\0b"])
def test_a_name_that_leaves_the_folder_is_refused(machine: Machine, handle: Handle, name: str) -> None:
    shell = ForeignShell(LocalAccess(work_root=machine.work_root), [name])
    runner = MachineRunner(shell, PurePosixPath(machine.work_root), intervals=FAST)
    home = machine.folder / "deep" / "home"
    report = runner.fetch(handle, ["**"], home)
    assert not report.files
    assert report.refused[0][0] == name
    assert not list(machine.folder.rglob("*up"))


def test_a_log_that_grows_comes_as_it_was_when_listed(machine: Machine, handle: Handle) -> None:
    growing = machine.workdir(handle) / "train.log"
    growing.write_text("begin\n")
    stop = threading.Event()

    def write() -> None:
        with growing.open("a", buffering=1) as log:
            while not stop.is_set():
                log.write("another line\n")
                time.sleep(0.0005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        home = machine.folder / "home"
        for _ in range(5):
            report = machine.runner.fetch(handle, ["train.log"], home)
            content = report.files[0].path.read_bytes()
            assert hashlib.sha256(content).hexdigest() == report.files[0].sha256
            assert growing.read_bytes().startswith(content)
    finally:
        stop.set()
        writer.join()


def test_a_file_that_is_rewritten_again_and_again_is_an_error_and_the_rest_is_kept(
    machine: Machine, handle: Handle
) -> None:
    put(machine, handle, "restless.bin", "quiet.bin")
    restless = machine.workdir(handle) / "restless.bin"

    class Restless(LocalShell):
        def get(self, remote: PurePosixPath, local: Path, **watched: Any) -> None:
            if remote.name == "restless.bin":
                restless.write_bytes(os.urandom(1000))
            super().get(remote, local, **watched)

    shell = Restless(LocalAccess(work_root=machine.work_root))
    runner = MachineRunner(shell, PurePosixPath(machine.work_root), intervals=FAST)
    home = machine.folder / "home"
    with pytest.raises(FetchError, match=r"restless\.bin changed") as caught:
        runner.fetch(handle, ["*.bin"], home)
    assert sorted(path.name for path in home.iterdir()) == ["quiet.bin"]
    assert "1 file" in str(caught.value.left_behind)


def test_a_file_that_changes_once_is_fetched_again(machine: Machine, handle: Handle) -> None:
    put(machine, handle, "a.bin")
    source = machine.workdir(handle) / "a.bin"

    class OnceChanged(LocalShell):
        changed = False

        def get(self, remote: PurePosixPath, local: Path, **watched: Any) -> None:
            if not self.changed:
                self.changed = True
                source.write_text("the new content")
            super().get(remote, local, **watched)

    shell = OnceChanged(LocalAccess(work_root=machine.work_root))
    runner = MachineRunner(shell, PurePosixPath(machine.work_root), intervals=FAST)
    report = runner.fetch(handle, ["a.bin"], machine.folder / "home")
    assert report.files[0].path.read_text() == "the new content"


def test_checkpoints_come_with_their_digests(machine: Machine) -> None:
    handle = machine.submit("echo 1 > checkpoints/t.tmp; mv checkpoints/t.tmp checkpoints/s.pt; exit 75")
    machine.ended(handle)
    home = machine.folder / "mirror"
    report = machine.runner.fetch(handle, ["s.pt", "s.pt.sha256"], home, area=Area.CHECKPOINTS)
    assert names(report, home) == ["s.pt", "s.pt.sha256"]


def test_logs_and_curves_have_an_area_of_their_own(machine: Machine) -> None:
    handle = machine.submit("echo '{\"step\": 1}' > $LAUNCH_METRICS_FILE; exit 75")
    machine.ended(handle)
    home = machine.folder / "home"
    report = machine.runner.fetch(handle, ["**/metrics.jsonl", "**/system.csv"], home, area=Area.LOGS)
    assert names(report, home) == ["metrics.jsonl", "system.csv"]
