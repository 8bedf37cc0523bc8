"""Carrying out what was decided about a run that has a machine. Every action can be repeated after a crash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from launcher.actions import (
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
from launcher.errors import (
    DependencyMissing,
    FetchError,
    LaunchError,
    MachineError,
    MachineUnreachable,
    PlacementError,
)
from launcher.events import Kind
from launcher.orchestrate.candidates import begin_attempt
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.finish import bring_home, close_attempt, decide_end
from launcher.orchestrate.homecoming import mirror_checkpoints
from launcher.orchestrate.observe import Seen
from launcher.orchestrate.rent import end_instances
from launcher.orchestrate.submission import submission_for
from launcher.records import to_json
from launcher.runners.base import Progress, Signal
from launcher.situation import Trouble
from launcher.states import Reason, RunState
from provisioning import InstanceRef, NoCapacity, Parkable
from trainer.contract import Cause, Phase

__all__ = ["act"]

AGAIN_S = 0.0
"""Look again at once: something changed."""


def act(context: RunContext, seen: Seen, action: Action) -> float:
    """Do what was decided; return how many seconds to wait before the next look."""
    if isinstance(action, Wait):
        return _wait(context, seen, action)
    if action.words and not isinstance(action, (Proceed, Finish)):
        name = type(action).__name__
        context.report(Kind.DECISION, action.words, action=name, reason=action.reason.value)
    handler: Callable[[RunContext, Seen, Any], float] = _HANDLERS[type(action)]
    return handler(context, seen, action)


def _wait(context: RunContext, seen: Seen, action: Wait) -> float:
    """Nothing to decide: let the record follow the job, and keep its checkpoints safe."""
    progress = seen.situation.progress
    if progress is not None and seen.runner is not None:
        _follow_phase(context, progress)
        handle = seen.handle
        if handle is not None and progress.checkpoints:
            try:
                mirror_checkpoints(context, seen.runner, handle, seen.attempt, progress)
            except (MachineUnreachable, FetchError) as err:
                context.report(Kind.WARNING, f"a checkpoint could not be brought home yet: {err}")
    elif action.reason is not Reason.NONE and context.run.reason != action.words:
        context.move(RunState(context.run.state), action.words, code=action.reason)
        context.report(Kind.WARNING, action.words, reason=action.reason.value)
    return action.next_look_s


def _follow_phase(context: RunContext, progress: Progress) -> None:
    state = RunState(context.run.state)
    if progress.phase is Phase.SETUP and state in (RunState.SYNCING, RunState.RECOVERING):
        context.move(RunState.SETUP, "the environment is being made")
    elif progress.phase is Phase.RUNNING and state in (RunState.SYNCING, RunState.SETUP, RunState.RECOVERING):
        context.move(RunState.RUNNING, "the job's process lives")
    elif (
        progress.phase is Phase.LEAVING
        and progress.cause is Cause.NOTICE
        and state is not RunState.INTERRUPTED
    ):
        context.move(
            RunState.INTERRUPTED, "the provider announced the end: the job saves", code=Reason.SPOT_NOTICE
        )
    elif (
        progress.phase is Phase.LEAVING
        and progress.cause in (Cause.DEADLINE, Cause.IDLE)
        and state is not RunState.STOPPING
    ):
        context.move(RunState.STOPPING, f"{progress.cause.value}: the job saves")


def _proceed(context: RunContext, seen: Seen, _: Proceed) -> float:
    """Place code and data and start the job. Submitting the same start again finds it instead of repeating it."""
    attempt, runner, instance = seen.attempt, seen.runner, seen.instance
    assert runner is not None and instance is not None
    context.move(RunState.SYNCING, "code and data are placed")
    submission = submission_for(context, attempt, instance)
    try:
        handle = runner.submit(submission, report=context.report)
    except MachineUnreachable as err:
        context.report(Kind.WARNING, f"lost the machine while placing code and data: {err}")
        return 5.0
    except (PlacementError, MachineError) as err:
        return _trouble(context, seen, err, Reason.PLACEMENT, permanent=False)
    except (DependencyMissing, LaunchError) as err:
        return _trouble(context, seen, err, Reason.PLACEMENT, permanent=True)
    context.store.update_attempt(attempt, handle=to_json(handle), trouble=None)
    return AGAIN_S


def _trouble(context: RunContext, seen: Seen, err: LaunchError, reason: Reason, *, permanent: bool) -> float:
    words = f"{err.message}" + (f" ({err.hint})" if err.hint else "")
    context.report(Kind.WARNING, words, error=err.code)
    trouble = Trouble(reason=reason, words=words, permanent=permanent)
    context.store.update_attempt(seen.attempt, trouble=to_json(trouble))
    return AGAIN_S


def _save(context: RunContext, seen: Seen, action: Save) -> float:
    assert seen.runner is not None and seen.handle is not None
    context.move(RunState.STOPPING, f"{action.words}: the job saves", code=action.reason)
    seen.runner.signal(seen.handle, Signal.SAVE, cause=action.cause)
    context.store.update_attempt(seen.attempt, asked_at=context.clock())
    context.report(
        Kind.SIGNAL, "the job was asked to save and leave", signal="TERM", cause=action.cause.value
    )
    return 0.3


def _kill(context: RunContext, seen: Seen, _: Kill) -> float:
    assert seen.runner is not None and seen.handle is not None
    seen.runner.signal(seen.handle, Signal.KILL)
    context.report(Kind.SIGNAL, "the job was killed", signal="KILL")
    return 1.0


def _restart_here(context: RunContext, seen: Seen, action: RestartHere) -> float:
    assert seen.runner is not None and seen.handle is not None
    _interrupted(context, action.words, action.reason)
    seen.runner.end(seen.handle)
    context.move(RunState.RECOVERING, "starting the job again on the same machine", code=action.reason)
    now = context.clock()
    context.store.update_attempt(
        seen.attempt,
        errors=seen.attempt.errors + int(action.count_as_error),
        starts=seen.attempt.starts + 1,
        step_at_start=context.run.step,
        handle=None,
        progress=None,
        has_run=False,
        asked_at=None,
        not_before=now + timedelta(seconds=action.after_s) if action.after_s else None,
    )
    return action.after_s


def _start_machine(context: RunContext, seen: Seen, _: StartMachine) -> float:
    ref = InstanceRef.parse(seen.row.ref)
    provider = context.provider(ref.provider)
    if not isinstance(provider, Parkable):
        return _end_machine(context, seen, EndMachine(words="", fetch_first=False))
    _interrupted(context, "the provider stopped the machine", Reason.INSTANCE_STOPPED)
    context.move(RunState.RECOVERING, "starting the stopped machine again", code=Reason.INSTANCE_STOPPED)
    try:
        provider.unpark(ref, seen.situation.deadlines.hard)
    except NoCapacity as err:
        context.report(Kind.WARNING, f"it cannot be started again: {err}")
        return _end_machine(context, seen, EndMachine(words="", fetch_first=False))
    context.store.update_attempt(seen.attempt, reached_at=None, silence={})
    return 2.0


def _end_machine(context: RunContext, seen: Seen, action: EndMachine) -> float:
    """End the machine; what it holds comes home first, as far as there is time."""
    if RunState(context.run.state) not in (RunState.STOPPING, RunState.PULLING):
        _interrupted(context, action.words, action.reason)
    if action.fetch_first and not seen.attempt.fetched:
        problem = bring_home(context, seen)
        if problem is not None and context.store.run(context.run_id).reason != problem:
            context.report(Kind.WARNING, f"before the machine ends: {problem}")
    now = context.clock()
    attempt = context.attempt
    assert attempt is not None
    if attempt.ending_at is None:
        context.store.update_attempt(attempt, ending_at=now, ending_code=action.reason.value)
    end_instances(context, attempt=attempt.n)
    return 0.5


def _new_attempt(context: RunContext, seen: Seen, action: NewAttempt) -> float:
    """Go on elsewhere, or on the same computer where it is only claimed."""
    _interrupted(context, action.words, action.reason)
    if seen.situation.machine.claimed:
        bring_home(context, seen)
        if seen.runner is not None and seen.handle is not None:
            seen.runner.end(seen.handle)
        if not end_instances(context, attempt=seen.attempt.n):
            return 1.0
    attempt = context.attempt
    assert attempt is not None
    close_attempt(context, attempt, action.reason.value, action.words)
    context.move(RunState.RECOVERING, action.words, code=action.reason)
    helped = seen.situation.machine_helped
    begin_attempt(
        context,
        after_s=action.after_s,
        avoid_place=action.avoid_place,
        fruitless=0 if helped else seen.attempt.fruitless + 1,
    )
    return action.after_s


def _finish(context: RunContext, _: Seen, action: Finish) -> float:
    decide_end(context, action)
    return AGAIN_S


def _interrupted(context: RunContext, words: str, reason: Reason) -> None:
    if RunState(context.run.state) not in (RunState.INTERRUPTED, RunState.RECOVERING):
        context.move(RunState.INTERRUPTED, words, code=reason)


_HANDLERS: dict[type, Callable[..., float]] = {
    Proceed: _proceed,
    Save: _save,
    Kill: _kill,
    RestartHere: _restart_here,
    StartMachine: _start_machine,
    EndMachine: _end_machine,
    NewAttempt: _new_attempt,
    Finish: _finish,
}
