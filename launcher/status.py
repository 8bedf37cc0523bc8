"""How a run stands, put together from the record: pure, and the form that scripts may rely on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launcher.checkpoints import Mirrored
from launcher.forecast.money import Usage, bill, burn_usd_per_hour
from launcher.policy.loss import Loss, loss_of
from launcher.policy.states import Reason, RunState
from launcher.quantities import offer_words
from launcher.records import from_json
from launcher.stage_status import StageStatus, failed_stages, newest_metrics, seconds_left_of, stages_of
from launcher.store import AttemptRow, InstanceRow, RunRow
from provisioning import CloudError, InstanceRef, InstanceState, Offer
from provisioning.registry import provider_class

if TYPE_CHECKING:
    from launcher.policy.verdict import Verdict
    from launcher.runners.base import Best, LogReading

__all__ = ["AttemptStatus", "Output", "Status", "cost_of", "cost_of_share", "status_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStatus:
    """One attempt: what was rented, why it ended, what it did and what it cost."""

    n: int
    stage: str
    instances: tuple[str, ...]
    offer: str
    started: datetime
    ended: datetime | None
    cause: str
    steps_done: int
    steps_lost: int
    seconds_lost: float
    """What the lost steps took, at the speed of this attempt."""
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that came home, verified."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One run as the record knows it. ``looked_at`` says how old the supervisor's last look is."""

    run_id: str
    name: str
    state: str
    reason: str
    reason_code: str
    provider: str
    instance: str | None
    instance_state: str | None
    """The provider's word on the machine; the job's state is ``state``."""
    attempts: tuple[AttemptStatus, ...]
    step: int | None
    total: int | None
    metrics: Mapping[str, float]
    """The newest of each."""
    best: Best | None = None
    """Of the job's ``metric``."""
    verdict: Verdict | None = None
    """What ``expect`` comes to by the numbers so far; None for a job that expects nothing."""
    log_reading: LogReading | None = None
    """What ``progress`` has found in the output of the newest start; None for a job without."""
    advice: str = ""
    """What to do about the way in which the run ended, where that is known."""
    steps_per_s: float | None
    seconds_left: float | None
    cost_usd: float
    usd_per_hour_now: float
    usd_per_hour_planned: float | None = None
    """Of the machine that is to be rented next, by the offer that is planned; None while there is one, and after the end."""
    outputs: tuple[Output, ...]
    results_dir: str
    exit_code: int | None
    created_at: datetime
    working_since: datetime | None
    ended_at: datetime | None
    looked_at: datetime | None
    loss_now: Loss | None = None
    """What would be lost with the machine at this moment; None while the job does not run."""
    estimate: Mapping[str, Any] = field(default_factory=dict)
    """What was promised at launch: ``{"hours": {...}, "usd": {...}}``."""
    forecast: Mapping[str, Any] = field(default_factory=dict)
    """The same by the pace of the run's first minutes; empty before, and where the job reports no steps."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[StageStatus, ...] = ()
    """Of a job that has several; ``step`` and ``total`` are then those of the one at work."""
    code: Mapping[str, Any] = field(default_factory=dict)
    """Where its code comes from: `launcher.snapshot.origin.Origin`, and the digest of the snapshot."""

    @property
    def is_live(self) -> bool:
        """The run has not ended: something of it is still going on or still to be done."""
        return self.ended_at is None

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``launch status --json`` prints."""
        from launcher.records import to_json

        document: dict[str, Any] = to_json(self)
        return document


def status_of(
    run: RunRow,
    attempts: Sequence[AttemptRow],
    instances: Sequence[InstanceRow],
    outputs: Sequence[tuple[str, int, str]],
    now: datetime,
) -> Status:
    """Put together how a run stands at ``now``."""
    burning = [row for row in instances if row.ended_at is None]
    newest = burning[-1] if burning else (instances[-1] if instances else None)
    disk_gib = float(run.plan.get("disk_gib") or 0.0)
    shown = tuple(_attempt_status(row, attempts, instances, disk_gib, now) for row in attempts)
    candidates = run.plan.get("candidates") or [{}]
    left_s = _seconds_left(run)
    usd = {(item.stage, item.n): item.usd for item in shown}
    stages = stages_of(run, attempts, usd, now, present_left_s=left_s)
    if stages:
        left_s = seconds_left_of(stages) if run.ended_at is None and run.verdict is None else None
    return Status(
        run_id=run.run_id,
        name=run.name,
        state=run.state,
        reason=run.reason,
        reason_code=run.reason_code,
        provider=str((attempts[-1].offer if attempts else candidates[0]).get("provider", "")),
        instance=newest.ref if newest else None,
        instance_state=newest.state if newest else None,
        attempts=shown,
        step=run.step,
        total=run.total,
        metrics=newest_metrics(run),
        **_judged(run, attempts),
        advice=_advice(run, attempts),
        steps_per_s=run.steps_per_s,
        seconds_left=left_s,
        cost_usd=round(sum(attempt.usd for attempt in shown), 6),
        usd_per_hour_now=sum(_usd_per_hour_now(row, disk_gib) for row in burning),
        usd_per_hour_planned=_usd_per_hour_planned(run, attempts, disk_gib) if not burning else None,
        outputs=tuple(Output(path=path, size_bytes=size, sha256=digest) for path, size, digest in outputs),
        results_dir=run.results_dir,
        exit_code=_exit_code(run, attempts),
        created_at=run.created_at,
        working_since=run.working_since,
        ended_at=run.ended_at,
        looked_at=run.looked_at,
        loss_now=_loss_now(run, attempts, newest, disk_gib, now),
        estimate={key: run.plan.get("estimate", {}).get(key, {}) for key in ("hours", "usd")},
        forecast={key: run.calibrated[key] for key in ("hours", "usd") if key in run.calibrated},
        limits=run.limits,
        stages=stages,
        code=run.job.get("code", {}),
    )


def _judged(run: RunRow, attempts: Sequence[AttemptRow]) -> dict[str, Any]:
    fields, newest = run.job.get("fields", {}), (attempts[-1].progress if attempts else None) or {}
    judged: dict[str, Any] = {"best": None, "verdict": None, "log_reading": None}
    if newest.get("log_reading"):
        from launcher.runners.base import LogReading

        judged["log_reading"] = from_json(LogReading, newest["log_reading"])
    bests = [told for row in attempts if (told := (row.progress or {}).get("best")) is not None]
    if bests:
        from launcher.policy.verdict import best_of
        from launcher.runners.base import Best

        mode = (fields.get("metric") or {}).get("mode", "min")
        judged["best"] = best_of(mode, [from_json(Best, told) for told in bests])
    if "expect" in fields:
        from launcher.judging import verdict_of_run  # a list of runs without it is faster

        judged["verdict"] = verdict_of_run(run, attempts)
    return judged


def _what_failed(run: RunRow, attempts: Sequence[AttemptRow]) -> AttemptRow | None:
    """The newest attempt of an ended run; of several stages, that of the one which failed last."""
    failed = failed_stages(run) if run.ended_at is not None else []
    rows = [row for row in attempts if not failed or row.stage == failed[-1]]
    return rows[-1] if rows else None


def _exit_code(run: RunRow, attempts: Sequence[AttemptRow]) -> int | None:
    row = _what_failed(run, attempts) if run.state == RunState.FAILED.value else None
    code: int | None = (row.progress or {}).get("exit_code") if row is not None else None
    return run.exit_code if code is None else code


def _advice(run: RunRow, attempts: Sequence[AttemptRow]) -> str:
    row = _what_failed(run, attempts)
    told = (row.progress if row is not None else None) or {}
    code = run.stages.get(row.stage, {}).get("code") if row is not None else None
    if (
        row is None
        or Reason.OUT_OF_MEMORY.value not in (run.reason_code, code)
        or not told.get("out_of_memory")
    ):
        return ""
    from launcher.policy.memory import what_to_do
    from launcher.runners.base import MemoryKind

    return what_to_do(MemoryKind(told["out_of_memory"]), from_json(Offer, row.offer))


def _attempt_status(
    attempt: AttemptRow,
    attempts: Sequence[AttemptRow],
    instances: Sequence[InstanceRow],
    disk_gib: float,
    now: datetime,
) -> AttemptStatus:
    of_attempt = [row for row in instances if row.attempt == attempt.n]
    offer = from_json(Offer, attempt.offer)
    return AttemptStatus(
        n=attempt.n,
        stage=attempt.stage,
        instances=tuple(row.ref for row in of_attempt),
        offer=offer_words(offer),
        started=attempt.started_at,
        ended=attempt.ended_at,
        cause=attempt.cause,
        steps_done=max(0, (attempt.step_last or 0) - (attempt.step_at_attempt or 0)),
        steps_lost=attempt.steps_lost,
        seconds_lost=_seconds_lost(attempt),
        usd=round(cost_of_share(attempt, attempts, instances, disk_gib, now), 6),
    )


def _seconds_lost(attempt: AttemptRow) -> float:
    rate = (attempt.progress or {}).get("steps_per_s")
    return round(attempt.steps_lost / rate, 3) if rate else 0.0


def _loss_now(
    run: RunRow, attempts: Sequence[AttemptRow], machine: InstanceRow | None, disk_gib: float, now: datetime
) -> Loss | None:
    if run.state != RunState.RUNNING.value or machine is None or run.working_since is None:
        return None
    attempt = attempts[-1]
    if attempt.progress is None:
        return None
    begun_at = next(row.started_at for row in attempts if row.stage == attempt.stage)
    from launcher.runners.base import Progress  # only for a run that goes on: a list of ended ones is faster

    return loss_of(
        from_json(Progress, attempt.progress),
        {name: from_json(Mirrored, entry) for name, entry in attempt.mirrored.items()},
        now=now,
        working_since=max(run.working_since, begun_at),
        usd_per_hour=_usd_per_hour_now(machine, disk_gib),
        survives=_is_claimed(machine),
    )


def _is_claimed(machine: InstanceRow) -> bool:
    try:
        return provider_class(InstanceRef.parse(machine.ref).provider).capabilities.claimed
    except CloudError:  # its package is not installed here any more
        return False


def cost_of(row: InstanceRow, disk_gib: float, now: datetime) -> float:
    """Return what one machine has cost up to ``now``, at the rates it was offered at: compute, address, disk and egress."""
    compute_s = row.compute_s(now)
    usage = Usage(
        compute_s=compute_s,
        ipv4_s=compute_s,
        disk_gib=disk_gib,
        disk_s=row.disk_s(now),
        egress_bytes=row.egress_bytes,
    )
    return bill(from_json(Offer, row.offer), usage).usd


def cost_of_share(
    attempt: AttemptRow,
    attempts: Sequence[AttemptRow],
    instances: Sequence[InstanceRow],
    disk_gib: float,
    now: datetime,
) -> float:
    """Return what an attempt has cost up to ``now``: all that its machine has, unless several stages shared it.

    Then each pays from its beginning to that of the next one; traffic is paid by the first.
    """
    sharing = [row for row in attempts if row.n == attempt.n]
    position = [row.stage for row in sharing].index(attempt.stage)
    since = attempt.started_at if position else None
    until = sharing[position + 1].started_at if position + 1 < len(sharing) else now
    return sum(
        cost_of(row, disk_gib, until) - (cost_of(row, disk_gib, since) if since is not None else 0.0)
        for row in instances
        if row.attempt == attempt.n
    )


def _usd_per_hour_now(row: InstanceRow, disk_gib: float) -> float:
    running = row.state != InstanceState.STOPPED.value
    return burn_usd_per_hour(from_json(Offer, row.offer), disk_gib=disk_gib, running=running)


def _usd_per_hour_planned(run: RunRow, attempts: Sequence[AttemptRow], disk_gib: float) -> float | None:
    offer = attempts[-1].offer if attempts else next(iter(run.plan.get("candidates") or ()), None)
    if run.ended_at is not None or offer is None:
        return None
    return burn_usd_per_hour(from_json(Offer, offer), disk_gib=disk_gib)


def _seconds_left(run: RunRow) -> float | None:
    if run.ended_at is not None or run.verdict is not None:
        return None
    if run.step is None or run.total is None or not run.steps_per_s:
        return None
    return max(0.0, (run.total - run.step) / run.steps_per_s)
