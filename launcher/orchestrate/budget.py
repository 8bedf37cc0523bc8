"""What a run has used so far and when it has to be over, from the record and the prices stored in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from launcher.events import Kind
from launcher.forecast.stages import likely_s_of
from launcher.job import Job
from launcher.orchestrate.calibrate import calibrate_if_due, with_calibration
from launcher.orchestrate.context import RunContext
from launcher.policy.limits import LimitWarning, Spent, deadlines_of, forecast_usd, new_warnings
from launcher.policy.reserve import Measured, Reserve, reserve_for
from launcher.policy.situation import Deadlines
from launcher.policy.stages import is_over, room_for_closing
from launcher.records import from_json
from launcher.runners.base import Progress
from launcher.status import cost_of, cost_of_share
from launcher.store import AttemptRow, InstanceRow
from provisioning import Offer

__all__ = [
    "cost_of_attempt",
    "deadlines_allowed",
    "deadlines_now",
    "deadlines_of_run",
    "likely_seconds",
    "reserve_now",
    "spent_now",
    "warn_about_limits",
]


def spent_now(context: RunContext) -> Spent:
    """Return rented seconds and dollars of all attempts up to now."""
    return _spent(context, context.instances)


def cost_of_attempt(context: RunContext, attempt: AttemptRow) -> float:
    """Return what an attempt's machines have cost up to now, in USD."""
    now, disk_gib = context.clock(), context.plan.disk_gib
    return cost_of_share(attempt, context.attempts, context.instances, disk_gib, now)


def deadlines_now(context: RunContext, offer: Offer | None = None) -> Deadlines:
    """Return when the stage at work, on its machine or one about to be rented as ``offer``, has to be over.

    That is the end of the run, but for a stage behind which others are to run in any case: by ``until`` they are too.
    """
    deadlines = deadlines_of_run(context, offer)
    if not context.job.stages or context.limits.until is None:
        return deadlines
    attempt, stage = context.attempt, context.stage.name
    is_present = attempt is not None and attempt.stage == stage
    since = attempt.started_at if attempt is not None and is_present else context.now
    span_s = (deadlines.soft - since).total_seconds()
    room_s = room_for_closing(
        context.job.every_stage, context.stage_records, stage, likely_seconds(context), span_s
    )
    return replace(deadlines, soft=deadlines.soft - timedelta(seconds=room_s))


def likely_seconds(context: RunContext) -> dict[str, float]:
    """Return what the stages are expected to take, where that is more than a guess."""
    return likely_s_of(context.whole_plan.estimate)


def deadlines_of_run(context: RunContext, offer: Offer | None = None) -> Deadlines:
    """Return when the present machine, or one that is about to be rented as ``offer``, has to be over.

    Reckoned from the moment the machine was rented, so that they stand still while it runs; and never later than the
    deadline that is armed on it, which was fixed before a create call that may have taken its time.
    """
    reckoned = deadlines_allowed(context, offer)
    attempt = context.attempt
    row = None if attempt is None else context.machine_of(attempt)
    if row is None or row.deadline is None or row.stopped_at is not None or row.deadline >= reckoned.hard:
        return with_calibration(context, reckoned)
    earlier = reckoned.hard - row.deadline
    armed = replace(reckoned, hard=row.deadline, soft=reckoned.soft - earlier)
    return with_calibration(context, armed)


def deadlines_allowed(context: RunContext, offer: Offer | None = None) -> Deadlines:
    """Return the deadlines that the limits allow, whatever is armed: what a machine that starts again is given."""
    attempt = context.attempt
    row = None if attempt is None else context.machine_of(attempt)
    if offer is None:
        offer = context.offer_of(attempt) if attempt is not None else context.plan.candidates[0]
    others = [item for item in context.instances if row is None or item.ref != row.ref]
    since = context.clock() if row is None else row.created_at
    before = _spent(context, others)
    if row is not None:  # time in which it was stopped cost no compute, and puts its end off
        before = Spent(usd=before.usd, seconds=before.seconds - _stopped_s(row, context.clock()))
    reserve = reserve_now(context)
    return deadlines_of(
        context.limits,
        offer,
        now=since,
        spent=before,
        disk_gib=context.plan.disk_gib,
        save_s=reserve.save_s,
        pull_s=reserve.pull_s,
        pull_bytes=reserve.pull_bytes,
    )


def reserve_now(context: RunContext) -> Reserve:
    """Return what is kept back for saving and bringing home, by what this run has shown so far."""
    attempt = context.attempt
    stored = None if attempt is None else attempt.progress
    entries = from_json(Progress, stored).checkpoints if stored is not None else ()
    are_outputs = _are_outputs(context.job)
    return reserve_for(
        from_json(Measured, context.run.measured),
        checkpoint_bytes=max((entry.size_bytes for entry in entries[-2:]), default=0),
        fetched_bytes=sum(entry.size_bytes for entry in entries) if are_outputs else 0,
    )


def _are_outputs(job: Job) -> bool:
    """Whether checkpoints come home a second time, as outputs: without ``file_outputs`` everything does."""
    folder = job.checkpoint.dir.strip("/")
    return not job.file_outputs or any(pattern.strip("/").startswith(folder) for pattern in job.file_outputs)


def warn_about_limits(context: RunContext) -> None:
    """Say once each when half and most of the money or time is used, and when the forecast breaks a limit."""
    run, attempt = context.run, context.attempt
    if attempt is None:
        return
    spent = spent_now(context)
    calibrate_if_due(context, spent, reserve_now(context))
    remaining_s = None
    if run.step is not None and run.total and run.steps_per_s:
        remaining_s = max(0.0, (run.total - run.step) / run.steps_per_s) + _of_later_stages(context)
    forecast = None
    if remaining_s is not None:
        forecast = forecast_usd(
            context.offer_of(attempt),
            spent,
            remaining_s=remaining_s,
            disk_gib=context.plan.disk_gib,
            pull_bytes=reserve_now(context).pull_bytes,
        )
    said = {LimitWarning(word) for word in run.warned}
    due = new_warnings(context.limits, spent, forecast_usd=forecast, remaining_s=remaining_s, said=said)
    if not due:
        return
    with context.store.together():
        for warning, words in due.items():
            context.report(Kind.WARNING, words, limit=warning.value)
        context.update_run(warned=(*run.warned, *(warning.value for warning in due)))


def _of_later_stages(context: RunContext) -> float:
    """What the stages that have not begun are expected to take, as far as that is known."""
    begun = {
        context.stage.name,
        *(name for name in context.stage_records if is_over(name, context.stage_records)),
    }
    return sum(seconds for name, seconds in likely_seconds(context).items() if name not in begun)


def _spent(context: RunContext, rows: Iterable[InstanceRow]) -> Spent:
    now, disk_gib = context.clock(), context.plan.disk_gib
    rows = list(rows)
    return Spent(
        usd=sum(cost_of(row, disk_gib, now) for row in rows), seconds=sum(row.compute_s(now) for row in rows)
    )


def _stopped_s(row: InstanceRow, now: datetime) -> float:
    return row.disk_s(now) - row.compute_s(now)
