"""From one stage of a run to the next: outputs home first, then on the same machine where it will do, else on another."""

from __future__ import annotations

from contextlib import suppress

from launcher.errors import MachineError, MachineUnreachable
from launcher.events import Kind
from launcher.orchestrate.attention import LAST_CHANCE
from launcher.orchestrate.budget import deadlines_now, deadlines_of_run, likely_seconds
from launcher.orchestrate.candidates import begin_attempt, furthest_step
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.finish import bring_home, close_stage, decide_end
from launcher.orchestrate.machines import end_machines
from launcher.orchestrate.observe import Seen
from launcher.orchestrate.parking import start_parked
from launcher.orchestrate.rent import find_unanswered
from launcher.orchestrate.stage_lost import lost_come_first
from launcher.orchestrate.stage_record import conclude, skip_blocked
from launcher.planning.stages import meets
from launcher.policy.actions import Finish
from launcher.policy.stages import (
    FAILURES,
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

__all__ = ["begin_next", "end_stage", "end_without_machine", "is_behind"]

RETRY_S = 5.0
LOOK_UP_S = 2.0


def is_behind(context: RunContext, attempt: AttemptRow) -> bool:
    """Whether the stage of an attempt is over on record, and only its machine is still to be dealt with."""
    return bool(context.run.stages) and is_over(attempt.stage, context.stage_records)


def end_stage(context: RunContext, seen: Seen, action: Finish) -> float | None:
    """Take an end for that of a stage, of a run that goes on after it; None where it ends the run.

    The stage counts as over when its outputs are home and verified: until then every look decides the same again.
    """
    attempt, stage = seen.attempt, context.stage
    is_cut_off = _leaves_time(context, action.reason)
    if not context.job.stages or not (is_cut_off or others_go_on(stage, action.reason)):
        return None
    if _is_out_of_reach(context, seen):
        return None
    if seen.runner is not None and not attempt.fetched:
        if context.state is not RunState.PULLING:
            context.move(RunState.PULLING, f"outputs of stage {stage.name} come home")
        problem = bring_home(context, seen)
        if problem is not None:
            deadlines = deadlines_now(context)
            if context.now >= deadlines.hard + LAST_CHANCE:
                words = f"it is done, {problem}"
                decide_end(context, Finish(reason=deadlines.reason, words=words, stage=stage.name))
                return 0.0
            context.complain(
                "outputs", f"stage {stage.name} is done and its outputs are not home yet: {problem}"
            )
            return RETRY_S
        context.is_well("outputs")
    words = f"{action.words}; time is left for {', '.join(_closing(context))}" if is_cut_off else action.words
    conclude(context, context.as_it_is(attempt), action.reason, words)
    end = _end_by_failure(context)
    if end is not None:
        decide_end(context, end)
    return 0.0


def _is_out_of_reach(context: RunContext, seen: Seen) -> bool:
    """Whether a stage's outputs are on a machine that does not answer and is not gone: the end of the run keeps that disk."""
    is_home = seen.handle is None or context.as_it_is(seen.attempt).fetched
    is_gone = seen.situation.machine.state is InstanceState.TERMINATED
    return seen.runner is None and not is_home and not is_gone


def _leaves_time(context: RunContext, reason: Reason) -> bool:
    """Whether the limit at which a stage ends is its own: time is left for those that come after all others."""
    if reason is not Reason.DEADLINE or context.limits.until is None or context.run.intent is not Intent.NONE:
        return False
    last = _closing(context)
    return bool(last) and context.stage.name not in last and context.now < deadlines_of_run(context).soft


def end_without_machine(context: RunContext, attempt: AttemptRow, reason: Reason, words: str) -> bool:
    """Take that a stage has no machine for the end of that stage; False where it ends the run.

    ``reason``: a failure, or the limit up to which a machine was waited for. `begin_next` does the rest.
    """
    if not context.job.stages or not (reason in FAILURES or _leaves_time(context, reason)):
        return False
    conclude(context, attempt, reason, words)
    return True


def _closing(context: RunContext) -> list[str]:
    return [stage.name for stage in closing(context.job.every_stage, context.stage_records)]


def begin_next(context: RunContext, attempt: AttemptRow, seen: Seen | None) -> float:
    """After a stage: begin the next one, or decide the end of the run where none follows.

    ``seen``: its machine; None where it never had one, as far as is known: a create call without an answer is settled
    before anything else is rented, and what it has made is ended like the machine of any stage.

    Raises:
        CloudError: the provider cannot say what became of such a call.
    """
    if seen is None:
        if not find_unanswered(context):
            context.note(
                f"stage {attempt.stage} is over; looking whether an unanswered create call made a machine"
            )
            return LOOK_UP_S
        if context.machine_of(attempt) is not None:
            return 0.0
    _drop_what_no_longer_fits(context)
    end = _end_of_the_run(context)
    if end is not None:
        decide_end(context, end)
        return 0.0
    wait_s = _begin_on_same(context, seen) if seen is not None else None
    if wait_s is not None:
        return wait_s
    name = context.stage.name
    with context.store.together():
        _leave_stopping(context, name)
        close_stage(context, context.as_it_is(attempt))
        if not can_move(context.state, RunState.PROVISIONING):
            context.move(RunState.RECOVERING, f"stage {name} is next")
        context.move(RunState.PROVISIONING, f"a machine is being rented for stage {name}")
        begin_attempt(context)
        _announce(context, f"stage {name} begins on another machine")
    context.memory.instance = None
    return 0.0


def _begin_on_same(context: RunContext, seen: Seen) -> float | None:
    """Begin the next stage where the last one was, if it will do there; None once that machine is gone for good."""
    stage = context.stage
    if _is_stopped(context, seen):
        started_s = start_parked(context, seen)
        if started_s is not None:
            context.update_attempt(seen.attempt, silence={})
            words = f"the stopped machine is started again for stage {stage.name}"
            context.say_once("decision", Kind.DECISION, words, action="StartMachine")
            return started_s
    stays = _stays(context, seen)
    if stays is None:
        return RETRY_S
    if not stays:
        if lost_come_first(context, seen):
            return RETRY_S
        return None if _is_machine_gone(context, seen) else 1.0
    assert seen.runner is not None and seen.handle is not None
    try:
        seen.runner.end(seen.handle)  # what the last stage left running would be in the way
    except MachineError as err:
        context.memory.is_doubtful |= isinstance(err, MachineUnreachable)
        context.complain("machine", f"stage {stage.name} is next: {err}")
        return 1.0
    context.is_well("machine")
    with context.store.together():
        _leave_stopping(context, stage.name)
        close_stage(context, context.as_it_is(seen.attempt))
        _begin_here(context, seen.attempt)
        _announce(context, f"stage {stage.name} begins on the same machine")
    return 0.0


def _leave_stopping(context: RunContext, name: str) -> None:
    """Nothing follows on a run that stops, but a stage follows on one that was cut off or given up."""
    if context.state is RunState.STOPPING:
        context.move(RunState.PULLING, f"stage {name} is next")


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
    failed = _end_by_failure(context)
    if failed is not None:
        return failed
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


def _end_by_failure(context: RunContext) -> Finish | None:
    """How the run ends where a stage has failed that was not to: also if we were killed before that was decided."""
    records = context.stage_records
    for stage in context.job.stages:
        record = records.get(stage.name)
        if record is None or record.state is not StageState.FAILED:
            continue
        reason = Reason(record.code)
        if not others_go_on(stage, reason):
            return Finish(reason=reason, words=record.words, stage=stage.name, pull=False)
    return None


def _stays(context: RunContext, seen: Seen) -> bool | None:
    """Whether the next stage goes on where the last one has ended; None while that cannot be known.

    One question without an answer says nothing about a machine: it is ended once it has been silent for as long as a
    machine at work may be.
    """
    if not _would_do(context, seen):
        return False
    machine = seen.situation.machine
    if machine.state is None:
        return None
    if machine.state is not InstanceState.RUNNING:
        return False
    if seen.runner is not None:
        return True
    return None if machine.silent_s < seen.situation.policy.unreachable_grace_s else False


def _is_stopped(context: RunContext, seen: Seen) -> bool:
    """Whether the machine of the last stage would do for the next one, and only has to be started again."""
    machine = seen.situation.machine
    return machine.state is InstanceState.STOPPED and machine.can_start and _would_do(context, seen)


def _would_do(context: RunContext, seen: Seen) -> bool:
    if seen.attempt.ending_at is not None or seen.handle is None:
        return False
    resources = context.stage.resources or context.job.resources
    image_id = context.job_of(seen.attempt).resources.image_id
    return meets(context.offer_of(seen.attempt), resources, image_id=image_id)


def _is_machine_gone(context: RunContext, seen: Seen) -> bool:
    """End the machine of the last stage, which nothing needs any more, and say whether that is confirmed."""
    if seen.runner is not None and seen.handle is not None:
        with suppress(MachineError):
            seen.runner.end(seen.handle)
    if seen.attempt.ending_at is None:
        context.update_attempt(seen.attempt, ending_at=context.clock(), ending_code=Reason.FINISHED.value)
    return end_machines(context, attempt=seen.attempt.n)


def _begin_here(context: RunContext, before: AttemptRow) -> None:
    """Write the next stage down as an attempt on the machine of the one before.

    One that has been at work there, before a person had the run go on, gets a new start: the machine has the old one.
    """
    now, name = context.clock(), context.stage.name
    begun_at = max(now, before.started_at)
    known = next((row for row in context.attempts if (row.stage, row.n) == (name, before.n)), None)
    if known is None:
        context.add_attempt(
            AttemptRow(
                run_id=context.run_id,
                stage=name,
                n=before.n,
                candidate=before.candidate,
                offer=before.offer,
                started_at=begun_at,
                fruitless=before.fruitless,
                reached_at=now,
            )
        )
        return
    context.update_attempt(
        known,
        started_at=begun_at,
        ended_at=None,
        cause="",
        reason="",
        starts=known.starts + 1,
        errors=0,
        fruitless=before.fruitless,
        step_at_start=furthest_step(context),
        progress=None,
        has_run=False,
        not_before=None,
        trouble=None,
        reached_at=now,
        silence={},
        asked_at=None,
        given_up="",
        ending_at=None,
        ending_code="",
        fetched=False,
    )


def _announce(context: RunContext, words: str) -> None:
    """Say that a stage begins; what the job said in the stage before is not what it says now."""
    memory = context.memory
    memory.renewed_at = None
    memory.checkpoints.clear()
    context.update_run(step=None, total=None, steps_per_s=None, exit_code=None, metrics={}, calibrated={})
    done = sum(is_over(stage.name, context.stage_records) for stage in context.job.stages)
    context.report(
        Kind.DECISION,
        f"{words} ({done + 1} of {len(context.job.stages)})",
        action="stage_begins",
        stage=context.stage.name,
    )
