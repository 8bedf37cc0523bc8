"""Writing down that a stage is over, and what follows from that for the others."""

from __future__ import annotations

from launcher.events import Kind
from launcher.forecast.history import speed_row
from launcher.orchestrate.context import RunContext
from launcher.policy.stages import StageRecord, StageState, blocked
from launcher.policy.states import Reason
from launcher.records import from_json
from launcher.runners.base import Progress
from launcher.store import AttemptRow
from provisioning import Offer

__all__ = ["conclude"]


def conclude(context: RunContext, attempt: AttemptRow, reason: Reason, words: str) -> StageRecord:
    """Write down that a stage is over and what became of it; one that lacks what others need of it has failed."""
    known = context.stage_records.get(attempt.stage, StageRecord())
    if known.state is not StageState.WAITING:
        return known
    lacking = _lacking(context, attempt.stage, known)
    if reason is Reason.FINISHED and lacking:
        reason, words = Reason.JOB_FAILED, lacking
    failed = reason is not Reason.FINISHED
    progress = None if attempt.progress is None else from_json(Progress, attempt.progress)
    with context.store.together():
        record = context.update_stage(
            attempt.stage,
            state=StageState.FAILED if failed else StageState.SUCCEEDED,
            code=reason.value if failed else "",
            words=words if failed else "",
            attempt=attempt.n,
            start=attempt.starts,
            ended_at=context.clock(),
            step=context.run.step,
            total=context.run.total,
            metrics=dict(progress.metrics) if progress is not None else {},
        )
        said = f"stage {attempt.stage} failed: {words}" if failed else f"stage {attempt.stage} finished"
        files = f", {len(record.files)} files of it are home" if record.files else ""
        data = {"action": "stage_over", "stage": attempt.stage, "state": record.state.value}
        context.report(Kind.DECISION, said + files, **data)
        _learn(context, attempt)
        _skip_blocked(context)
    return record


def _lacking(context: RunContext, name: str, record: StageRecord) -> str:
    """Say which outputs a finished stage lacks that another one needs; empty when it lacks none."""
    needed_by = [stage.name for stage in context.job.stages if name in stage.needs]
    if not needed_by or not record.missing:
        return ""
    return f"it ended without {', '.join(record.missing)} (its outputs), which {', '.join(needed_by)} needs"


def _learn(context: RunContext, attempt: AttemptRow) -> None:
    """Remember how fast the stage went, for the next estimate."""
    fields = context.job_of(attempt).to_dict()
    row = speed_row(context.run, attempt, from_json(Offer, attempt.offer), context.clock(), fields=fields)
    if row is not None:
        context.store.put(row)


def _skip_blocked(context: RunContext) -> None:
    """Write down which stages can no longer begin."""
    for stage, needed in blocked(context.job.every_stage, context.stage_records):
        words = f"it needs {needed}"
        context.update_stage(stage.name, state=StageState.SKIPPED, words=words, ended_at=context.clock())
        data = {"action": "stage_over", "stage": stage.name, "state": StageState.SKIPPED.value}
        context.report(Kind.DECISION, f"stage {stage.name} is skipped: {words}", **data)
