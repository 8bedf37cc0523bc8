"""A home of its own for each test: real runs, real processes, an audit of what they leave, and a clean end."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher import Job, Run, launch
from launcher.home import Home
from launcher.store import InstanceRow, Store
from launcher.supervise import supervisor_pid
from provisioning import InstanceRef, ProviderContext, processes
from provisioning.fake.__main__ import main as fake_console
from provisioning.registry import provider
from tests.launcher.cli.starting import read_at_start, starter

REPOSITORY = Path(__file__).resolve().parents[2]
COUNTER = Path(__file__).with_name("counter.py")
TIMEOUT_S = 60.0


def eventually(condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """Return what the condition returned once it was true."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.02)
    return found


@dataclass
class House:
    """One ``LAUNCH_HOME``, one project folder, and the runs of one test."""

    root: Path
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = self.root / "state"
        self.project = self.root / "project"
        self.results = self.root / "results"
        self.project.mkdir(parents=True)
        shutil.copy(COUNTER, self.project / "counter.py")
        passed = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "TMPDIR") or read_at_start(name)
        }
        self.environ = {
            **passed,
            "HOME": str(self.root / "user"),
            "LAUNCH_HOME": str(self.state),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
        }
        (self.root / "user").mkdir()

    # Starting

    def job(self, run: str, **fields: Any) -> Job:
        """A job in the project folder; its outputs come home to ``results/<run>``."""
        everything = {
            "name": "job",
            "workdir": str(self.project),
            "run": run,
            "file_outputs": {"outputs/": str(self.results)},
            "checkpoint": {"dir": "saved"},
            **fields,
        }
        return Job.from_dict(everything, base_dir=self.project)

    def counting(
        self,
        total: int = 10,
        pace_s: float = 0.02,
        every: int = 3,
        gate: int | None = None,
        **fields: Any,
    ) -> Job:
        """The job that shows every lost or repeated step; it waits at step ``gate`` until `open_gate`."""
        command = f"{sys.executable} counter.py {total} {pace_s} {every}"
        if gate is not None:
            command += f" {gate} {self.gate}"
        return self.job(command, **fields)

    @property
    def gate(self) -> Path:
        """The file that waiting jobs wait for."""
        return self.root / "gate"

    def open_gate(self) -> None:
        """Let the jobs go on to their end."""
        self.gate.touch()

    def launch(self, job: Job, provider: str | None = "local", **options: Any) -> Run:
        """Start it for real."""
        run = launch(job, provider=provider, environ=self.environ, **options)
        self.runs.append(run)
        return run

    def command(self, *argv: str, timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Run ``launch`` as a person would."""
        code, out, err = starter()(argv, self.project, self.environ, timeout_s)
        return subprocess.CompletedProcess(argv, code, out, err)

    # Looking

    @property
    def home(self) -> Home:
        return Home.open(self.environ)

    @property
    def store(self) -> Store:
        return Store(self.home.database)

    def machines(self) -> list[dict[str, Any]]:
        """Every machine that the fake cloud ever rented out, from its own books."""
        with redirect_stdout(io.StringIO()) as told:
            assert fake_console(["ls", "--json", "--home", str(self.state)]) == 0
        return list(json.loads(told.getvalue())["machines"])

    def machine_environ(self, run: Run) -> dict[str, str]:
        """The mark of the run's newest machine."""
        row = self.store.instances(run.id)[-1]
        return {processes.MARK: InstanceRef.parse(row.ref).id}

    def pids(self, run: Run, words: str) -> list[int]:
        """Processes on the run's newest machine whose command line has these words."""
        rows = self.store.instances(run.id)
        if not rows:
            return []
        found = []
        for pid in processes.running(InstanceRef.parse(rows[-1].ref).id):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if words in line:
                    found.append(pid)
        return found

    def supervisor(self) -> int:
        """The pid of the supervisor, once there is one."""
        return int(eventually(lambda: supervisor_pid(self.home), "a supervisor"))

    def kill_supervisor(self) -> None:
        """As power fails: no last word."""
        pid = supervisor_pid(self.home)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: supervisor_pid(self.home) != pid, "the supervisor's end")

    def until_step(self, run: Run, step: int) -> None:
        """Wait until the record says that the job has come so far."""
        eventually(lambda: (run.status().step or 0) >= step or not run.status().is_live, f"step {step}")

    def until_log(self, run: Run, words: str) -> None:
        """Wait until the job has said this."""
        eventually(lambda: words in run.read_log(0).data.decode(errors="replace"), f"{words!r} in the log")

    def until(self, run: Run, *states: str) -> None:
        """Wait until the run is in one of these states."""
        eventually(lambda: run.status().state in states, f"{run.id} to be {' or '.join(states)}")

    # Judging

    def audit(self, run: Run, *, kept: bool = False) -> None:
        """Nothing unrecorded, nothing rented twice, nothing left, every output whole."""
        status, store = run.status(), self.store
        assert not status.is_live
        recorded = {row.ref: row for row in store.instances(run.id)}
        rented = [machine for machine in self.machines() if machine["run_id"] == run.id]
        for machine in rented:
            assert machine["ref"] in recorded, f"unrecorded: {machine}"
            assert kept or machine["state"] == "terminated", f"left behind: {machine}"
        attempts = [machine["attempt"] for machine in rented]
        assert len(attempts) == len(set(attempts)), f"rented twice for one attempt: {rented}"
        tokens = {row.token for row in store.tries(run.id)}
        assert {machine["token"] for machine in rented} <= tokens
        for row in recorded.values():
            assert kept or row.ended_at is not None, f"not known to have ended: {row}"
            assert kept or not (alive := _shown(processes.running(InstanceRef.parse(row.ref).id))), alive
        for output in status.outputs:
            data = Path(output.path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (output.size_bytes, output.sha256)
        self._audit_events(run)

    def _audit_events(self, run: Run) -> None:
        """The export tells what the record tells."""
        told = [json.loads(line) for line in self.home.run(run.id).events.read_text().splitlines()]
        assert [event["seq"] for event in told] == [event.seq for event in run.events()]
        assert [event["message"] for event in told] == [event.message for event in run.events()]

    def outcome(self, run: Run) -> tuple[str, str]:
        """The final weights and the table of all steps of a counting job."""
        folder = Path(run.status().results_dir)
        return (folder / "outputs/weights.txt").read_text(), (folder / "outputs/metrics.csv").read_text()

    # Ending

    def close(self) -> None:
        """End everything that belongs to this home."""
        if not self.state.is_dir():
            return
        self.kill_supervisor()
        for row in self._open_instances():
            ref = InstanceRef.parse(row.ref)
            context = ProviderContext(home=self.state, environ=self.environ)
            provider(ref.provider, context).terminate(ref)
        for machine in self.machines() if (self.state / "fake").is_dir() else []:
            ref = InstanceRef.parse(machine["ref"])
            provider("fake", ProviderContext(home=self.state, environ=self.environ)).terminate(ref)

    def _open_instances(self) -> list[InstanceRow]:
        return [row for row in self.store.instances() if row.ref.startswith(("local/", "fake/"))]


def _shown(pids: Iterable[int]) -> list[str]:
    """What each process is, as far as it still can be seen."""
    shown = []
    for pid in pids:
        with suppress(OSError):
            folder = Path(f"/proc/{pid}")
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            shown.append(f"{pid} of {(folder / 'stat').read_text().rpartition(')')[2].split()[:2]}: {line}")
    return shown


def expected_outcome(total: int) -> tuple[str, str]:
    """What a counting job that was left alone ends with."""
    digest, rows = "start", []
    for step in range(1, total + 1):
        digest = hashlib.sha256(f"{digest} {step}".encode()).hexdigest()
        rows.append(f"{step},{digest[:8]}")
    return digest + "\n", "\n".join(rows) + "\n"


def environ_with(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """The environment with more in it."""
    return {**environ, **more}
