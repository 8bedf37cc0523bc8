"""Jobs on machines that we log in to: a shell, a tmux session, and the watchdog in it.

Everything that lasts runs on the machine: what is here only places files and reads them. So every method may be
interrupted at any point and called again, by this process or another one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import time
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from launcher.errors import (
    CommandFailed,
    MachineError,
    MachineFull,
    MachineRefused,
    PlacementError,
    StoreError,
)
from launcher.events import keep_going, unreported
from launcher.job.notebook import notebook_of
from launcher.records import from_json, to_json
from launcher.remote import compute, runfile, tmux
from launcher.remote.bootstrap import install_missing
from launcher.remote.compute import ask_gpus
from launcher.remote.environments import Recipe, means_the_working_folder, recipe_of
from launcher.remote.facts import Facts, look, require
from launcher.remote.fetching import fetch
from launcher.remote.layout import Start
from launcher.remote.local import LocalShell
from launcher.remote.onboard.files import sha256_of
from launcher.remote.onboard.probe import ENVIRONMENT, MACHINE
from launcher.remote.placement import Download, Placement, downloads_of
from launcher.remote.runfile import Intervals, Status, Step
from launcher.remote.tools import Tools
from launcher.remote.torch_builds import Gpus, torch_build
from launcher.remote.trial import try_machine
from launcher.runners.base import (
    Area,
    Bucket,
    Fault,
    FetchReport,
    Handle,
    Left,
    LogChunk,
    MakeWay,
    Mount,
    Progress,
    RunnerCapabilities,
    Signal,
    Submission,
    Wanted,
    replace_all,
)
from launcher.wheel import trainer_wheel
from provisioning import LocalAccess, models
from trainer.contract import Cause, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from launcher.events import Listen, Report
    from launcher.remote.shell import Result, Shell, Stdin
    from launcher.remote.transfer import Transfer
    from provisioning import Demands

    TransferFor = Callable[[Tools, Facts], Transfer]

__all__ = ["MachineRunner"]

RUNNER = "machines"
RECORD = "record.json"
"""In the control folder of a run: what it takes to go on with it when the record at home is lost."""
START_TIMEOUT_S = 60.0
"""From the tmux command to the first word of the watchdog; an earlier start may take its time to leave."""
END_TIMEOUT_S = 10.0
LOOK_EVERY_S = 0.02
_EXECUTE = (
    'PATH="$1${1:+:}$PATH"; export PATH; shift; '
    'command -v -- "$1" >/dev/null 2>&1 || { printf "%s: there is no such command on the machine\\n" "$1" >&2; exit 127; }; '
    'exec "$@"'
)
"""A script for ``sh``: $1 is put before PATH, the rest is the command."""
NAMES = {
    Area.WORK: "outputs",
    Area.CHANGED: "outputs",
    Area.CHECKPOINTS: "checkpoint",
    Area.LOGS: "logs",
}
"""What is said to be on its way."""
PASSING_TROUBLE = (
    "duplicate session",
    "server exited",
    "lost server",
    "no server running",
    "error connecting",
)
"""What tmux says while an earlier start is still leaving."""


class MachineRunner:
    """Runs stages on one machine. Holds nothing but the connection: a handle is enough to find a stage again."""

    capabilities = RunnerCapabilities(live_pull=True, shell=True, deadline=True)

    def __init__(
        self,
        shell: Shell,
        work_root: PurePosixPath,
        *,
        shares_files: bool = False,
        intervals: Intervals | None = None,
        transfers: TransferFor | None = None,
        is_foreign: bool = False,
        may_have_secrets: bool = True,
        demands: Demands | None = None,
        transfer_timeout_s: float = 24 * 3600.0,
        clock: Callable[[], datetime] = models.utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``work_root``: an absolute folder on the machine. ``shares_files``: it sees the files of this computer.

        ``transfers`` chooses how many files or large ones travel; without it one by one through the shell.
        ``is_foreign``: nobody prepared the machine: packages that a run needs are installed there when they are
        missing, the trainer is brought along, and the GPU is tried before the job begins.
        ``demands``: what the machine is tried for before anything is sent to it.
        ``may_have_secrets``: False where nobody can say whether it is the machine that it should be.
        """
        self._shell = shell
        self._work_root = work_root
        self._shares_files = shares_files
        self._intervals = intervals or Intervals()
        self._transfers = transfers
        self._is_foreign = is_foreign
        self._may_have_secrets = may_have_secrets
        self._demands = demands
        self._transfer_timeout_s = transfer_timeout_s
        self._clock = clock
        self._sleep = sleep
        self._facts: Facts | None = None
        self._watchdogs: dict[PurePosixPath, int] = {}
        """By their ``status.json``: so that the next look can ask for everything at once."""

    @classmethod
    def local(cls, access: LocalAccess, *, intervals: Intervals | None = None) -> MachineRunner:
        """The runner for a machine whose processes run on this computer."""
        return cls(
            LocalShell(access), PurePosixPath(access.work_root), shares_files=True, intervals=intervals
        )

    # Starting.

    def submit(self, submission: Submission, *, report: Report, listen: Listen = keep_going) -> Handle:
        """Place code and data and start the stage; see `launcher.runners.base.Runner.submit`."""
        try:
            return self._submit(submission, report, listen)
        except OSError as err:
            is_there = str(err.filename or "").startswith(f"{self._work_root}/")
            if err.errno not in (errno.ENOSPC, errno.EDQUOT) or not is_there:
                raise
            raise MachineFull(
                f"there is no room left on the machine: {err.filename} cannot be written",
                left_behind="what has arrived stays there and is not sent again",
                hint="ask for a larger disk, or make room there",
            ) from err

    def _submit(self, submission: Submission, report: Report, listen: Listen) -> Handle:
        start = Start.of_submission(self._work_root, submission)
        if self._has_begun(start):
            return self._handle(start, submission)
        if submission.secrets and not self._may_have_secrets:
            raise MachineRefused(
                "the machine's host key was accepted at first contact, and the job has secrets: "
                + ", ".join(sorted(submission.secrets)),
                left_behind="nothing was sent",
                hint="a provider that can be told or asked for host keys (docs/ssh.md), or a job without secrets",
            )
        if self._is_foreign:
            self._facts = install_missing(self._shell, self._machine(), report, listen)
            if submission.start == 1:
                compute.tell(compute.ask(self._shell, self._work_root), self._facts, report)
        require(self._machine())
        tools = self._tools(start)
        self._make_private(start.control)
        tools.install()
        if self._demands is not None:
            self._try_once(start, tools, self._demands, report)
        placement = Placement(
            self._shell,
            tools,
            start,
            shares_files=self._shares_files,
            timeout_s=self._transfer_timeout_s,
            report=report,
            listen=listen,
            transfer=self._transfer(tools),
        )
        packed = placement.place(submission)
        for carried in submission.carried:
            placement.carry(carried)
        if submission.resume_from is not None:
            placement.place_checkpoint(submission.resume_from, is_newest=submission.resume_is_newest)
        if submission.stored:
            placement.restore(submission.stored)
        if submission.bucket is not None:
            self._write_bucket(start, submission.bucket)
        self._write_orders(start, submission, tools, placement)
        self._leave_record(start, submission, packed)
        self._start_watchdog(start, tools)
        self._wait_for_watchdog(start)
        return self._handle(start, submission)

    def _leave_record(self, start: Start, submission: Submission, packed: PurePosixPath) -> None:
        left = Left(record=submission.record, handle=self._handle(start, submission), snapshot=str(packed))
        document = json.dumps({"schema": runfile.SCHEMA, **to_json(left)}).encode("ascii")
        self._shell.write(start.folder.control / RECORD, document, mode=0o600)

    def left_by(self, run_id: str) -> Left | None:
        """Return what a run has left on this machine; None when there is nothing that this version can read."""
        path = self._work_root / "launch" / run_id / "control" / RECORD
        try:
            document = json.loads(self._shell.read(path))
            return from_json(Left, document) if document.pop("schema") == runfile.SCHEMA else None
        except (FileNotFoundError, ValueError, KeyError, StoreError):
            return None

    def bring_snapshot(self, left: Left, dest: Path) -> None:
        """Copy the run's packed code home; `PlacementError` when the machine has lost it."""
        try:
            self._shell.get(PurePosixPath(left.snapshot), dest)
        except OSError as err:
            raise PlacementError(f"the code of the run cannot be read from {left.snapshot}: {err}") from err

    def _try_once(self, start: Start, tools: Tools, demands: Demands, report: Report) -> None:
        """Try the machine before the first start on it; later ones find the note."""
        note = start.control / "trial.json"
        try:
            self._shell.read(note, limit=1)
        except FileNotFoundError:
            found = try_machine(self._shell, tools, start.control, demands, report)
            self._shell.write(note, json.dumps(asdict(found)).encode("ascii"))

    def _machine(self) -> Facts:
        if self._facts is None:
            self._facts = look(self._shell)
        return self._facts

    def _tools(self, start: Start) -> Tools:
        return Tools(self._shell, self._machine().python or "python3", start.folder.control)

    def _transfer(self, tools: Tools) -> Transfer | None:
        return self._transfers(tools, self._machine()) if self._transfers is not None else None

    def _handle(self, start: Start, submission: Submission) -> Handle:
        data = {
            "work_root": str(self._work_root),
            "workdir_name": submission.workdir_name,
            "checkpoint_dir": submission.checkpoint_dir,
            "checkpoint_below": submission.checkpoint_below,
            "segment_bytes": self._intervals.segment_bytes,
            "pushes": submission.bucket is not None and submission.bucket.push is not None,
        }
        return Handle(
            runner=RUNNER,
            run_id=submission.run_id,
            attempt=submission.attempt,
            stage=submission.stage,
            start=submission.start,
            data=data,
        )

    def _has_begun(self, start: Start) -> bool:
        """The watchdog has written its status: this start is never started again."""
        try:
            self._shell.read(start.status, limit=1)
        except FileNotFoundError:
            return False
        return True

    def _make_private(self, folder: PurePosixPath) -> None:
        result = self._shell.run(["sh", "-c", 'umask 077 && mkdir -p -- "$1"', "sh", str(folder)])
        if result.exit_code != 0:
            words = result.stderr.decode(errors="replace").strip()
            raise PlacementError(f"{folder} cannot be made on the machine: {words}")

    def _write_orders(self, start: Start, submission: Submission, tools: Tools, placement: Placement) -> None:
        """Write all that the watchdog needs; ``run.json`` is the last of it."""
        prepare, path_prefix, environ = self._preparation(start, submission, tools, placement)
        prove = [self._gpu_trial(start, submission, tools)] if self._is_foreign else []
        prove.append(Step(name="record", argv=tools.argv("record", str(start.runfile))))
        steps = runfile.steps_of(start, submission, prepare, prove)
        if submission.setup:
            self._shell.write(start.control / "setup.sh", runfile.script_of(submission.setup))
        notebook = notebook_of(submission.run)
        run = submission.run if notebook is None else f"exec {tools.in_environment('notebook', notebook)}"
        self._shell.write(start.control / "run.sh", runfile.script_of(run))
        if submission.secrets:
            secrets = json.dumps(dict(submission.secrets)).encode("ascii")
            self._shell.write(start.secrets, secrets, mode=0o600)
        orders = runfile.build(
            start, submission, steps, path_prefix=path_prefix, environ=environ, intervals=self._intervals
        )
        self._shell.write(start.runfile, runfile.encode(orders), mode=0o600)

    def _gpu_trial(self, start: Start, submission: Submission, tools: Tools) -> Step:
        words = str(start.control / "gpu.words")
        faults = {str(MACHINE): Fault.MACHINE.value, str(ENVIRONMENT): Fault.ENVIRONMENT.value}
        argv = tools.argv("probe", words, str(submission.gpus))
        return Step(name="gpu", argv=argv, faults=faults, words=words)

    def _preparation(
        self, start: Start, submission: Submission, tools: Tools, placement: Placement
    ) -> tuple[list[Step], list[str], dict[str, str]]:
        """What the watchdog does before ``setup``: it takes minutes, and must go on when we do not."""
        steps: list[Step] = []
        path_prefix: list[str] = []
        environ: dict[str, str] = {}
        downloads = downloads_of(submission.mounts, start.folder)
        if downloads:
            listing = self._write_downloads(start, downloads)
            steps.append(Step(name="data", argv=tools.argv("download", str(listing))))
        wheel = self._bring_trainer(start) if self._is_foreign else None
        if submission.environment.is_made:
            recipe = self._recipe(start, submission, wheel)
            orders = self._write_recipe(start, recipe)
            steps.append(Step(name="environment", argv=tools.argv("environment", str(orders))))
            path_prefix.append(str(recipe.folder / "bin"))
            environ.update(recipe.variables)
        elif wheel is not None:
            folder = start.folder.cache / wheel.stem
            steps.append(Step(name="trainer", argv=tools.argv("trainer", str(folder), str(wheel))))
            path_prefix.append(str(folder / "bin"))
            environ["PYTHONPATH"] = str(folder / "lib")
        return steps, path_prefix, environ

    def _recipe(self, start: Start, submission: Submission, wheel: PurePosixPath | None) -> Recipe:
        environment = submission.environment
        gpus = ask_gpus(self._shell) if environment.requirements is not None else Gpus()
        machine: list[Any] = [list(self._machine().python_version)]
        if means_the_working_folder(environment):
            machine += [str(start.folder.workdir), sha256_of(submission.snapshot)]
        return recipe_of(
            environment,
            cache=start.folder.cache,
            machine=machine,
            wheel=wheel,
            torch=torch_build(environment, gpus, variables=submission.envs),
            prepared=not self._is_foreign,
        )

    def _write_recipe(self, start: Start, recipe: Recipe) -> PurePosixPath:
        """Write what the environment is made of; its orders are the last of it."""
        folder = start.control / "environment"
        for name, text in recipe.files.items():
            self._shell.write(folder / name, text.encode(errors="surrogateescape"))
        self._shell.write(folder / "orders.json", json.dumps(dict(recipe.orders)).encode("ascii"))
        return folder / "orders.json"

    def _write_downloads(self, start: Start, downloads: Sequence[Download]) -> PurePosixPath:
        """What the machine is to fetch, with addresses that whoever has them can use: private."""
        listing = start.control / "downloads.json"
        content = json.dumps({"downloads": [asdict(one) for one in downloads]})
        self._shell.write(listing, content.encode("ascii"), mode=0o600)
        return listing

    def _write_bucket(self, start: Start, bucket: Bucket) -> None:
        told = runfile.bucket_file(
            start,
            bucket,
            request_of=lambda wanted: self._request(start, wanted),
            intervals=self._intervals,
        )
        self._shell.write(start.bucket, json.dumps(told).encode("ascii"), mode=0o600)

    def _bring_trainer(self, start: Start) -> PurePosixPath:
        """Put the wheel of this launcher's trainer on the machine, unless it is there; its name tells its version."""
        wheel = trainer_wheel()
        path = start.folder.cache / wheel.name
        try:
            self._shell.read(path, limit=1)
        except FileNotFoundError:
            self._shell.write(path, wheel.content)
        return path

    def _start_watchdog(self, start: Start, tools: Tools) -> None:
        """Start it in tmux. That it is there already is fine: only one of them ever acts for a start."""
        deadline = time.monotonic() + START_TIMEOUT_S
        socket = tmux.socket_name(start.folder, start.stage)
        keep_words = ("sh", "-c", 'exec "$@" 2>>"$0"', str(self._words(start)))
        argv = (*keep_words, *tools.argv("run", str(start.runfile)))
        while True:
            result = self._shell.run(
                tmux.new_session(socket, start.folder.run_id, argv), cwd=start.folder.workdir
            )
            if result.exit_code == 0 or self._has_begun(start):
                return
            words = result.stderr.decode(errors="replace").strip()
            if not any(passing in words for passing in PASSING_TROUBLE):
                raise CommandFailed(
                    f"tmux could not start the job: {words}",
                    exit_code_of_command=result.exit_code,
                    output=words,
                )
            if time.monotonic() >= deadline:
                raise PlacementError(f"an earlier start of stage {start.stage} has not left its tmux session")
            self._sleep(LOOK_EVERY_S)

    def _wait_for_watchdog(self, start: Start) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        has_session = tmux.has_session(tmux.socket_name(start.folder, start.stage), start.folder.run_id)
        while not self._has_begun(start):
            self._sleep(LOOK_EVERY_S)
            is_late = time.monotonic() >= deadline
            if is_late or self._shell.run(has_session).exit_code != 0:
                if self._has_begun(start):
                    return
                raise PlacementError(
                    f"the watchdog did not start: {self._last_words(start) or 'it said nothing'}",
                    left_behind=f"code and data in {start.folder.root}",
                )

    def _words(self, start: Start) -> PurePosixPath:
        return start.control / "watchdog.err"

    def _last_words(self, start: Start) -> str:
        try:
            return self._shell.read(self._words(start)).decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    # Looking.

    def poll(self, handle: Handle) -> Progress:
        """Look once: at ``status.json`` and, in the same breath, at the process that wrote it."""
        start = Start.of_handle(handle)
        status, traces = self._look(start)
        if status.progress.phase is Phase.ENDED or self._is_alive(status, traces):
            return status.progress
        # It may have ended between the two looks; then its last word is there now.
        status = self._status(start)
        if status.progress.phase is Phase.ENDED:
            return status.progress
        words = status.progress.reason or "the watchdog was killed"
        return replace(status.progress, alive=False, reason=words)

    def _status(self, start: Start) -> Status:
        now = self._clock()
        try:
            data = self._shell.read(start.status)
        except FileNotFoundError:
            return runfile.unknown_status(now)
        return Status.parse(data, seen_at=now) or runfile.unknown_status(now)

    def _look(self, start: Start) -> tuple[Status, list[bytes | None]]:
        """What the watchdog told, and the traces of the process that it was at the look before."""
        known = self._watchdogs.get(start.status, 0)
        data, *traces = self._shell.read_some([start.status, *_traces_of(known)])
        now = self._clock()
        status = (data and Status.parse(data, seen_at=now)) or runfile.unknown_status(now)
        if status.watchdog_pid != known:
            self._watchdogs[start.status] = status.watchdog_pid
            traces = self._shell.read_some(_traces_of(status.watchdog_pid))
        return status, traces

    def _is_alive(self, status: Status, traces: Sequence[bytes | None]) -> bool:
        """The watchdog's pid is alive and is the process that wrote the status, not a later one of that number."""
        if not status.watchdog_pid:
            return False
        if not status.boot_id:
            return self._is_alive_without_proc(status)
        stat, boot_id = traces
        if not stat or not boot_id:
            return False
        fields = stat.rpartition(b")")[2].split()
        is_same = fields[19].decode() == status.watchdog_started and fields[0] not in (b"Z", b"X")
        return is_same and boot_id.decode().strip() == status.boot_id

    def _is_alive_without_proc(self, status: Status) -> bool:
        listing = self._shell.run(["ps", "-o", "lstart=", "-p", str(status.watchdog_pid)])
        return " ".join(listing.stdout.decode(errors="replace").split()) == status.watchdog_started

    def logs(self, handle: Handle, offset: int, *, limit: int = 1 << 20) -> LogChunk:
        """Return output from a byte offset of this attempt on.

        Where the oldest output was dropped to save the disk, the chunk begins later than asked.
        """
        start = Start.of_handle(handle)
        segment_bytes = int(handle.data["segment_bytes"])
        pieces: list[bytes] = []
        at = offset
        while at - offset < limit:
            first = at - at % segment_bytes
            segment = start.segments / f"{first:015d}.log"
            try:
                piece = self._shell.read(segment, offset=at - first, limit=limit - (at - offset))
            except FileNotFoundError:
                oldest = 0 if pieces else self._status(start).log_start
                if oldest <= at:
                    break
                offset = at = oldest
                continue
            pieces.append(piece)
            at += len(piece)
            if not piece or at % segment_bytes:
                break
        return LogChunk(offset=offset, data=b"".join(pieces))

    # Acting.

    def signal(self, handle: Handle, signal: Signal, *, cause: Cause = Cause.STOP) -> None:
        """Leave a wish for the watchdog, which sees it at once; asking twice is asking once."""
        start = Start.of_handle(handle)
        wish = json.dumps({"cause": cause.value, "reason": ""}).encode("ascii")
        self._shell.write(start.signal_file(signal.value), wish)

    def renew(self, handle: Handle, mounts: Sequence[Mount], bucket: Bucket | None) -> None:
        """Replace what was signed; the machine reads it again when an address has ended."""
        start = Start.of_handle(handle)
        if bucket is not None:
            self._write_bucket(start, bucket)
        downloads = downloads_of(mounts, start.folder)
        if downloads:
            self._write_downloads(start, downloads)

    def fetch(
        self,
        handle: Handle,
        patterns: Sequence[str],
        dest: Path,
        *,
        area: Area = Area.WORK,
        report: Report = unreported,
        listen: Listen = keep_going,
        make_way: MakeWay = replace_all,
    ) -> FetchReport:
        """Bring files home; see `launcher.runners.base.Runner.fetch`."""
        start = Start.of_handle(handle)
        request = self._request(start, Wanted(patterns=tuple(patterns), area=area))
        tools = self._tools(start)
        tools.install()
        with self._at_home(handle, start):
            return fetch(
                self._shell,
                tools,
                request,
                dest,
                transfer=self._transfer(tools),
                timeout_s=self._transfer_timeout_s,
                what=NAMES[area],
                report=report,
                listen=listen,
                make_way=make_way,
            )

    @contextlib.contextmanager
    def _at_home(self, handle: Handle, start: Start) -> Iterator[None]:
        """Let a machine that would push what nobody fetches see that somebody does."""
        if not handle.data.get("pushes"):
            yield
            return
        self._shell.write(start.home, b'{"fetching": true}')
        try:
            yield
        finally:
            with contextlib.suppress(MachineError, OSError):
                self._shell.write(start.home, b'{"fetching": false}')

    def _request(self, start: Start, wanted: Wanted) -> dict[str, Any]:
        """What the manifest program is asked for."""
        folder, area = start.folder, wanted.area
        roots = {Area.CHECKPOINTS: folder.checkpoints, Area.LOGS: start.logs}
        request: dict[str, Any] = {
            "root": str(roots.get(area, folder.workdir)),
            "run": str(folder.root),
            "private": str(folder.control),
            "patterns": list(wanted.patterns),
            "cache": str(folder.control / "digests.json"),
        }
        if area in (Area.WORK, Area.CHANGED):
            request["inputs"] = self._inputs(start)
        if area is Area.CHANGED:
            request["baseline"] = str(folder.control / "placed.json")
            request["inputs"].append(str(folder.data))
        return request

    def _inputs(self, start: Start) -> list[str]:
        try:
            inputs = json.loads(self._shell.read(start.folder.control / "inputs.json"))
        except FileNotFoundError:
            return []
        return [str(path) for path in inputs]

    def end(self, handle: Handle) -> None:
        """Kill what still runs of this stage and let go of the connection.

        What destroys the machine at its hard deadline is left alone: the machine itself is not ours to end here.
        """
        start = Start.of_handle(handle)
        progress = self.poll(handle)
        if progress.alive:
            self.signal(handle, Signal.KILL)
            progress = self._wait_for_end(handle)
        if progress.phase is not Phase.ENDED:
            self._sweep(start)
        self._shell.run(tmux.end(tmux.socket_name(start.folder, start.stage)))
        self._shell.run(["rm", "-f", "--", str(start.secrets), str(start.bucket)])
        self._shell.close()

    def _wait_for_end(self, handle: Handle) -> Progress:
        deadline = time.monotonic() + END_TIMEOUT_S
        while True:
            progress = self.poll(handle)
            if not progress.alive or time.monotonic() >= deadline:
                return progress
            self._sleep(LOOK_EVERY_S)

    def _sweep(self, start: Start) -> None:
        """A watchdog that is dead or deaf: kill it and everything that carries the run's marks."""
        tools = self._tools(start)
        try:
            self._shell.read(start.runfile, limit=1)
        except FileNotFoundError:
            return
        tools.install()
        self._shell.run(tools.argv("sweep", str(start.runfile)))

    def close(self) -> None:
        """Let go of the connection; what runs on the machine goes on, and the next use opens another."""
        self._shell.close()

    # For people.

    def attach_command(self, handle: Handle) -> list[str]:
        """The command that shows the stage's tmux session on the terminal that it is run on, at home."""
        start = Start.of_handle(handle)
        attach = tmux.attach(tmux.socket_name(start.folder, start.stage), start.folder.run_id)
        return self._shell.with_terminal(attach)

    def execute(
        self, handle: Handle, argv: Sequence[str], *, stdin: Stdin = b"", timeout_s: float = 3600.0
    ) -> Result:
        """Run a command beside the job: in its working folder, with its variables and its environment."""
        start = Start.of_handle(handle)
        orders = json.loads(self._shell.read(start.runfile))
        # Without the mark by which processes of the job are told from others.
        environ = {name: value for name, value in orders["environ"].items() if name != "LAUNCH_RUN_DIR"}
        prefix = ":".join(orders["path_prefix"])
        words = ["sh", "-c", _EXECUTE, "sh", prefix, *argv]
        workdir = start.folder.workdir
        return self._shell.run(words, stdin=stdin, cwd=workdir, environ=environ, timeout_s=timeout_s)


def _traces_of(pid: int) -> list[PurePosixPath]:
    """Where Linux tells of a process, and in which boot of the machine it tells so."""
    return [PurePosixPath(f"/proc/{pid}/stat"), PurePosixPath("/proc/sys/kernel/random/boot_id")]
