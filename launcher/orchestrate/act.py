"""Carrying out what was decided about a run that has a machine. Every action can be repeated after a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from launcher.errors import (
    LaunchError,
    MachineError,
    MachineFull,
    MachineRefused,
    MachineUnfit,
    MachineUnreachable,
)
from launcher.events import Kind
from launcher.orchestrate.attention import onlooker_of
from launcher.orchestrate.budget import cost_of_attempt
from launcher.orchestrate.candidates import begin_attempt, furthest_step
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.finish import bring_home, close_attempt, decide_end
from launcher.orchestrate.firewall import follow_address
from launcher.orchestrate.homecoming import bring_lost_if_possible, mirror_if_possible
from launcher.orchestrate.machines import end_machines
from launcher.orchestrate.observe import Seen
from launcher.orchestrate.parking import leave_parked, may_resume, park_instead, start_parked
from launcher.orchestrate.stage_lost import lost_come_first
from launcher.orchestrate.stages import end_stage
from launcher.orchestrate.submission import submission_for
from launcher.policy.actions import (
    Action,
    EndMachine,
    Finish,
    Kill,
    NewAttempt,
    Proceed,
    RestartHere,
    Save,
    StartMachine,
    Wait,
)
from launcher.policy.recover import SAID_EVERY_S, decide
from launcher.policy.silence import Silence
from launcher.policy.situation import Situation, Trouble
from launcher.policy.states import Reason, RunState
from launcher.quantities import duration, usd
from launcher.records import from_json, to_json
from launcher.runners.base import Progress, Signal
from provisioning import InstanceState
from trainer.contract import Cause, Phase

__all__ = ["act", "decide_on"]

AGAIN_S = 0.0
"""Look again at once: something changed."""
RESCUE = timedelta(seconds=120)
"""For how long outputs are fetched again and again from a machine that is about to be taken away."""


def act(context: RunContext, seen: Seen, action: Action) -> float:
    """Do what was decided; return how many seconds to wait before the next look."""
    if action.words and not isinstance(action, (Wait, Proceed, Finish)):
        name = type(action).__name__
        context.say_once("decision", Kind.DECISION, action.words, action=name, reason=action.reason.value)
    handler: Callable[[RunContext, Seen, Any], float] = _HANDLERS[type(action)]
    try:
        return handler(context, seen, action)
    except MachineError as err:  # the machine stopped answering meanwhile: the next look finds out
        context.memory.is_doubtful |= isinstance(err, MachineUnreachable)
        context.complain("machine", f"{action.words or type(action).__name__}: {err}")
        return 1.0


def decide_on(situation: Situation) -> Action:
    """Decide; a claimed machine that was released is still there, and its job may have ended as well as any other."""
    machine = situation.machine
    if machine.claimed and machine.reachable and machine.state is InstanceState.TERMINATED:
        as_if_held = replace(situation, machine=replace(machine, state=InstanceState.RUNNING))
        action = decide(as_if_held)
        if isinstance(action, Finish):
            return action
    return decide(situation)


def _wait(context: RunContext, seen: Seen, action: Wait) -> float:
    """Nothing to decide: let the record follow the job, and keep its checkpoints safe."""
    progress = seen.situation.progress
    if action.check_address:
        follow_address(context, seen.row)
    if seen.runner is not None and progress is not None:
        _follow_phase(context, progress)
        if progress.phase is Phase.LEAVING:
            context.note(action.words)
            if (seen.situation.past.asked_s or 0.0) >= SAID_EVERY_S:
                context.say_once("leaving", Kind.SIGNAL, action.words)
        leaves_for_good = progress.cause is Cause.NOTICE or progress.phase is Phase.ENDED
        mirror_if_possible(context, seen, force=leaves_for_good)
        bring_lost_if_possible(context, seen)
        context.is_well("machine", "decision")
    elif action.reason is not Reason.NONE and context.run.reason_code != action.reason.value:
        context.report(Kind.WARNING, action.words, reason=action.reason.value)
        context.move(context.state, action.words, code=action.reason)
    else:
        context.note(action.words)
    return action.next_look_s


def _follow_phase(context: RunContext, progress: Progress) -> None:
    """Let the state of the run say what its job does."""
    state = context.state
    if progress.phase is Phase.LEAVING:
        _follow_leaving(context, progress.cause)
    elif progress.phase is Phase.SETUP and state in (RunState.SYNCING, RunState.RECOVERING):
        context.move(RunState.SETUP, "the environment is being made")
    elif progress.phase is Phase.RUNNING:
        has_begun = state in (RunState.SYNCING, RunState.SETUP, RunState.RECOVERING)
        is_back = state is RunState.RUNNING and context.run.reason_code
        if has_begun or is_back:
            context.move(RunState.RUNNING, "the job's process lives")


def _follow_leaving(context: RunContext, cause: Cause) -> None:
    if cause is Cause.NOTICE and context.state is not RunState.INTERRUPTED:
        words = "the provider announced the end: the job saves"
        context.move(RunState.INTERRUPTED, words, code=Reason.SPOT_NOTICE)
    elif cause in (Cause.DEADLINE, Cause.IDLE) and context.state is not RunState.STOPPING:
        context.move(RunState.STOPPING, f"{cause.value}: the job saves")


def _proceed(context: RunContext, seen: Seen, _: Proceed) -> float:
    """Place code and data and start the job. Submitting the same start again finds it instead of repeating it."""
    attempt, runner, instance = seen.attempt, seen.runner, seen.instance
    assert runner is not None and instance is not None
    context.move(RunState.SYNCING, "code and data are placed")
    try:
        submission, onlooker = submission_for(context, attempt, instance), onlooker_of(context)
        handle = runner.submit(submission, report=onlooker.report, listen=onlooker.listen)
    except MachineUnreachable as err:
        return _unreachable(context, seen, err)
    except MachineError as err:
        # What is claimed is the same machine every time, and stays as full as it is.
        is_full_for_good = isinstance(err, MachineFull) and seen.situation.machine.claimed
        return _trouble(context, seen, err, permanent=isinstance(err, MachineRefused) or is_full_for_good)
    except LaunchError as err:
        return _trouble(context, seen, err, permanent=True)
    with context.store.together():
        context.update_attempt(
            attempt,
            handle=to_json(handle),
            fetched=False,
            progress=None,
            trouble=None,
            silence={},
            reached_at=context.clock(),
        )
    return AGAIN_S


def _unreachable(context: RunContext, seen: Seen, err: MachineUnreachable) -> float:
    """The machine was rented and does not answer: it still boots, or it is lost; decided as for any other silence."""
    context.complain("machine", f"the machine does not answer: {err}")
    silence = from_json(Silence, seen.attempt.silence)
    silence = silence.after(context.clock(), machine_answered=False, provider_answered=True)
    attempt = context.update_attempt(seen.attempt, silence=to_json(silence))
    machine = replace(seen.situation.machine, reachable=False, silent_s=silence.seconds)
    situation = replace(seen.situation, machine=machine)
    unseen = replace(seen, situation=situation, attempt=attempt, runner=None)
    return act(context, unseen, decide(situation))


def _trouble(context: RunContext, seen: Seen, err: LaunchError, *, permanent: bool) -> float:
    words = f"{err.message}" + (f" ({err.hint})" if err.hint else "")
    if isinstance(err, MachineUnfit):
        words += f"; finding that out has cost {usd(cost_of_attempt(context, seen.attempt))}"
    trouble = Trouble(reason=Reason.PLACEMENT, words=words, permanent=permanent)
    with context.store.together():
        context.report(Kind.WARNING, words, error=err.code)
        context.update_attempt(seen.attempt, trouble=to_json(trouble))
    return AGAIN_S


def _save(context: RunContext, seen: Seen, action: Save) -> float:
    assert seen.runner is not None and seen.handle is not None
    with context.store.together():
        context.move(RunState.STOPPING, f"{action.words}: the job saves", code=action.reason)
        if (
            action.reason is Reason.GAVE_UP
        ):  # whatever is seen of it from now on, it was we who asked it to leave
            context.update_attempt(seen.attempt, given_up=action.words)
    seen.runner.signal(seen.handle, Signal.SAVE, cause=action.cause)
    with context.store.together():
        context.update_attempt(seen.attempt, asked_at=context.clock())
        words = "the job was asked to save and leave"
        context.report(Kind.SIGNAL, words, signal="TERM", cause=action.cause.value)
    return 0.3


def _kill(context: RunContext, seen: Seen, _: Kill) -> float:
    assert seen.runner is not None and seen.handle is not None
    seen.runner.signal(seen.handle, Signal.KILL)
    context.report(Kind.SIGNAL, "the job was killed", signal="KILL")
    return 1.0


def _restart_here(context: RunContext, seen: Seen, action: RestartHere) -> float:
    assert seen.runner is not None and seen.handle is not None
    seen.runner.end(seen.handle)
    with context.store.together():
        _interrupted(context, action.words, action.reason)
        when = f" in {duration(action.after_s)}" if action.after_s else ""
        words = f"the job starts again on the same machine{when}"
        context.move(RunState.RECOVERING, words, code=action.reason)
        _next_start(context, seen, after_s=action.after_s, errors=int(action.count_as_error))
    return AGAIN_S


def _next_start(context: RunContext, seen: Seen, *, after_s: float = 0.0, errors: int = 0) -> None:
    """Count a new start on the same machine; the handle of the one before stays, for what it left there."""
    attempt = seen.attempt
    context.update_attempt(
        attempt,
        starts=attempt.starts + 1,
        errors=attempt.errors + errors,
        step_at_start=furthest_step(context),
        progress=None,
        has_run=False,
        asked_at=None,
        given_up="",
        fetched=False,
        not_before=context.clock() + timedelta(seconds=after_s) if after_s else None,
    )


def _start_machine(context: RunContext, seen: Seen, _: StartMachine) -> float:
    refused = EndMachine(reason=Reason.INSTANCE_STOPPED, words="", fetch_first=False)
    wait_s = start_parked(context, seen)
    if wait_s is None:
        holds_outputs = seen.handle is not None and not seen.attempt.fetched
        if not holds_outputs or may_resume(seen):
            return _end_machine(context, seen, refused)
        return leave_parked(context, seen, "the stopped machine cannot be started now and its disk is kept")
    with context.store.together():
        _interrupted(context, "the provider stopped the machine", Reason.INSTANCE_STOPPED)
        words = "starting the stopped machine again"
        context.move(RunState.RECOVERING, words, code=Reason.INSTANCE_STOPPED)
        if seen.situation.progress is not None:
            _next_start(context, seen)
        assert context.attempt is not None
        context.update_attempt(context.attempt, silence={})
    return wait_s


def _end_machine(context: RunContext, seen: Seen, action: EndMachine) -> float:
    """End the machine; what it holds comes home first, as far as there is time."""
    if context.state not in (RunState.STOPPING, RunState.PULLING):
        _interrupted(context, action.words, action.reason)
    if action.fetch_first:
        problem = None if seen.attempt.fetched else bring_home(context, seen)
        if problem is not None:
            context.complain("outputs", f"before the machine ends: {problem}")
        are_out = problem is not None or lost_come_first(context, seen)
        if are_out and _may_still_be_rescued(context, seen):
            return 1.0
    attempt = context.attempt
    assert attempt is not None
    code = attempt.ending_code or action.reason.value
    context.update_attempt(attempt, ending_at=context.clock(), ending_code=code)
    parked_s = None if action.fetch_first else park_instead(context, seen)
    if parked_s is not None:
        return parked_s
    end_machines(context, attempt=attempt.n)
    return 0.5


def _may_still_be_rescued(context: RunContext, seen: Seen) -> bool:
    progress = seen.situation.progress
    if progress is None or seen.attempt.progress is None:
        return False
    ended_at = from_json(Progress, seen.attempt.progress).seen_at
    return context.clock() - ended_at < RESCUE


def _new_attempt(context: RunContext, seen: Seen, action: NewAttempt) -> float:
    """Go on elsewhere, or on the same computer where it is only claimed."""
    _interrupted(context, action.words, action.reason)
    machine = seen.situation.machine
    if machine.claimed:
        problem = bring_home(context, seen) if machine.reachable else None
        if problem is not None:  # they stay where they are, and so does the next attempt
            context.complain("outputs", f"before the machine is released: {problem}")
        if seen.runner is not None and seen.handle is not None:
            seen.runner.end(seen.handle)
        if not end_machines(context, attempt=seen.attempt.n):
            return 1.0
    attempt = context.attempt
    assert attempt is not None
    helped = seen.situation.machine_helped
    with context.store.together():
        close_attempt(context, attempt, action.reason.value, action.words)
        context.move(RunState.RECOVERING, action.words, code=action.reason)
        begin_attempt(
            context,
            after_s=action.after_s,
            avoid_place=action.avoid_place,
            fruitless=0 if helped else attempt.fruitless + 1,
        )
    context.memory.instance = None
    return AGAIN_S


def _finish(context: RunContext, seen: Seen, action: Finish) -> float:
    """Decide the end. An earlier start on this machine may have left work there, also when the present one did not begin."""
    s = seen.situation
    if not action.pull and not s.wish.discard and s.machine.reachable and seen.handle is not None:
        action = replace(action, pull=True)
    if context.job.stages:
        next_look_s = end_stage(context, seen, action)
        if next_look_s is not None:
            return next_look_s
        action = replace(action, stage=context.stage.name)
    decide_end(context, action)
    return AGAIN_S


def _interrupted(context: RunContext, words: str, reason: Reason) -> None:
    if context.state not in (RunState.INTERRUPTED, RunState.RECOVERING):
        context.move(RunState.INTERRUPTED, words, code=reason)


_HANDLERS: dict[type, Callable[..., float]] = {
    Wait: _wait,
    Proceed: _proceed,
    Save: _save,
    Kill: _kill,
    RestartHere: _restart_here,
    StartMachine: _start_machine,
    EndMachine: _end_machine,
    NewAttempt: _new_attempt,
    Finish: _finish,
}
