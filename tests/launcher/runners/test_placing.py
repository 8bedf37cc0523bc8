"""Code, data, environment and checkpoints on their way to the machine; each may be interrupted and repeated."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from launcher.errors import HomeError, MachineUnreachable, PlacementError
from launcher.remote.local import LocalShell
from launcher.runners.base import Carried, Environment, Mount, StageFile
from launcher.runners.machines import MachineRunner
from provisioning import LocalAccess
from tests.launcher.remote.jobs import FAST, Machine, wait_until


def test_code_that_the_job_changed_is_never_overwritten(machine: Machine) -> None:
    files = {"kept.txt": "from home", "job.sh": "exit 75"}
    run = "cat kept.txt; echo from the job > kept.txt; exit 75"
    machine.ended(machine.submit(run, files))
    again = machine.submit(run, files, start=2)
    machine.ended(again)
    assert "from the job" in machine.log(again)


def test_another_version_of_the_code_is_refused(machine: Machine) -> None:
    handle = machine.submit("exit 75", {"a": "1"})
    machine.ended(handle)
    with pytest.raises(PlacementError, match="another version"):
        machine.submit("exit 75", {"a": "2"}, start=2)
    assert (machine.workdir(handle) / "a").read_text() == "1"


def test_the_same_start_is_never_started_twice(machine: Machine) -> None:
    submission = machine.submission("echo x >> starts; exit 75")
    handle = machine.start(submission)
    for _ in range(3):
        assert machine.another_runner().submit(submission, report=machine.report) == handle
    machine.ended(handle)
    assert machine.another_runner().submit(submission, report=machine.report) == handle
    assert (machine.workdir(handle) / "starts").read_text() == "x\n"


def test_outputs_have_to_be_at_home_only_where_they_have_to_travel(machine: Machine) -> None:
    machine.ended(machine.submit("echo done > x.csv", stage="first", files={"a": "1"}))
    file = StageFile(name="x.csv", size_bytes=77, sha256="0" * 64)
    ran_here = Carried(stage="first", attempt=1, start=1, root=machine.folder / "nowhere", files=(file,))
    again = machine.submit("cat x.csv", stage="second", files={"a": "1"}, carried=(ran_here,))
    machine.ended(again)
    assert "done" in machine.log(again)
    elsewhere = replace(ran_here, attempt=2)
    with pytest.raises(HomeError, match="an output of stage first, is not at home any more"):
        machine.submit("echo never", stage="third", files={"a": "1"}, carried=(elsewhere,))


class CutShell(LocalShell):
    """A connection over which ``lasts`` things are done; the answer to the last of them comes or not, and nothing after."""

    def __init__(self, access: LocalAccess, lasts: int, *, is_answered: bool) -> None:
        super().__init__(access)
        self._left = lasts
        self._is_answered = is_answered

    def _begin(self) -> None:
        if self._left == 0:
            raise MachineUnreachable("the connection is broken")
        self._left -= 1

    def _end(self) -> None:
        if self._left == 0 and not self._is_answered:
            raise MachineUnreachable("the connection broke")

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self._begin()
        result = super().run(*args, **kwargs)
        self._end()
        return result

    def write(self, *args: Any, **kwargs: Any) -> None:
        self._begin()
        super().write(*args, **kwargs)
        self._end()

    def put(self, *args: Any, **kwargs: Any) -> None:
        self._begin()
        super().put(*args, **kwargs)
        self._end()


def test_cut_off_at_any_step_the_job_starts_exactly_once(tmp_path: Path) -> None:
    """One thing further with each try, until nothing breaks any more; at some the answer comes, and what follows it is done."""
    for lasts, is_answered in (
        (n, answered) for n in range(100) for answered in [False, True][: 1 + (n % 4 == 3)]
    ):
        folder = tmp_path / f"{lasts} {is_answered}"
        folder.mkdir()
        (folder / "data").mkdir()
        checkpoint = folder / "home.pt"
        checkpoint.write_text("state")
        machine = Machine(folder)
        submission = machine.submission(
            'cat "$LAUNCH_RESUME_FROM"; echo x >> starts; exit 75',
            setup="true",
            secrets={"A": "b"},
            mounts=(Mount(target="data", source=str(folder / "data")),),
            resume_from=checkpoint,
        )
        access = LocalAccess(work_root=machine.work_root)
        shell = CutShell(access, lasts, is_answered=is_answered)
        cut = MachineRunner(shell, PurePosixPath(machine.work_root), shares_files=True, intervals=FAST)
        was_cut = False
        try:
            cut.submit(submission, report=machine.report)
        except MachineUnreachable:
            was_cut = True
        try:
            handle = machine.start(submission)
            progress = machine.ended(handle)
            assert progress.exit_code == 75, machine.log(handle)
            assert (machine.workdir(handle) / "starts").read_text() == "x\n"
            assert progress.resumed_from == "home.pt"
        finally:
            machine.close()
        if not was_cut:
            assert lasts > 8
            return
    pytest.fail("it never got through")


def test_local_data_is_linked_and_not_copied(machine: Machine, tmp_path: Path) -> None:
    data = tmp_path / "big data"
    data.mkdir()
    (data / "x.bin").write_bytes(b"x" * 1000)
    (tmp_path / "one.csv").write_text("1")
    mounts = (
        Mount(target="data", source=str(data)),
        Mount(target="tables/one.csv", source=str(tmp_path / "one.csv")),
        Mount(target=str(tmp_path / "absolute"), source=str(data)),
    )
    handle = machine.submit(
        'cat tables/one.csv; wc -c "$LAUNCH_DATA_DIR/x.bin"; ls absolute* ; exit 75', mounts=mounts
    )
    workdir = machine.workdir(handle)
    assert (workdir / "data").readlink() == data
    assert (workdir / "tables/one.csv").readlink() == tmp_path / "one.csv"
    assert (tmp_path / "absolute").readlink() == data
    again = machine.submit("true", mounts=mounts, start=2)
    machine.ended(again)


def test_data_joins_a_folder_that_the_code_brings(machine: Machine, tmp_path: Path) -> None:
    data = tmp_path / "brought"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "x").write_text("x")
    files = {"data/README": "about", "data/deep/y": "y"}
    handle = machine.submit(
        "cat data/README data/deep/x data/deep/y", files, mounts=(Mount(target="data", source=str(data)),)
    )
    machine.ended(handle)
    assert "aboutxy" in machine.log(handle)


def test_data_never_replaces_code_nor_enters_other_data(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(PlacementError, match="is there already"):
        machine.submit("true", {"a.py": "code"}, mounts=(Mount(target="a.py", source=str(tmp_path / "a")),))
    nested = (
        Mount(target="data", source=str(tmp_path / "a")),
        Mount(target="data/inner", source=str(tmp_path / "b")),
    )
    with pytest.raises(PlacementError, match="inside what another entry brings"):
        machine.submit("true", {"a.py": "code"}, mounts=nested)
    assert list((tmp_path / "a").iterdir()) == []
    with pytest.raises(PlacementError, match="does not exist"):
        machine.submit("true", {"a.py": "code"}, mounts=(Mount(target="data", source="/nowhere/x"),))


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo("/absolute"),
        tarfile.TarInfo("a/../../outside"),
    ],
    ids=lambda member: member.name,
)
def test_a_snapshot_that_would_leave_its_folder_is_refused(machine: Machine, member: tarfile.TarInfo) -> None:
    submission = machine.submission("true")
    with tarfile.open(submission.snapshot, "w:gz") as archive:
        archive.addfile(member, io.BytesIO())
    with pytest.raises(PlacementError, match="would leave"):
        machine.start(submission)


def test_a_snapshot_cut_short_is_refused_and_can_be_sent_again(machine: Machine) -> None:
    submission = machine.submission("exit 75", {"a.bin": os.urandom(100_000)})
    whole = submission.snapshot.read_bytes()
    submission.snapshot.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PlacementError, match="could not be placed"):
        machine.start(submission)
    submission.snapshot.write_bytes(whole)
    assert machine.ended(machine.start(submission)).exit_code == 75


def test_a_checkpoint_from_home_is_placed_unless_a_newer_one_is_there(
    machine: Machine, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / "step_5").mkdir(parents=True)
    (home / "step_5" / "model").write_text("five")
    os.utime(home / "step_5" / "model", (1_700_000_000, 1_700_000_000))
    run = """
cat "$LAUNCH_RESUME_FROM"/model
mkdir t; echo six > t/model; mv t checkpoints/step_6; exit 75
"""
    first = machine.submit(run, resume_from=home / "step_5")
    progress = machine.ended(first)
    assert progress.resumed_from == "step_5"
    assert "five" in machine.log(first)
    again = machine.submit(run, resume_from=home / "step_5", start=2)
    assert machine.ended(again).resumed_from == "step_6"
    assert sum(data["what"] == "checkpoint" for _, _, data in machine.events) == 1


def test_a_checkpoint_of_another_machine_wins_over_older_ones_here_whatever_the_clocks_say(
    machine: Machine, tmp_path: Path
) -> None:
    """The other machine's clock was a year behind; once placed, what is saved here counts as newer."""
    home = tmp_path / "home"
    (home / "step_9").mkdir(parents=True)
    (home / "step_9" / "model").write_text("nine")
    os.utime(home / "step_9" / "model", (1_700_000_000, 1_700_000_000))
    save = "mkdir t; echo $0 > t/model; mv t checkpoints/step_5"
    machine.ended(machine.submit(f"{save}; exit 75"))
    run = "mkdir -p t; echo x > t/model; mv t checkpoints/step_1$LAUNCH_ATTEMPT; exit 75"
    taken = {"resume_from": home / "step_9", "resume_is_newest": True}
    second = machine.submit(run, attempt=2, **taken)
    assert machine.ended(second).resumed_from == "step_9"
    third = machine.submit(run, attempt=2, start=2, **taken)
    assert machine.ended(third).resumed_from == "step_12", "placed once, then gone beyond"


def wheel(folder: Path) -> Path:
    """A package as small as they come."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "VALUE = 'from the environment'\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            "tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return path


def test_an_environment_is_built_once_and_comes_first_in_path(machine: Machine, tmp_path: Path) -> None:
    environment = Environment(requirements=f"--no-index\n{wheel(tmp_path)}\n")
    run = "python -c 'import tiny; print(tiny.VALUE)'; exit 75"
    handle = machine.submit(run, environment=environment)
    progress = machine.ended(handle)
    assert progress.exit_code == 75, machine.log(handle)
    assert "from the environment" in machine.log(handle)
    again = machine.submit(run, environment=environment, start=2)
    machine.ended(again)
    assert machine.log(again).count("building environment") == 1
    assert machine.log(again).count("is here already") == 1
    executed = machine.runner.execute(again, ["python", "-c", "import tiny; print(tiny.VALUE)"])
    assert executed.stdout == b"from the environment\n"


def test_a_python_that_is_not_there_is_never_tried_again(machine: Machine) -> None:
    handle = machine.submit("echo never", environment=Environment(python="3.99"))
    progress = machine.ended(handle)
    assert progress.exit_code == 2
    assert "3.99" in machine.log(handle)
    assert "never" not in machine.log(handle)


class Files(ThreadingHTTPServer):
    """Serves files, honours ranges, and breaks off in the middle of the first answer for each."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), FilesHandler)
        self.files = files
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class FilesHandler(BaseHTTPRequestHandler):
    server: Files

    def do_GET(self) -> None:
        name = self.path.split("?")[0]
        is_first = name not in [asked for asked, _ in self.server.asked]
        self.server.asked.append((name, self.headers["Range"]))
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        start = int(self.headers["Range"][6:-1]) if self.headers["Range"] else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content[start : start + 1000] if is_first else content[start:])

    def log_message(self, *_: object) -> None:
        """Not on the test's terminal."""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Files]:
    with Files(files) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()


def test_data_from_the_web_is_fetched_by_the_machine_resumed_and_unpacked(machine: Machine) -> None:
    plain = os.urandom(50_000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("train/a.txt", "inside")
    with serving({"/plain.bin": plain, "/set.zip": packed.getvalue()}) as service:
        mounts = (
            Mount(target="data/plain.bin", source=service.url + "/plain.bin?signature=s3cret"),
            Mount(
                target="data/set",
                source=f"{service.url}/set.zip#sha256={hashlib.sha256(packed.getvalue()).hexdigest()}",
            ),
        )
        run = "sha256sum data/plain.bin; cat data/set/train/a.txt; exit 75"
        handle = machine.submit(run, mounts=mounts)
        progress = machine.ended(handle)
        log = machine.log(handle)
        assert progress.exit_code == 75, log
        asked = len(service.asked)
        again = machine.submit(run, mounts=mounts, start=2)
        machine.ended(again)
        assert len(service.asked) == asked, "nothing is fetched twice"
    assert hashlib.sha256(plain).hexdigest() in log
    assert "inside" in log
    assert "s3cret" not in log
    assert ("/plain.bin", "bytes=1000-") in service.asked


def test_data_with_another_digest_is_refused(machine: Machine) -> None:
    with serving({"/x": b"changed by somebody"}) as service:
        mounts = (Mount(target="x", source=f"{service.url}/x#sha256={'0' * 64}"),)
        handle = machine.submit("echo never", mounts=mounts)
        assert machine.ended(handle).exit_code == 1
    assert "has SHA-256" in machine.log(handle)
    assert "never" not in machine.log(handle)


def test_data_that_the_web_has_not_ends_the_start_with_words(machine: Machine) -> None:
    with serving({}) as service:
        handle = machine.submit("echo never", mounts=(Mount(target="x", source=service.url + "/x"),))
        progress = machine.ended(handle)
    assert progress.exit_code == 1
    assert "404" in machine.log(handle)
    assert "data ended" in progress.reason


def test_machines_that_share_no_files_get_copies(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    access = LocalAccess(work_root=machine.work_root)
    machine.runner = MachineRunner(LocalShell(access), PurePosixPath(machine.work_root), intervals=FAST)
    try:
        data = tmp_path / "data set"
        (data / "deep").mkdir(parents=True)
        (data / "deep" / "x\ny").write_text("inside")
        mounts = (Mount(target="data", source=str(data)),)
        handle = machine.submit('cat data/deep/*; echo changed > data/deep/"x\ny"; exit 75', mounts=mounts)
        machine.ended(handle)
        assert (data / "deep" / "x\ny").read_text() == "inside"
        again = machine.submit("cat data/deep/*", mounts=mounts, start=2)
        machine.ended(again)
        assert "changed" in machine.log(again)
    finally:
        machine.close()


def test_two_stages_use_one_folder_one_after_the_other(machine: Machine) -> None:
    machine.ended(machine.submit("echo 1 > outputs/features", stage="features"))
    second = machine.submit("cat outputs/features; echo $LAUNCH_STAGE", stage="train")
    machine.ended(second)
    assert machine.log(second).startswith("1\ntrain\n")


def test_a_start_waits_for_the_one_before_to_leave(machine: Machine) -> None:
    program = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.7), sys.exit(75)))\nprint('ready', flush=True)\nwhile True: time.sleep(60)"
    from launcher.runners.base import Signal

    handle = machine.submit("python3 job.py", {"job.py": program})
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    again = machine.submit("echo second", {"job.py": program}, start=2)
    assert machine.runner.poll(handle).exit_code == 75
    wait_until(lambda: "second" in machine.log(again), "the second start")
