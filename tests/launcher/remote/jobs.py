"""A machine on this computer for tests: real processes, a real tmux, and intervals that suit impatient people."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launcher.events import Kind
from launcher.remote.layout import Start
from launcher.remote.runfile import Intervals
from launcher.runners.base import Handle, Progress, Submission
from launcher.runners.machines import MachineRunner
from provisioning import LocalAccess
from trainer.contract import Phase

FAST = Intervals(
    tick_s=0.05, heartbeat_s=0.2, scan_s=0.15, sample_s=0.2, leftover_idle_s=0.4, lock_wait_s=10.0
)
TIMEOUT_S = 90.0

SAVES_ON_SIGTERM = """
import os, signal, sys, time

def leave(*_):
    print("saving", flush=True)
    sys.exit(75)

signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while True:
    time.sleep(60)
"""


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """What the condition returned once it was true."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.01)


def pack(target: Path, files: Mapping[str, str | bytes]) -> Path:
    """A snapshot with these files."""
    packed = gzip.GzipFile(target, "wb", mtime=0)
    with packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), 1_700_000_000, 0o644
            archive.addfile(member, io.BytesIO(data))
    return target


@dataclass
class Machine:
    """Submits jobs and watches them; `close` ends whatever is left and says so if that was anything unexpected."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    intervals: Intervals = FAST
    handles: list[Handle] = field(default_factory=list)
    events: list[tuple[Kind, str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.work_root = self.folder / "machine"
        self.runner = self.another_runner()

    def another_runner(self) -> MachineRunner:
        """As another process would build it."""
        return MachineRunner.local(
            LocalAccess(work_root=self.work_root, environ=self.environ), intervals=self.intervals
        )

    def report(self, kind: Kind, message: str, **data: Any) -> None:
        self.events.append((kind, message, data))

    def submission(
        self, run: str, files: Mapping[str, str | bytes] | None = None, **changes: Any
    ) -> Submission:
        """Stage ``main`` of run ``demo-abcd``, unless ``changes`` say otherwise."""
        plain = Submission(
            run_id="demo-abcd",
            attempt=1,
            stage="main",
            start=1,
            workdir_name="project",
            snapshot=pack(self.folder / "snapshot.tar.gz", files or {"job.py": SAVES_ON_SIGTERM}),
            run=run,
            grace_s=10.0,
        )
        return replace(plain, **changes)

    def submit(self, run: str, files: Mapping[str, str | bytes] | None = None, **changes: Any) -> Handle:
        return self.start(self.submission(run, files, **changes))

    def start(self, submission: Submission) -> Handle:
        handle = self.runner.submit(submission, report=self.report)
        self.handles.append(handle)
        return handle

    def paths(self, handle: Handle) -> Start:
        return Start.of_handle(handle)

    def workdir(self, handle: Handle) -> Path:
        return Path(self.paths(handle).folder.workdir)

    def wait(self, handle: Handle, condition: Callable[[Progress], Any], what: str) -> Progress:
        """The first progress for which the condition holds."""
        seen = [self.runner.poll(handle)]

        def look() -> bool:
            seen[0] = self.runner.poll(handle)
            return bool(condition(seen[0]))

        wait_until(look, what)
        return seen[0]

    def ended(self, handle: Handle) -> Progress:
        return self.wait(handle, lambda progress: progress.phase is Phase.ENDED, "the end of the job")

    def log(self, handle: Handle) -> str:
        return self.runner.logs(handle, 0).data.decode(errors="replace")

    def said(self, handle: Handle, text: str) -> str:
        """The log, once it holds ``text``."""
        wait_until(lambda: text in self.log(handle), f"{text!r} in the log")
        return self.log(handle)

    def pid(self, handle: Handle, who: str = "watchdog") -> int:
        """Of the watchdog or of the job's own shell, as status.json says."""
        status = json.loads(Path(self.paths(handle).status).read_bytes())
        return int(status[who]["pid"])

    def processes(self) -> list[int]:
        """Everything alive that belongs to runs of this machine."""
        return [
            pid
            for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
            if self._is_ours(pid)
        ]

    def _is_ours(self, pid: int) -> bool:
        mine = os.fsencode(str(self.work_root))
        with suppress(OSError):
            words = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
            return mine in words and b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
        return False

    def close(self) -> None:
        for handle in self.handles:
            Path(self.paths(handle).folder.control / "deadline.json").unlink(missing_ok=True)
            self.runner.end(handle)
        with suppress(AssertionError):
            wait_until(lambda: not self.processes(), "the end of all processes", timeout_s=5.0)
        left = self.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, "processes outlived their run"
        for words in self.work_root.glob("launch/*/control/*/*/watchdog.err"):
            assert words.read_text() == "", "the watchdog had a fault"
