"""``run.json``, what the watchdog is told, and ``status.json``, what it tells; both of schema 1.

Building is strict and pure. Reading is strict about the schema and patient with a file that is missing or
half there: the next look will find it whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from launcher.errors import MachineError
from launcher.records import to_json
from launcher.runners.base import Area, Best, CheckpointEntry, Fault, LogReading, MemoryKind, Progress
from trainer.contract import Cause, Phase, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.remote.layout import Start
    from launcher.runners.base import Bucket, Mount, Slot, Submission, Wanted
    from provisioning.storage import SignedUrl

__all__ = [
    "SCHEMA",
    "Intervals",
    "Status",
    "Step",
    "bucket_file",
    "build",
    "encode",
    "link_of",
    "script_of",
    "steps_of",
    "unknown_status",
]

SCHEMA = 1

TERM_IS_FOR_THE_PROGRAM = "trap : TERM\n"
"""A no-op handler, not an ignored signal: programs that the shell starts get the default action back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """How often the watchdog looks at what no event announces, and how much output it keeps."""

    tick_s: float = 1.0
    heartbeat_s: float = 10.0
    scan_s: float = 5.0
    """Of the checkpoint folder: an entry that was not renamed into place is complete after two scans."""
    sample_s: float = 15.0
    """Of the host metrics, and of the GPU for the idle stop."""
    leftover_idle_s: float = 30.0
    """Processes that outlive a job that ended well are ended after so long without work."""
    lock_wait_s: float = 60.0
    push_after_s: float = 60.0
    """For so long after the end of a job the launcher may come and fetch, before outputs go to a bucket."""
    end_after_s: float = 900.0
    """A machine whose outputs are safe in a bucket, and that nobody has come to for so long, ends itself."""
    segment_bytes: int = 16 << 20
    log_bytes: int = 1 << 30
    """Beyond this the oldest output of an attempt is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One program of a start; the last one is the job, those before it prepare it."""

    name: str
    argv: tuple[str, ...]
    once: str | None = None
    """Digest of what it does: skipped when that has been done in this run folder."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Exit code -> whose fault it is (`launcher.runners.base.Fault`)."""
    words: str | None = None
    """The file in which it leaves the reason of such an end."""


def script_of(text: str) -> bytes:
    """The script file that ``setup`` or ``run`` becomes, for ``bash -eo pipefail``."""
    return (TERM_IS_FOR_THE_PROGRAM + text.rstrip("\n") + "\n").encode()


def steps_of(
    start: Start, submission: Submission, prepare: Sequence[Step], prove: Sequence[Step] = ()
) -> list[Step]:
    """What is executed: ``prepare`` (data, environment), ``setup``, ``prove`` (that the GPU works), ``run``."""
    steps = list(prepare)
    if submission.setup and submission.setup.strip():
        inputs = [submission.setup, to_json(submission.environment)]
        once = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]
        steps.append(Step(name="setup", argv=_bash(start, "setup"), once=once))
    return [*steps, *prove, Step(name="run", argv=_bash(start, "run"))]


def _bash(start: Start, name: str) -> tuple[str, ...]:
    return ("bash", "-eo", "pipefail", str(start.control / f"{name}.sh"))


def build(
    start: Start,
    submission: Submission,
    steps: Sequence[Step],
    *,
    path_prefix: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    intervals: Intervals | None = None,
) -> dict[str, Any]:
    """Return ``run.json``. Secrets are not in it: their values travel in a file of their own."""
    pace = intervals or Intervals()
    return {
        "schema": SCHEMA,
        "run_id": submission.run_id,
        "attempt": submission.attempt,
        "stage": submission.stage,
        "start": submission.start,
        "paths": _paths(start),
        "steps": [dataclasses.asdict(step) for step in steps],
        "environ": {**(environ or {}), **submission.envs, **_contract(start)},
        "path_prefix": list(path_prefix),
        "soft_deadline": _utc(submission.soft_deadline),
        "hard_deadline": _utc(submission.hard_deadline),
        "notice": None if submission.notice is None else dataclasses.asdict(submission.notice),
        "self_destroy": None
        if submission.self_destroy is None
        else dataclasses.asdict(submission.self_destroy),
        "grace_s": submission.grace_s,
        "idle_stop_s": submission.idle_stop_s,
        "progress": list(submission.progress),
        "best_of": submission.best_of,
        "leftover_idle_s": pace.leftover_idle_s,
        "lock_wait_s": pace.lock_wait_s,
        "intervals": {
            "tick_s": pace.tick_s,
            "heartbeat_s": pace.heartbeat_s,
            "scan_s": pace.scan_s,
            "sample_s": pace.sample_s,
        },
        "log": {"segment_bytes": pace.segment_bytes, "total_bytes": pace.log_bytes},
        "record": _record(start, submission),
    }


def _record(start: Start, submission: Submission) -> dict[str, Any]:
    """What is written down of a job beside what the machine itself finds out."""
    environment = submission.environment
    kinds = {
        "conda": environment.conda,
        "requirements": environment.requirements,
        "python": environment.python,
    }
    made_of = environment.lock_format.value if environment.lock_format is not None else None
    return {
        "out": str(start.record),
        "cache": str(start.folder.cache / "data-digests.json"),
        "environment": {"made_of": made_of or next((kind for kind, text in kinds.items() if text), "system")},
        "code": dict(submission.code),
        "data": [
            {"target": mount.target, "source": _without_signature(mount)} for mount in submission.mounts
        ],
    }


def _without_signature(mount: Mount) -> str:
    """An address without what lets somebody in: neither a password nor the parameters of a signature."""
    return re.sub(r"(?<=://)[^/@]*@", "", mount.source.partition("?")[0])


def bucket_file(
    start: Start, bucket: Bucket, *, request_of: Callable[[Wanted], dict[str, Any]], intervals: Intervals
) -> dict[str, Any]:
    """Return ``bucket.json``: what the watchdog may write to an object store. Its addresses are secrets.

    ``request_of`` turns what is wanted into a request of the manifest program.
    """

    def push_request(wanted: Wanted) -> dict[str, Any]:
        request = request_of(wanted)
        below = PurePosixPath(request["root"]).relative_to(start.folder.root)
        return {"manifest": request, "below": str(below), "counts": wanted.area is Area.WORK}

    push = None
    if bucket.push is not None:
        push = {
            "slot": _slot(bucket.push),
            "requests": [push_request(wanted) for wanted in bucket.wanted],
            "fallback": None if bucket.otherwise is None else push_request(bucket.otherwise),
            "after_s": intervals.push_after_s,
            "end_after_s": intervals.end_after_s,
        }
    mirror = {"every_s": bucket.mirror_every_s, "slots": [_slot(slot) for slot in bucket.mirror]}
    return {
        "schema": SCHEMA,
        "attempt": start.attempt,
        "start": start.start,
        "part_bytes": bucket.part_bytes,
        "expires_at": _utc(bucket.expires_at),
        "mirror": {**mirror, "part_bytes": bucket.part_bytes} if bucket.mirror else None,
        "push": push,
    }


def _slot(slot: Slot) -> dict[str, Any]:
    return {
        "head": link_of(slot.head),
        "parts": [link_of(part) for part in slot.parts],
        "sequence": slot.sequence,
    }


def link_of(signed: SignedUrl) -> dict[str, Any]:
    """Return a signed address as the programs on the machine are told it."""
    return {"url": signed.url, "headers": dict(signed.headers), "expires_at": _utc(signed.expires_at)}


def encode(runfile: Mapping[str, Any]) -> bytes:
    """The bytes of ``run.json``; names that are not text in UTF-8 survive."""
    return json.dumps(runfile, indent=1).encode("ascii")


def _paths(start: Start) -> dict[str, str]:
    folder = start.folder
    paths = {
        "run": folder.root,
        "workdir": folder.workdir,
        "checkpoints": folder.checkpoints,
        "segments": start.segments,
        "metrics": start.metrics,
        "system": start.logs / "system.csv",
        "stage_control": start.stage_control,
        "control": start.control,
    }
    return {name: str(path) for name, path in paths.items()}


def _contract(start: Start) -> dict[str, str]:
    """The variables that every job is given; the watchdog adds ``LAUNCH_RESUME_FROM``."""
    folder = start.folder
    return {
        Variable.RUN_ID.value: folder.run_id,
        Variable.ATTEMPT.value: str(start.attempt),
        Variable.STAGE.value: start.stage,
        Variable.CHECKPOINT_DIR.value: str(folder.checkpoints),
        Variable.OUTPUT_DIR.value: str(folder.outputs),
        Variable.DATA_DIR.value: str(folder.data),
        Variable.METRICS_FILE.value: str(start.metrics),
        "LAUNCH_RUN_DIR": str(folder.root),
    }


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(timezone.utc).isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What ``status.json`` said, beside the progress that the orchestrator sees."""

    progress: Progress
    boot_id: str = ""
    watchdog_pid: int = 0
    watchdog_started: str = ""
    log_start: int = 0
    """The oldest byte of output that is still on the machine."""

    @classmethod
    def parse(cls, data: bytes, *, seen_at: datetime) -> Status | None:
        """Read the file's bytes; None when they are not a whole file. ``alive`` is still to be found out.

        Raises:
            MachineError: the file is of another schema: the machine holds a run of another version.
        """
        try:
            told = json.loads(data)
        except ValueError:
            return None
        if not isinstance(told, dict):
            return None
        if told.get("schema") != SCHEMA:
            raise MachineError(
                f"status.json has schema {told.get('schema')!r}; this version reads {SCHEMA}",
                hint="use the version of launch that started this run",
            )
        try:
            return _status(told, seen_at)
        except (KeyError, TypeError, ValueError) as error:
            raise MachineError(f"status.json is not what a watchdog writes: {error!r}") from error


def _status(told: Mapping[str, Any], seen_at: datetime) -> Status:
    metrics = told["metrics"]
    phase = Phase(told["phase"])
    progress = Progress(
        seen_at=seen_at,
        alive=phase is not Phase.ENDED,
        phase=phase,
        cause=Cause(told["cause"]),
        exit_code=told["exit_code"],
        reason=told["reason"],
        heartbeat=datetime.fromisoformat(told["heartbeat"]),
        step=_count(metrics["step"]),
        total=_count(metrics["total"]),
        metrics={name: float(value) for name, value in metrics["values"].items()},
        best=_best(metrics.get("best")),
        steps_per_s=metrics["steps_per_s"],
        log_bytes=told["log"]["bytes"],
        checkpoints=_entries(told["checkpoints"]),
        mirrored=_entries(told.get("mirrored", ())),
        warned=told.get("warned") or "",
        resumed_from=told["resumed_from"],
        setup_s=told["setup_s"],
        run_s=told.get("run_s"),
        fault=Fault(told["fault"]) if told.get("fault") else None,
        repeated=told.get("repeated") is True,
        out_of_memory=MemoryKind(told["out_of_memory"]["of"]) if told.get("out_of_memory") else None,
        log_reading=LogReading(**told["progress"]) if told.get("progress") else None,
    )
    return Status(
        progress=progress,
        boot_id=told["boot_id"],
        watchdog_pid=told["watchdog"]["pid"],
        watchdog_started=told["watchdog"]["started"],
        log_start=told["log"]["start"],
    )


def _entries(told: Sequence[Mapping[str, Any]]) -> tuple[CheckpointEntry, ...]:
    return tuple(
        CheckpointEntry(
            name=one["name"],
            size_bytes=one["size_bytes"],
            modified_at=datetime.fromisoformat(one["modified_at"]),
        )
        for one in told
    )


def _best(told: Mapping[str, Any] | None) -> Best | None:
    return None if told is None else Best(value=float(told["value"]), step=_count(told["step"]))


def _count(value: float | str | None) -> int | None:
    """Steps are whole numbers; a job that reported something else has none."""
    return int(value) if isinstance(value, (int, float)) else None


def unknown_status(seen_at: datetime) -> Status:
    """What is known of a start that has not said anything yet."""
    return Status(
        progress=Progress(
            seen_at=seen_at, alive=False, phase=Phase.STARTING, reason="no word from the watchdog yet"
        )
    )
