"""What the orchestrator sees of a running job, wherever it runs: submit, poll, signal, logs, fetch, end.

Machines (provider + shell + tmux + watchdog) and batch systems (a queue that takes a job) implement it. A
`Handle` is plain data: it is stored with the run, and tomorrow another process polls with it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from launcher.events import keep_going, unreported
from launcher.job.lock_format import LockFormat
from launcher.runners.areas import Area
from launcher.runners.mounts import Mount, SignedFile
from provisioning import NoticeProbe, SelfDestroy
from trainer.contract import Cause, Phase

if TYPE_CHECKING:
    from launcher.events import Listen, Report
    from provisioning.storage import SignedUrl

__all__ = [
    "GRACE_S",
    "Area",
    "Best",
    "Bucket",
    "Carried",
    "CheckpointEntry",
    "Environment",
    "Fault",
    "FetchReport",
    "FetchedFile",
    "Handle",
    "Left",
    "LogChunk",
    "LogReading",
    "MakeWay",
    "MemoryKind",
    "Mount",
    "Progress",
    "Runner",
    "RunnerCapabilities",
    "Signal",
    "SignedFile",
    "Slot",
    "StageFile",
    "StoredCheckpoint",
    "Submission",
    "Wanted",
    "replace_all",
]


GRACE_S = 120.0
"""What a job is given to save and leave, from SIGTERM to SIGKILL."""


class Fault(str, enum.Enum):
    """Whose fault it is that a start did not come as far as the job."""

    MACHINE = "machine"
    """Another machine may do."""
    ENVIRONMENT = "environment"
    """What the job brings does not fit machines of this kind: trying again cannot help."""


class MemoryKind(str, enum.Enum):
    """Which memory a program ran out of."""

    GPU = "gpu"
    MACHINE = "memory"


class Signal(str, enum.Enum):
    """What the job is asked for."""

    SAVE = "save"
    """SIGTERM: save and leave; SIGKILL after the grace period."""
    KILL = "kill"
    """SIGKILL at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Files that are to come home: one call of `Runner.fetch`."""

    patterns: tuple[str, ...]
    area: Area


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Room for one parcel in an object store: what the machine may write, and when it was last written."""

    head: SignedUrl
    parts: tuple[SignedUrl, ...] = field(repr=False)
    sequence: int = 0
    """Of the checkpoint that it holds: higher is newer, 0 holds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What the machine may bring to an object store by itself."""

    part_bytes: int
    mirror: tuple[Slot, ...] = ()
    """For checkpoints, while the job works; empty where they go elsewhere."""
    mirror_every_s: float = 0.0
    push: Slot | None = None
    """For everything that nobody has fetched when the job is over."""
    wanted: tuple[Wanted, ...] = ()
    """What is pushed, beside log, status and the newest checkpoint."""
    otherwise: Wanted | None = None
    """Instead of what of ``wanted`` lies in `Area.WORK`, when that matches nothing."""

    @property
    def expires_at(self) -> datetime:
        """When the first of the signatures ends."""
        slots = [*self.mirror, *([self.push] if self.push is not None else [])]
        ends: list[datetime] = [link.expires_at for slot in slots for link in (slot.head, *slot.parts)]
        return min(ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCheckpoint:
    """A checkpoint in an object store that the machine may read."""

    head: Mapping[str, Any]
    """``parcel.json``."""
    parts: tuple[SignedUrl, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The Python environment of a stage, with the text of the files it is made from, as they were at launch.

    With nothing of it, it is the machine's own.
    """

    python: str | None = None
    requirements: str | None = None
    """A requirements file of pip."""
    included: Mapping[str, str] = field(default_factory=dict)
    """What ``requirements`` includes: name in it -> text."""
    lock: str | None = None
    lock_format: LockFormat | None = None
    project: str | None = None
    """The ``pyproject.toml`` that a lock of uv belongs to."""
    extras: tuple[str, ...] = ()
    """Of that project, to be installed too."""
    groups: tuple[str, ...] = ()
    """The same of its dependency groups, beside the default ones."""
    conda: str | None = None
    """A conda environment file."""
    added: tuple[str, ...] = ()
    """Packages that are installed when the rest is, and change nothing of it."""

    @property
    def is_made(self) -> bool:
        """It is made on the machine."""
        return any(
            (self.python, self.requirements is not None, self.lock is not None, self.conda is not None)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFile:
    """An output of a stage that is home."""

    name: str
    """Relative to the working folder there, and to the folder of results here."""
    size_bytes: int
    sha256: str
    kept: str = ""
    """Where it lies here instead, since a later stage has brought another file of this name."""

    def below(self, root: Path) -> Path:
        """Return where it lies in the folder of results."""
        return root / (self.kept or self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Outputs of an earlier stage that a stage is given: put up on a machine that does not have them."""

    stage: str
    attempt: int
    """Where that stage ended: a machine on which this very start of it ran has its outputs. 0: in another run."""
    start: int
    root: Path
    """The folder at home that they lie in."""
    files: tuple[StageFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """All that a machine or a queue needs to run one stage of a job once."""

    run_id: str
    attempt: int
    stage: str
    start: int
    """Counts the starts within this attempt, from 1: a restart on the same machine is the next one."""
    workdir_name: str
    snapshot: Path
    """The code, as a gzipped tar whose members are relative to the working folder."""
    mounts: tuple[Mount, ...] = ()
    environment: Environment = field(default_factory=Environment)
    setup: str | None = None
    run: str
    envs: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    checkpoint_dir: str = "checkpoints"
    """Relative to the working folder."""
    checkpoint_below: str = ""
    """A folder in ``checkpoint_dir`` that is this stage's own; empty where a job has one stage."""
    carried: tuple[Carried, ...] = ()
    resume_from: Path | None = None
    """The newest good checkpoint at home, to be placed first when the machine has no newer one."""
    resume_is_newest: bool = False
    """It was saved on another machine, after anything that may lie on this one."""
    stored: tuple[StoredCheckpoint, ...] = ()
    """Checkpoints in an object store, newest first: fetched by a machine that has none of its own."""
    bucket: Bucket | None = None
    soft_deadline: datetime | None = None
    """SIGTERM with cause ``deadline``."""
    hard_deadline: datetime | None = None
    """The machine ends itself with ``self_destroy``."""
    notice: NoticeProbe | None = None
    self_destroy: SelfDestroy | None = None
    grace_s: float = GRACE_S
    """From SIGTERM to SIGKILL."""
    idle_stop_s: float | None = None
    progress: tuple[str, ...] = ()
    """Regular expressions that read numbers from the job's output, for a program that reports none."""
    best_of: tuple[str, str] | None = None
    """A metric, and ``min`` or ``max``: its best value is kept beside the newest."""
    gpus: int = 0
    """How many the machine was rented with; it is at fault when it has fewer."""
    code: Mapping[str, Any] = field(default_factory=dict)
    """Where the code comes from (`launcher.snapshot.origin.Origin`), for the record of what the job ran with. JSON."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What is left with the run, so that it can be taken over when the record at home is lost. JSON, no secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a submission left with its run, for somebody whose record is lost."""

    record: Mapping[str, Any]
    """`Submission.record`."""
    handle: Handle
    """On the newest start."""
    snapshot: str
    """Where the packed code lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """Where a submitted stage runs; JSON all the way down."""

    runner: str
    """``machines`` or the name of a batch system."""
    run_id: str
    attempt: int
    stage: str
    start: int
    data: Mapping[str, Any] = field(default_factory=dict)
    """Whatever the runner needs to find it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointEntry:
    """A checkpoint that is complete on the machine and whose digest is written."""

    name: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best value of a metric, over all starts on one machine."""

    value: float
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReading:
    """What `Submission.progress` has found so far."""

    lines: int = 0
    """Lines of output that were tried."""
    matched: int = 0
    passed_over_bytes: int = 0
    """Output that came faster than it could be looked at."""
    trouble: str = ""
    """Why an expression is of no use on the machine, or what of a match was no number; for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look at a submitted stage."""

    seen_at: datetime
    alive: bool
    """The watchdog (or the queue's job) lives. False with ``phase`` not ended means that it was killed."""
    phase: Phase
    cause: Cause = Cause.NONE
    exit_code: int | None = None
    reason: str = ""
    """The machine's words, for people."""
    heartbeat: datetime | None = None
    step: int | None = None
    total: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The newest value of every number the job reported."""
    best: Best | None = None
    """Of `Submission.best_of`."""
    steps_per_s: float | None = None
    log_bytes: int = 0
    checkpoints: tuple[CheckpointEntry, ...] = ()
    """Oldest first."""
    mirrored: tuple[CheckpointEntry, ...] = ()
    """Checkpoints that the machine has brought to an object store by itself, oldest first."""
    warned: str = ""
    """What the provider says about a higher risk of being taken away; empty while it says nothing."""
    resumed_from: str | None = None
    """Name of the checkpoint that this start was given."""
    setup_s: float | None = None
    """How long ``setup`` took, once it is over."""
    run_s: float | None = None
    """How long the job itself took, once it and all that it started are over; time asleep does not count."""
    fault: Fault | None = None
    """Of a start that ended before the job began, where that is known; ``reason`` has the words."""
    repeated: bool = False
    """It ended unasked with exit 75, wrote no file of the run, and said what the start before it had said."""
    out_of_memory: MemoryKind | None = None
    """What a program lacked that failed by itself, where its last words or the system say so."""
    log_reading: LogReading | None = None
    """None for a job without `Submission.progress`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogChunk:
    """A piece of the job's output, by global byte offset."""

    offset: int
    data: bytes

    @property
    def next_offset(self) -> int:
        """Where to go on."""
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A file that is home now, verified."""

    path: Path
    size_bytes: int
    sha256: str
    was_home: bool
    """It was there already and unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What a fetch brought, and what it refused and why."""

    files: tuple[FetchedFile, ...]
    refused: tuple[tuple[str, str], ...] = ()
    """(remote name, reason): names that would leave the target folder, links that point out, special files."""
    unmatched: tuple[str, ...] = ()
    """Patterns that matched nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerCapabilities:
    """What a runner can do beside the six methods."""

    live_pull: bool
    shell: bool
    deadline: bool


MakeWay = Callable[[Sequence[Path]], None]
"""Told of the files at home that are about to be replaced, before the first of them is; an `OSError` prevents it."""


def replace_all(paths: Sequence[Path]) -> None:
    """Keep nothing: a `MakeWay` for files of which the newest is wanted."""


class Runner(Protocol):
    """One place where jobs run. Every method may be called again after a crash: none acts twice."""

    capabilities: RunnerCapabilities

    def submit(self, submission: Submission, *, report: Report, listen: Listen = keep_going) -> Handle:
        """Place code and data and start the stage; the same (run, attempt, stage, start) is never started twice.

        How far large transfers are goes to ``report``. What ``listen`` raises ends them and is passed on; the next
        call goes on from there.

        Raises:
            PlacementError: something did not arrive whole; nothing was started.
            DependencyMissing: tmux or Python is not there and could not be installed.
            MachineUnreachable: nothing is known; call again.
        """

    def poll(self, handle: Handle) -> Progress:
        """Look once. Cheap: one small read, no process started on a local machine."""

    def signal(self, handle: Handle, signal: Signal, *, cause: Cause = Cause.STOP) -> None:
        """Ask the job to leave; returns at once, `poll` shows when it has. Asking what has ended is fine."""

    def renew(self, handle: Handle, mounts: Sequence[Mount], bucket: Bucket | None) -> None:
        """Replace what was signed for a start: sources that it still fetches, and what it may write."""

    def logs(self, handle: Handle, offset: int, *, limit: int = 1 << 20) -> LogChunk:
        """Return output from a byte offset on; empty when there is none yet.

        Offsets count from the attempt's first byte and go on over its restarts. The chunk begins later than asked
        where the machine has dropped its oldest output to save its disk.
        """

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
        """Bring files home: incremental, checksummed, atomic per file. Paths stay relative to the area.

        ``patterns`` are shell patterns relative to the area; ``**`` spans folders, a trailing ``/`` means all below.
        ``report`` and ``listen`` as for `submit`. ``make_way`` is called before files here are replaced by others.

        Raises:
            FetchError: a file changed or broke while it was fetched, after retries; what came is kept.
        """

    def end(self, handle: Handle) -> None:
        """Kill what still runs of this stage and let go of the connection. The machine itself is the provider's."""
