"""Writing down that a stage is over, and what follows from that for the others."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

from launcher.events import Kind
from launcher.forecast.history import hours_beside, speed_row, was_told_to_leave, work_row
from launcher.job.stages import stage_named
from launcher.orchestrate.context import RunContext
from launcher.policy.stages import StageRecord, StageState, blocked
from launcher.policy.states import Reason
from launcher.promotion import Candidate, promote
from launcher.records import from_json
from launcher.runners.base import Progress
from launcher.store import AttemptRow

__all__ = ["conclude", "skip_blocked"]


def conclude(context: RunContext, attempt: AttemptRow, reason: Reason, words: str) -> StageRecord:
    """Write down that a stage is over and what became of it; one that lacks what others need of it has failed."""
    known = context.stage_records.get(attempt.stage, StageRecord())
    if known.state is not StageState.WAITING:
        return known
    lacking = _lacking(context, attempt.stage, known)
    if reason is Reason.FINISHED and lacking:
        reason, words = Reason.JOB_FAILED, lacking
    failed = reason is not Reason.FINISHED
    dropped = reason in (Reason.DEADLINE, Reason.BUDGET)
    metrics = _metrics(context, attempt)
    promoted = "" if failed else _promote(context, attempt.stage, known, metrics)
    state = StageState.DROPPED if dropped else StageState.FAILED if failed else StageState.SUCCEEDED
    with context.store.together():
        record = context.update_stage(
            attempt.stage,
            state=state,
            code=reason.value if failed else "",
            words=words if failed else "",
            attempt=attempt.n,
            start=attempt.starts,
            ended_at=context.clock(),
            step=context.run.step,
            total=context.run.total,
            metrics=metrics,
            promoted=promoted,
        )
        said = f"stage {attempt.stage} {_ENDED[state]}" + (f": {words}" if failed else "")
        number = len(record.files)
        files = f", its outputs are home ({number} file{'s' * (number > 1)})" if number else ""
        data = {"action": "stage_over", "stage": attempt.stage, "state": record.state.value}
        context.report(Kind.DECISION, said + files, **data)
        _learn(context, attempt, is_whole=state is StageState.SUCCEEDED and not was_told_to_leave(attempt))
        skip_blocked(context)
    return record


def _metrics(context: RunContext, attempt: AttemptRow) -> dict[str, float]:
    """What a stage has reported last, on whichever of its machines."""
    told = [row.progress for row in context.of_the_same_stage(attempt) if row.progress is not None]
    return dict(from_json(Progress, told[-1]).metrics) if told else {}


_ENDED = {StageState.SUCCEEDED: "finished", StageState.FAILED: "failed", StageState.DROPPED: "was cut off"}


def _promote(context: RunContext, name: str, record: StageRecord, metrics: Mapping[str, float]) -> str:
    """Let the stage's result take the place of the file at home that it is to be better than; say what came of it."""
    wanted = stage_named(context.job, name).promote
    if wanted is None:
        return ""
    normal = posixpath.normpath(wanted.file)
    file = next((one for one in record.files if one.name == normal), None)
    workdir = context.job.workdir_path
    data: dict[str, object] = {"action": "promote", "stage": name, "file": normal, "metric": wanted.metric}
    if file is None or not workdir.is_dir():
        words = f"{normal} stays as it is: " + (
            "the stage has not made one" if workdir.is_dir() else f"{workdir} is not here any more"
        )
        context.report(Kind.WARNING, f"promote: {words}", **data)
        return words
    candidate = Candidate(
        source=file.below(Path(context.run.results_dir)),
        file=file,
        value=metrics.get(wanted.metric),
        run_id=context.run_id,
        stage=name,
    )
    try:
        outcome = promote(wanted, candidate, workdir, context.clock())
    except OSError as err:
        words = f"{normal} could not be replaced: {err}; the new one is {candidate.source}"
        context.report(Kind.WARNING, f"promote: {words}", **data)
        return words
    data |= {"promoted": outcome.promoted, "old": outcome.old, "new": outcome.new}
    data["backup"] = str(outcome.backup) if outcome.backup is not None else None
    context.report(Kind.DECISION, f"promote: {outcome.words}", **data)
    return outcome.words


def _lacking(context: RunContext, name: str, record: StageRecord) -> str:
    """Say which outputs a finished stage lacks that another one needs; empty when it lacks none."""
    needed_by = [stage.name for stage in context.job.stages if name in stage.needs]
    outputs = stage_named(context.job, name).outputs  # what may be promoted is for nobody but home
    missing = [pattern for pattern in record.missing if pattern in outputs]
    if not needed_by or not missing:
        return ""
    return f"it ended without {', '.join(missing)} (its outputs), which {', '.join(needed_by)} needs"


def _learn(context: RunContext, attempt: AttemptRow, *, is_whole: bool) -> None:
    """Remember how fast the stage went and, where it did all its work, how long it took and what it left."""
    if context.machine_of(attempt) is None:
        return
    one, offer, now = context.job_of(attempt), context.offer_of(attempt), context.clock()
    fields = one.to_dict()
    name, beside_h = attempt.stage, None
    if is_whole:
        work = work_row(
            context.run,
            context.of_the_same_stage(attempt),
            fields,
            offer,
            now,
            stage=name,
            stays=any(row.n == attempt.n and row.stage != name for row in context.attempts),
            output_bytes=context.store.output_bytes(context.run_id, name),
            gpus_used=one.resources.gpus_used,
        )
        known = context.store.works(work.work_digest)
        if work.work_s is not None or not any(row.run_id == work.run_id for row in known):
            context.store.put(work)  # done again in pieces, it says no more than it did the first time
        beside_h = hours_beside(context.run, work)
    speed = speed_row(context.run, attempt, offer, now, beside_h=beside_h, fields=fields, stage=name)
    if speed is not None:
        context.store.put(speed)


def skip_blocked(context: RunContext) -> None:
    """Write down which stages can no longer begin."""
    for stage, needed in blocked(context.job.every_stage, context.stage_records):
        words = f"it needs {needed}"
        context.update_stage(stage.name, state=StageState.SKIPPED, words=words, ended_at=context.clock())
        data = {"action": "stage_over", "stage": stage.name, "state": StageState.SKIPPED.value}
        context.report(Kind.DECISION, f"stage {stage.name} is skipped: {words}", **data)
