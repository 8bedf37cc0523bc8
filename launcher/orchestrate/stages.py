"""From one stage of a run to the next: outputs home first, then on the same machine where it will do, else on another."""

from __future__ import annotations

from launcher.events import Kind
from launcher.orchestrate.attention import LAST_CHANCE
from launcher.orchestrate.budget import deadlines_now, deadlines_of_run, likely_seconds
from launcher.orchestrate.candidates import begin_attempt
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.finish import bring_home, close_stage, decide_end
from launcher.orchestrate.machines import end_machines
from launcher.orchestrate.observe import Seen
from launcher.orchestrate.stage_record import conclude, skip_blocked
from launcher.planning.stages import meets
from launcher.policy.actions import Finish
from launcher.policy.stages import (
    StageState,
    closing,
    how_it_ends,
    is_over,
    next_stage,
    others_go_on,
    to_drop,
)
from launcher.policy.states import Reason, RunState, can_move
from launcher.store import AttemptRow, Intent
from provisioning import InstanceState

__all__ = ["begin_next", "end_stage", "is_behind"]

RETRY_S = 5.0


def is_behind(context: RunContext, attempt: AttemptRow) -> bool:
    """Whether the stage of an attempt is over on record, and only its machine is still to be dealt with."""
    return bool(context.run.stages) and is_over(attempt.stage, context.stage_records)


def end_stage(context: RunContext, seen: Seen, action: Finish) -> float | None:
    """Take an end for that of a stage, of a run that goes on after it; None where it ends the run.

    The stage counts as over when its outputs are home and verified: until then every look decides the same again.
    """
    attempt, stage = seen.attempt, context.stage
    if not context.job.stages or not (others_go_on(stage, action.reason) or _is_cut_off(context, action)):
        return None
    if seen.runner is not None and not attempt.fetched:
        if context.state is not RunState.PULLING:
            context.move(RunState.PULLING, f"outputs of stage {stage.name} come home")
        problem = bring_home(context, seen)
        if problem is not None:
            deadlines = deadlines_now(context)
            if context.now >= deadlines.hard + LAST_CHANCE:
                decide_end(
                    context, Finish(reason=deadlines.reason, words=f"stage {stage.name} is done, {problem}")
                )
                return 0.0
            context.complain(
                "outputs", f"stage {stage.name} is done and its outputs are not home yet: {problem}"
            )
            return RETRY_S
        context.is_well("outputs")
    words = (
        f"{action.words}; time is left for {_names(context)}"
        if _is_cut_off(context, action)
        else action.words
    )
    record = conclude(context, context.as_it_is(attempt), action.reason, words)
    reason = Reason(record.code) if record.code else Reason.FINISHED
    if record.state is not StageState.DROPPED and not others_go_on(stage, reason):
        decide_end(context, Finish(reason=reason, words=f"stage {stage.name}: {record.words}", pull=False))
    return 0.0


def _is_cut_off(context: RunContext, action: Finish) -> bool:
    """Whether a stage ends at a limit so that those which come after all others have their time."""
    if (
        action.reason is not Reason.DEADLINE
        or context.limits.until is None
        or context.run.intent is not Intent.NONE
    ):
        return False
    present = context.stage.name
    last = [stage.name for stage in closing(context.job.every_stage, context.stage_records)]
    return bool(last) and present not in last and context.now < deadlines_of_run(context).soft


def _names(context: RunContext) -> str:
    return ", ".join(stage.name for stage in closing(context.job.every_stage, context.stage_records))


def begin_next(context: RunContext, seen: Seen) -> float:
    """After a stage: begin the next one, or decide the end of the run where none follows."""
    _drop_what_no_longer_fits(context)
    end = _end_of_the_run(context)
    if end is not None:
        decide_end(context, end)
        return 0.0
    stage = context.stage
    if _stays(context, seen):
        assert seen.runner is not None and seen.handle is not None
        seen.runner.end(seen.handle)  # what the last stage left running would be in the way
        with context.store.together():
            close_stage(context, context.as_it_is(seen.attempt))
            _begin_here(context, seen.attempt)
            _announce(context, f"stage {stage.name} begins on the same machine")
        return 0.0
    if not _is_machine_gone(context, seen):
        return 1.0
    with context.store.together():
        close_stage(context, context.as_it_is(seen.attempt))
        if not can_move(context.state, RunState.PROVISIONING):
            context.move(RunState.RECOVERING, f"stage {stage.name} is next")
        context.move(RunState.PROVISIONING, f"a machine is being rented for stage {stage.name}")
        begin_attempt(context)
        _announce(context, f"stage {stage.name} begins on another machine")
    context.memory.instance = None
    return 0.0


def _drop_what_no_longer_fits(context: RunContext) -> None:
    """With ``until``: write down which of the stages that would be next have no time left."""
    if context.limits.until is None:
        return
    left_s = (deadlines_of_run(context).soft - context.now).total_seconds()
    stages, likely_s = context.job.every_stage, likely_seconds(context)
    while (found := to_drop(stages, context.stage_records, likely_s, left_s)) is not None:
        stage, words = found
        with context.store.together():
            context.update_stage(stage.name, state=StageState.DROPPED, words=words, ended_at=context.clock())
            data = {"action": "stage_over", "stage": stage.name, "state": StageState.DROPPED.value}
            context.report(Kind.WARNING, f"stage {stage.name} is dropped: {words}", **data)
            skip_blocked(context)


def _end_of_the_run(context: RunContext) -> Finish | None:
    """How the run ends now; None while a stage is to follow and may."""
    run = context.run
    if run.intent is not Intent.NONE:
        keep_disk = bool(run.intent_options.get("keep_disk"))
        reason = Reason.STOPPED_BY_USER
        return Finish(
            reason=reason, words=f"{reason.words}, between two stages", pull=False, keep_disk=keep_disk
        )
    stages, records = context.job.every_stage, context.stage_records
    if next_stage(stages, records) is None:
        reason, words = how_it_ends(stages, records)
        return Finish(reason=reason, words=words)
    deadlines = deadlines_now(context)
    if context.now >= deadlines.soft:
        return Finish(
            reason=deadlines.reason, words=f"{deadlines.reason.words}, between two stages", pull=False
        )
    return None


def _stays(context: RunContext, seen: Seen) -> bool:
    """Whether the next stage goes on where the last one has ended."""
    if seen.runner is None or seen.handle is None or seen.attempt.ending_at is not None:
        return False
    if seen.situation.machine.state is not InstanceState.RUNNING:
        return False
    stage = context.stage
    image_id = context.job_of(seen.attempt).resources.image_id
    resources = stage.resources or context.job.resources
    return meets(context.offer_of(seen.attempt), resources, image_id=image_id)


def _is_machine_gone(context: RunContext, seen: Seen) -> bool:
    """End the machine of the last stage, which nothing needs any more, and say whether that is confirmed."""
    if seen.runner is not None and seen.handle is not None:
        seen.runner.end(seen.handle)
    if seen.attempt.ending_at is None:
        context.update_attempt(seen.attempt, ending_at=context.clock(), ending_code=Reason.FINISHED.value)
    return end_machines(context, attempt=seen.attempt.n)


def _begin_here(context: RunContext, before: AttemptRow) -> None:
    """Write the next stage down as an attempt on the machine of the one before."""
    now = context.clock()
    context.add_attempt(
        AttemptRow(
            run_id=context.run_id,
            stage=context.stage.name,
            n=before.n,
            candidate=before.candidate,
            offer=before.offer,
            started_at=max(now, before.started_at),
            fruitless=before.fruitless,
            reached_at=now,
        )
    )


def _announce(context: RunContext, words: str) -> None:
    """Say that a stage begins; what the job said in the stage before is not what it says now."""
    memory = context.memory
    memory.renewed_at = None
    memory.checkpoints.clear()
    context.update_run(step=None, total=None, steps_per_s=None, exit_code=None, calibrated={})
    done = sum(is_over(stage.name, context.stage_records) for stage in context.job.stages)
    context.report(
        Kind.DECISION,
        f"{words} ({done + 1} of {len(context.job.stages)})",
        action="stage_begins",
        stage=context.stage.name,
    )
