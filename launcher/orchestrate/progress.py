"""What a look at the job changes in the record, and which of it is news."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from launcher.checkpoints import Mirrored
from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.policy.reserve import Measured
from launcher.records import from_json, to_json
from launcher.runners.base import Progress
from launcher.store import AttemptRow
from trainer.contract import Exit, Phase

__all__ = ["follow_progress"]

PROGRESS_EVENT_EVERY = timedelta(seconds=5)
"""The record always has the newest step; the log of a run of days must not grow by one line a second."""


def follow_progress(context: RunContext, attempt: AttemptRow, progress: Progress) -> dict[str, Any]:
    """Note what the job says in the run's row, tell what is new, and return the changes of the attempt's row."""
    before = None if attempt.progress is None else from_json(Progress, attempt.progress)
    changes: dict[str, Any] = {}
    if before is None or replace(before, seen_at=progress.seen_at, heartbeat=progress.heartbeat) != progress:
        changes["progress"] = to_json(progress)
    if progress.phase is Phase.RUNNING and not attempt.has_run:
        changes["has_run"] = True
    if progress.phase is Phase.LEAVING and attempt.asked_at is None:
        changes["asked_at"] = context.clock()  # its watchdog asked: a notice, a deadline
    if progress.phase is Phase.ENDED and (before is None or before.phase is not Phase.ENDED):
        _note_leaving(context, attempt, progress)
    if in_bucket := _in_bucket(context, attempt, progress):
        changes["mirrored"] = in_bucket
    if progress.step is not None and progress.step != attempt.step_last:
        changes["step_last"] = progress.step
        if before is None or before.step is None:
            _note_lost_steps(context, attempt, progress.step)
    _tell(context, before, progress)
    run_changes = _run_changes(context, progress)
    if any(getattr(context.run, name) != value for name, value in run_changes.items()):
        context.update_run(**run_changes)
    return changes


def _in_bucket(context: RunContext, attempt: AttemptRow, progress: Progress) -> dict[str, Any]:
    """What is known to be safe, with what the machine itself has brought to a bucket since the last look; empty: nothing new."""
    known = {name: from_json(Mirrored, entry) for name, entry in attempt.mirrored.items()}
    new = {
        entry.name: Mirrored(modified_at=entry.modified_at, at=context.clock())
        for entry in progress.mirrored
        if entry.name not in known or known[entry.name].modified_at < entry.modified_at
    }
    stored: dict[str, Any] = to_json({**known, **new}) if new else {}
    return stored


def _note_leaving(context: RunContext, attempt: AttemptRow, progress: Progress) -> None:
    """Remember how long the job took to save and leave when it was asked to."""
    if attempt.asked_at is None or progress.exit_code not in (Exit.DONE, Exit.INTERRUPTED):
        return
    took_s = (context.clock() - attempt.asked_at).total_seconds()
    measured = from_json(Measured, context.run.measured).after_leaving(took_s)
    context.update_run(measured=to_json(measured))


def _note_lost_steps(context: RunContext, attempt: AttemptRow, first_step: int) -> None:
    """The first step that a start reports tells how many of the start before it are done again."""
    earlier = [row for row in context.of_the_same_stage(attempt) if row.n < attempt.n]
    loser = attempt if attempt.starts > 1 or not earlier else earlier[-1]
    lost = max(0, (loser.step_last or 0) - max(0, first_step - 1))
    if lost:
        context.update_attempt(loser, steps_lost=loser.steps_lost + lost)


def _run_changes(context: RunContext, progress: Progress) -> dict[str, Any]:
    run, changes = context.run, dict[str, Any]()
    if progress.step is not None:
        total = progress.total or _steps_of_job(context)
        changes |= {"step": progress.step, "total": total, "steps_per_s": progress.steps_per_s}
    if progress.metrics:
        changes["metrics"] = {**run.metrics, **progress.metrics}
    has_worked = progress.phase is Phase.RUNNING or (progress.step is not None and progress.step > 0)
    if has_worked and run.working_since is None:
        changes["working_since"] = progress.seen_at
    if progress.phase is Phase.ENDED:
        changes["exit_code"] = progress.exit_code
    return changes


def _reading_trouble(progress: Progress) -> str:
    return progress.log_reading.trouble if progress.log_reading is not None else ""


def _steps_of_job(context: RunContext) -> int | None:
    """What the job file says, for a program that does not count how many there are."""
    attempt = context.attempt
    work = None if attempt is None else context.job_of(attempt).work
    return work.steps if work is not None else None


def _tell(context: RunContext, before: Progress | None, progress: Progress) -> None:
    if before is not None:
        context.memory.checkpoints.update(entry.name for entry in before.checkpoints)
    for entry in progress.checkpoints:
        if entry.name not in context.memory.checkpoints:
            context.memory.checkpoints.add(entry.name)
            words = f"checkpoint {entry.name} is complete on the machine"
            context.report(Kind.CHECKPOINT, words, name=entry.name, where="machine", bytes=entry.size_bytes)
    if progress.warned and (before is None or not before.warned):
        words = (
            "the machine is likelier than usual to be taken away: checkpoints leave it at once from now on"
        )
        context.report(Kind.WARNING, words, told=progress.warned)
    for entry in progress.mirrored:
        if before is None or entry not in before.mirrored:
            words = f"checkpoint {entry.name} is in the bucket"
            context.report(Kind.CHECKPOINT, words, name=entry.name, where="bucket", bytes=entry.size_bytes)
    if (trouble := _reading_trouble(progress)) and (before is None or not _reading_trouble(before)):
        context.report(Kind.WARNING, f"progress: {trouble}")
    if progress.step is not None and (before is None or progress.step != before.step):
        _tell_step(context, progress)
    if progress.resumed_from and (before is None or before.resumed_from is None):
        words = f"goes on from checkpoint {progress.resumed_from}"
        context.report(Kind.DECISION, words, checkpoint=progress.resumed_from)
    if progress.phase is Phase.ENDED and (before is None or before.phase is not Phase.ENDED):
        words = progress.reason or f"the job ended with exit {progress.exit_code}"
        context.report(Kind.ENDED, words, exit_code=progress.exit_code, cause=progress.cause.value)
    elif progress.reason and (before is None or progress.reason != before.reason):
        waits = progress.exit_code is not None and progress.phase is Phase.RUNNING
        left = ": what it left running is waited for" if waits else ""
        context.report(Kind.WARNING, f"{progress.reason}{left}")


def _tell_step(context: RunContext, progress: Progress) -> None:
    said_at, now = context.memory.progress_said_at, context.clock()
    is_last = progress.phase is Phase.ENDED or progress.step == progress.total
    if said_at is not None and now - said_at < PROGRESS_EVENT_EVERY and not is_last:
        return
    context.memory.progress_said_at = now
    total = f" of {progress.total}" if progress.total else ""
    context.report(
        Kind.PROGRESS,
        f"step {progress.step}{total}",
        step=progress.step,
        total=progress.total,
        steps_per_s=progress.steps_per_s,
        metrics=dict(progress.metrics),
    )
