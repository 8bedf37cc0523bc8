"""What every step of a run works with: its record, its plan, its providers, and a way to say what happens."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.buckets.sources import is_in_bucket
from launcher.events import Kind
from launcher.home import Home, RunPaths
from launcher.job import Job
from launcher.job.parts import Stage
from launcher.job.stages import job_of_stage, stage_named
from launcher.planning.plan import Plan
from launcher.policy.limits import Limits
from launcher.policy.stages import StageRecord, is_over, next_stage
from launcher.policy.states import Reason, RunState, check_move
from launcher.policy.unattended import default_when_unattended
from launcher.records import from_json, to_json
from launcher.store import AttemptRow, InstanceRow, RunRow, Store
from provisioning import Instance, Offer, Provider, ProviderContext, WhenUnattended
from provisioning.models import utc_now
from provisioning.registry import provider as build_provider
from provisioning.registry import provider_class

if TYPE_CHECKING:
    from launcher.buckets.pushed import PushedRunner

__all__ = ["Memory", "RunContext"]


@dataclass
class Memory:
    """What is kept of a run between two steps, to save work. All of it can be asked or read again."""

    instance: Instance | None = None
    """The provider's last word on the present machine."""
    is_doubtful: bool = False
    """The machine stopped answering in the middle of something: the provider is asked before it is, at the next look."""
    ask_again_at: float | None = None
    """The provider did not answer: it is not asked about the machine before. Monotonic."""
    failing_since: float | None = None
    """Since when the provider has only failed. Monotonic."""
    unanswered_since: dict[str, float] = field(default_factory=dict)
    """Token of a create call without an answer → since when we have looked for what it made. Monotonic."""
    heartbeat: tuple[datetime, float] | None = None
    """The machine's newest sign of life by its own clock, and when it was first seen. Monotonic."""
    clocks_apart: timedelta = timedelta(0)
    """By how much the clock here is ahead of the machine's; nothing while they agree, or nobody knows."""
    address_asked_at: float | None = None
    """When this computer's own address was last asked for, to let it through a firewall. Monotonic."""
    pushed: dict[tuple[str, int, int], PushedRunner | None] = field(default_factory=dict)
    """(stage, attempt, start) whose machine has ended → what it left in the bucket: no machine pushes after its end."""
    renew_at: datetime | None = None
    """When what the machine may read and write in buckets is signed anew."""
    providers: dict[str, Provider] = field(default_factory=dict)
    job: Job | None = None
    stage_jobs: dict[str, Job] = field(default_factory=dict)
    """What each stage of the job is by itself."""
    plan: tuple[datetime | None, Plan] | None = None
    """With the resume that it is of."""
    renewed_at: datetime | None = None
    """When the market was last looked at for new candidates."""
    said: dict[str, str] = field(default_factory=dict)
    """What was last said about each topic, so that it is not said again at every look."""
    has_looked_for_lost: bool = False
    """What earlier stages have left is at home, or is nowhere any more."""
    progress_said_at: datetime | None = None
    checkpoints: set[str] = field(default_factory=set)
    """Which have been told of: a start finds those of the starts before it."""


@dataclass
class RunContext:
    """One run, for as long as one step of it takes. Reads each row once and keeps it up with what it writes."""

    home: Home
    store: Store
    run_id: str
    environ: Mapping[str, str]
    clock: Callable[[], datetime] = utc_now
    memory: Memory = field(default_factory=Memory)
    monotonic: Callable[[], float] = time.monotonic
    _run: RunRow | None = None
    _attempts: list[AttemptRow] | None = None
    _instances: list[InstanceRow] | None = None

    @cached_property
    def paths(self) -> RunPaths:
        """Where this run's things lie at home."""
        return self.home.run(self.run_id)

    @property
    def now(self) -> datetime:
        """The time by which deadlines are kept: the machine's, where the clock here disagrees with it by minutes."""
        return self.clock() - self.memory.clocks_apart

    # The record

    @property
    def run(self) -> RunRow:
        """The run's row."""
        if self._run is None:
            self._run = self.store.run(self.run_id)
        return self._run

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return RunState(self.run.state)

    @property
    def attempts(self) -> Sequence[AttemptRow]:
        """All attempts, oldest first."""
        if self._attempts is None:
            self._attempts = self.store.attempts(self.run_id)
        return self._attempts

    @property
    def attempt(self) -> AttemptRow | None:
        """The newest attempt, ended or not."""
        return self.attempts[-1] if self.attempts else None

    @property
    def instances(self) -> Sequence[InstanceRow]:
        """All machines that were rented for the run, oldest first."""
        if self._instances is None:
            self._instances = self.store.instances(self.run_id)
        return self._instances

    def as_it_is(self, attempt: AttemptRow) -> AttemptRow:
        """Return an attempt as it is on record now; what was handed round may be older."""
        same = (row for row in self.attempts if (row.stage, row.n) == (attempt.stage, attempt.n))
        return next(same, attempt)

    def of_the_same_stage(self, attempt: AttemptRow) -> list[AttemptRow]:
        """Return all attempts at an attempt's stage, itself included, oldest first."""
        return [row for row in self.attempts if row.stage == attempt.stage]

    def working_since(self, attempt: AttemptRow) -> datetime | None:
        """Return since when the stage of an attempt has been at work, on whatever machines; None before the first step."""
        since, begun_at = self.run.working_since, self.of_the_same_stage(attempt)[0].started_at
        return None if since is None else max(since, begun_at)

    def machine_of(self, attempt: AttemptRow) -> InstanceRow | None:
        """Return the machine of an attempt; None before one is known to exist."""
        rows = [row for row in self.instances if row.attempt == attempt.n]
        return rows[-1] if rows else None

    def may_be_elsewhere(self, one: AttemptRow, other: AttemptRow) -> bool:
        """Whether two attempts may have had different machines; one that is claimed may have been there before."""
        then, now = self.machine_of(one), self.machine_of(other)
        return then is None or now is None or then.ref != now.ref

    def update_run(self, **changes: Any) -> None:
        """Change some columns of the run."""
        self.store.update_run(self.run_id, **changes)
        self._run = dataclasses.replace(self.run, **changes)

    def update_attempt(self, attempt: AttemptRow, **changes: Any) -> AttemptRow:
        """Change some columns of an attempt and return it as it is now."""
        self._attempts = None
        return self.store.update_attempt(attempt, **changes)

    def add_attempt(self, attempt: AttemptRow) -> AttemptRow:
        """Write a new attempt down."""
        self._attempts = None
        self.store.put(attempt)
        return attempt

    def add_instance(self, row: InstanceRow) -> None:
        """Write a machine down that is ours."""
        self._instances = None
        self.store.put(row)

    def update_instance(self, row: InstanceRow, **changes: Any) -> InstanceRow:
        """Change some columns of a machine and return it as it is now."""
        self._instances = None
        return self.store.update_instance(row, **changes)

    # What was decided at launch

    @property
    def job(self) -> Job:
        """The job as it was at launch."""
        if self.memory.job is None:
            stored = self.run.job
            self.memory.job = Job.from_dict(stored["fields"], base_dir=Path(stored["base_dir"]))
        return self.memory.job

    @property
    def whole_plan(self) -> Plan:
        """What was decided before anything was rented; a resume may have replaced it."""
        known, resumed_at = self.memory.plan, self.run.resumed_at
        if known is None or known[0] != resumed_at:
            known = self.memory.plan = (resumed_at, Plan.from_json(self.run.plan))
        return known[1]

    @property
    def plan(self) -> Plan:
        """The same as it is for the stage that is at work, or comes next."""
        return self.whole_plan.of_stage(self.stage.name)

    # The stages

    @property
    def stage_records(self) -> dict[str, StageRecord]:
        """What became of each stage so far; empty for a job that has ``run`` instead of stages."""
        return {name: from_json(StageRecord, stored) for name, stored in self.run.stages.items()}

    @property
    def stage(self) -> Stage:
        """The stage that is at work, else the one that comes next; when none does, the last one."""
        stages, attempt = self.job.every_stage, self.attempt
        if not self.job.stages:
            return stages[0]
        records = self.stage_records
        if attempt is not None and attempt.ended_at is None and not is_over(attempt.stage, records):
            return stage_named(self.job, attempt.stage)
        following = next_stage(stages, records)
        return following or stage_named(self.job, attempt.stage if attempt is not None else stages[0].name)

    def job_of(self, attempt: AttemptRow) -> Job:
        """Return what the stage of an attempt is by itself; the job where it has no stages."""
        known = self.memory.stage_jobs
        if attempt.stage not in known:
            known[attempt.stage] = job_of_stage(self.job, attempt.stage)
        return known[attempt.stage]

    def mirror_of(self, attempt: AttemptRow) -> Path:
        """Return where the checkpoints of an attempt's stage come home to: each stage has its own."""
        return self.paths.mirror / attempt.stage if self.job.stages else self.paths.mirror

    def update_stage(self, name: str, **changes: Any) -> StageRecord:
        """Change what is on record of a stage and return it as it is now."""
        with self.store.together():
            self.read_stages_again()
            record = dataclasses.replace(self.stage_records.get(name, StageRecord()), **changes)
            self.update_run(stages={**self.run.stages, name: to_json(record)})
        return record

    def read_stages_again(self) -> None:
        """Take from the record what another process may have written of the stages; within `Store.together`."""
        self._run = dataclasses.replace(self.run, stages=self.store.run(self.run_id).stages)

    @property
    def limits(self) -> Limits:
        """What the run may use, over all attempts; a resume may have raised it."""
        return from_json(Limits, self.run.limits)

    def offer_of(self, attempt: AttemptRow) -> Offer:
        """The offer that an attempt rents."""
        return from_json(Offer, attempt.offer)

    def when_unattended(self, attempt: AttemptRow) -> WhenUnattended:
        """What the machine of an attempt does at its end when nobody has fetched: by its provider, whatever was chosen first."""
        job, name = self.job_of(attempt), self.offer_of(attempt).provider
        return job.when_unattended or default_when_unattended(
            provider_class(name).capabilities, bucket_named=is_in_bucket(job.checkpoint.mirror)
        )

    def mirror_every_s(self, attempt: AttemptRow) -> float:
        """How often checkpoints leave the machine of an attempt: as planned for its provider; 0 when they do not."""
        plan = self.whole_plan.of_stage(attempt.stage)
        return plan.mirror_every_s_on.get(self.offer_of(attempt).provider, plan.mirror_every_s)

    def provider(self, name: str) -> Provider:
        """Return the provider, with the options that the job has for it."""
        if name not in self.memory.providers:
            options = self.job.provider_options.get(name, {})
            context = ProviderContext(
                home=self.home.root, environ=self.environ, options=options, clock=self.clock
            )
            self.memory.providers[name] = build_provider(name, context)
        return self.memory.providers[name]

    # Saying what happens

    def report(self, kind: Kind, message: str, **data: Any) -> None:
        """Append one event to the run's log."""
        self.store.append(self.run_id, kind, message, self.clock(), to_json(data))

    def say_once(self, topic: str, kind: Kind, message: str, **data: Any) -> None:
        """Report something about a topic, unless it is what was said last; `is_well` ends the topic."""
        if self.memory.said.get(topic) != message:
            self.memory.said[topic] = message
            self.report(kind, message, **data)

    def complain(self, topic: str, message: str, **data: Any) -> None:
        """Warn of something that is wrong, once until it changes or `is_well` again."""
        self.say_once(topic, Kind.WARNING, message, **data)

    def is_well(self, *topics: str) -> None:
        """Forget what was wrong: if it comes back, it is said again."""
        for topic in topics:
            self.memory.said.pop(topic, None)

    def move(self, state: RunState, reason: str = "", *, code: Reason = Reason.NONE, **changes: Any) -> None:
        """Move the run to another state, with the reason in words; `IllegalMove` when that cannot be."""
        run, now = self.run, self.clock()
        check_move(RunState(run.state), state)
        if state.is_final:
            changes["ended_at"] = now
        with self.store.together():
            self.update_run(
                state=state.value, reason=reason, reason_code=code.value, updated_at=now, **changes
            )
            if run.state != state.value or run.reason != reason:
                words = f"{state.value}: {reason}" if reason else state.value
                self.report(Kind.STATE, words, state=state.value, reason=reason, code=code.value)

    def note(self, reason: str) -> None:
        """Say in the run's row what it waits for; its state stays, and its log is spared."""
        if self.run.reason != reason:
            self.update_run(reason=reason, updated_at=self.clock())
