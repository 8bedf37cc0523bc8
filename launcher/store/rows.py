"""The rows of the record, as immutable values. JSON columns hold what `launcher.records` wrote."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = [
    "AccountRow",
    "AttemptRow",
    "InstanceRow",
    "Intent",
    "RunRow",
    "SpeedRow",
    "TryOutcome",
    "TryRow",
    "WorkRow",
]


class Intent(str, enum.Enum):
    """What a person asked of a live run; the supervisor carries it out."""

    NONE = "none"
    STOP = "stop"
    """Save, pull, end; resumable."""
    DOWN = "down"
    """Pull and end, or with ``discard`` end at once."""


class TryOutcome(str, enum.Enum):
    """What became of one create call."""

    ASKED = "asked"
    """The call was about to be made: nothing is known, look by token."""
    CREATED = "created"
    REFUSED = "refused"
    """The provider said no, and nothing exists."""
    NOTHING = "nothing"
    """Never answered, and nothing with its token was found in repeated look-ups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run: what it is, where it stands, and what is wanted of it."""

    run_id: str
    name: str
    state: str
    reason_code: str = ""
    reason: str = ""
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    job: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    workdir: str = ""
    """Absolute path of the working folder at home, for people; what runs is the snapshot."""
    results_dir: str = ""
    """Where outputs come home: an absolute folder of this run alone."""
    intent: Intent = Intent.NONE
    intent_options: Mapping[str, Any] = field(default_factory=dict)
    verdict: Mapping[str, Any] | None = None
    """How the run will end, once outputs are home and machines have ended: ``code words pull keep_disk``."""
    exit_code: int | None = None
    step: int | None = None
    total: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    steps_per_s: float | None = None
    looked_at: datetime | None = None
    """When the supervisor last saw the machine with its own eyes."""
    log_bytes: int = 0
    """Bytes of the run's log that are safely home."""
    working_since: datetime | None = None
    """When the job first began to run."""
    resumed_at: datetime | None = None
    """When a person last made it go on; plan and limits may have changed then."""
    calibrated: Mapping[str, Any] = field(default_factory=dict)
    """What it is expected to come to, by the pace of its first minutes; empty before."""
    warned: tuple[str, ...] = ()
    """Which warnings about the limits have been said."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """How long saving and bringing home took so far: a `launcher.policy.reserve.Measured`."""
    stages: Mapping[str, Any] = field(default_factory=dict)
    """What became of each stage of a job that has several: a `launcher.policy.stages.StageRecord` by name."""
    log_parts: tuple[Any, ...] = ()
    """Where they begin in the run's log: ``[offset, stage, attempt]``, in order (`launcher.logs`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One stage of a run on one rented instance, from the first try to its end.

    ``n`` numbers the instances of a run. A stage that goes on where the one before it has ended is an attempt of its own
    with the number of the same instance.
    """

    run_id: str
    stage: str
    n: int
    candidate: int
    """Which of the plan's candidates it is."""
    offer: Mapping[str, Any]
    started_at: datetime
    ended_at: datetime | None = None
    cause: str = ""
    reason: str = ""
    starts: int = 1
    """The number of the present start of the job on this instance; a restart here is the next one."""
    errors: int = 0
    """How many of those ended in an error that counts against ``max_restarts_on_errors``."""
    fruitless: int = 0
    """Machines in a row, up to this one, that were lost before the job got any further."""
    step_at_attempt: int | None = None
    """How far the job had ever come when this attempt began."""
    step_at_start: int | None = None
    """How far it had ever come when the present start began."""
    step_last: int | None = None
    """The last step that was seen on this instance."""
    steps_lost: int = 0
    """Steps of this instance that had to be done again."""
    handle: Mapping[str, Any] | None = None
    """The runner's handle on the newest start that was submitted; None until the first one has been."""
    progress: Mapping[str, Any] | None = None
    """The last that was seen of the present start."""
    has_run: bool = False
    """The present start got beyond ``setup``."""
    not_before: datetime | None = None
    """Back-off: nothing is done for this attempt earlier than this."""
    trouble: Mapping[str, Any] | None = None
    """What kept the job from being started on a machine that is up."""
    reached_at: datetime | None = None
    """When the machine last answered us."""
    silence: Mapping[str, Any] = field(default_factory=dict)
    asked_at: datetime | None = None
    """When the job was asked to leave."""
    given_up: str = ""
    """Why the present start was given up early, in words, written before it is asked to leave."""
    ending_at: datetime | None = None
    """When the provider was last asked to end the machine."""
    ending_code: str = ""
    """Why it was."""
    fetched: bool = False
    """Outputs of this attempt are home and verified."""
    log_offset: int = 0
    """How far this attempt's output on the machine has been copied home."""
    mirrored: Mapping[str, Any] = field(default_factory=dict)
    """Checkpoints of this attempt that are home: name → when it was saved, when it was copied."""
    usd: float = 0.0
    """What it has cost, once it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TryRow:
    """One create call, written before it is made."""

    token: str
    run_id: str
    stage: str
    attempt: int
    try_number: int
    offer: Mapping[str, Any]
    spec: Mapping[str, Any]
    asked_at: datetime
    outcome: TryOutcome = TryOutcome.ASKED
    detail: str = ""
    instance: str | None = None
    lookups: int = 0
    """How often it was looked for in vain since it was asked without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One machine that was rented for a run, until the provider has confirmed its end."""

    ref: str
    run_id: str
    stage: str
    attempt: int
    token: str
    offer: Mapping[str, Any]
    state: str
    state_reason: str = ""
    created_at: datetime
    seen_at: datetime
    ended_at: datetime | None = None
    """When it was first seen terminated; None as long as it may cost money."""
    stopped_at: datetime | None = None
    """When its compute was seen ended; None while it runs, or boots."""
    stopped_s: float = 0.0
    """For how long its compute had ended before that, in all."""
    deadline: datetime | None = None
    """When the machine or its cloud ends it, whatever we reckon: fixed when it was asked for, or last started."""
    egress_bytes: int = 0
    """What came home from it: outputs and mirrored checkpoints, which most clouds charge for."""

    def disk_s(self, now: datetime) -> float:
        """Seconds in which its disk has existed up to ``now``."""
        return max(0.0, ((self.ended_at or now) - self.created_at).total_seconds())

    def compute_s(self, now: datetime) -> float:
        """Seconds in which its compute has been rented up to ``now``: a stopped machine pays for its disk alone."""
        end = min(self.stopped_at or now, self.ended_at or now)
        return max(0.0, (end - self.created_at).total_seconds() - self.stopped_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedRow:
    """How fast a job went on a kind of machine."""

    run_id: str
    job_digest: str
    provider: str
    instance_type: str
    gpu_name: str | None
    gpu_memory_gib: float
    vcpus: float
    steps_per_s: float
    total_steps: int | None
    measured_at: datetime
    beside_share: float | None = None
    """Hours at work beside the steps per hour of steps; None where nobody saw the whole of it."""
    batch_size: float | None = None
    precision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkRow:
    """What a job, or one of its stages, took and left when it had done all its work."""

    run_id: str
    stage: str
    work_digest: str
    """Names what it runs, and with what (`launcher.forecast.history.work_digest`)."""
    provider: str
    instance_type: str
    gpu_name: str | None
    gpu_count: int
    """How many of the machine's worked for it."""
    gpu_memory_gib: float
    vcpus: float
    measured_at: datetime
    work_s: float | None = None
    """From the beginning of ``run`` to its end; None where it was not done in one piece."""
    steps: int | None = None
    """How many the job said that it has."""
    stays: bool = False
    """It went on where the stage before it had ended: its environment may have been there."""
    setup_s: float | None = None
    checkpoint_bytes: int | None = None
    output_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """What a run came to, beside what was promised."""

    run_id: str
    job_digest: str
    ended_at: datetime
    account: Mapping[str, Any]
