"""One look at a run: what the provider says of the machine, what the machine says of the job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from launcher.connect import runner_for
from launcher.errors import MachineError, MachineRefused
from launcher.judging import hopeless
from launcher.orchestrate.budget import deadlines_now, reserve_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.machines import look
from launcher.orchestrate.progress import follow_progress
from launcher.orchestrate.pushed import pushed_runner
from launcher.policy.silence import Silence
from launcher.policy.situation import Deadlines, Machine, Past, Policy, Situation, Trouble, Wish
from launcher.policy.states import Reason
from launcher.quantities import duration
from launcher.records import from_json, to_json
from launcher.runners.base import Handle, Progress, Runner
from launcher.store import AttemptRow, InstanceRow, Intent
from provisioning import CloudError, Instance, InstanceRef, InstanceState
from provisioning.registry import provider_class
from trainer.contract import Phase

__all__ = ["Seen", "observe"]

PROVIDER_LOOK_S = 15.0
"""How old the provider's word may be while the machine answers; clouds limit how often they are asked."""
FREE_LOOK_S = 1.0
"""The same where asking is a look into a file of ours."""
ASK_AGAIN_S = 5.0
"""After a question that the provider did not answer."""
REACHED_EVERY_S = 30.0
CLOCKS_AGREE = timedelta(minutes=5)
HEARTBEAT_IS_NEW_S = 60.0
"""A watchdog writes one every ten seconds; one that stands still says nothing about the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look has shown, and what it takes to act on it."""

    situation: Situation
    attempt: AttemptRow
    row: InstanceRow
    instance: Instance | None
    runner: Runner | None
    """None while the machine cannot be reached."""

    @property
    def handle(self) -> Handle | None:
        """The newest start that was submitted to this machine; None when none was."""
        return None if self.attempt.handle is None else from_json(Handle, self.attempt.handle)


def observe(context: RunContext, attempt: AttemptRow, policy: Policy) -> Seen:
    """Look at the machine and the job of an attempt and note what was seen."""
    row = context.machine_of(attempt)
    assert row is not None
    known = context.memory.instance
    if known is not None and str(known.ref) != row.ref:
        known = None
    told = (
        known if _is_fresh(context, known) and not context.memory.is_doubtful else _ask_provider(context, row)
    )
    instance = told or known  # the way to the machine stays known while its provider cannot be asked
    answered, runner, progress = _ask_machine(context, attempt, instance)
    if not answered and told is not None and told is known:
        told = _ask_provider(context, row)
        instance = told or known
    context.memory.instance = instance
    if answered:
        _compare_clocks(context, progress)
    with context.store.together():
        attempt = _note(context, attempt, progress, answered=answered, provider_answered=told is not None)
    row = context.machine_of(attempt) or row
    state = None if told is None else told.state
    return Seen(
        situation=_situation(context, attempt, row, state, progress, policy, answered=answered),
        attempt=attempt,
        row=row,
        instance=instance,
        runner=runner if answered else None,
    )


def _is_fresh(context: RunContext, instance: Instance | None) -> bool:
    if instance is None or instance.access is None or instance.state is not InstanceState.RUNNING:
        return False
    look_s = PROVIDER_LOOK_S if provider_class(instance.ref.provider).capabilities.bills else FREE_LOOK_S
    age = context.clock() - instance.seen_at
    return timedelta(0) <= age < timedelta(seconds=look_s)


def _ask_provider(context: RunContext, row: InstanceRow) -> Instance | None:
    """Return the provider's word, None when it cannot be asked: no network, expired credentials, throttled."""
    now, memory = context.monotonic(), context.memory
    if memory.ask_again_at is not None and now < memory.ask_again_at:
        return None
    try:
        instance = look(context, row)
    except CloudError as err:
        hint = f" ({err.hint})" if err.hint else ""
        context.complain("look", f"{row.ref}: {err}{hint}", error=type(err).__name__)
        memory.providers.clear()
        pause_s = getattr(err, "retry_after_s", None) or ASK_AGAIN_S
        memory.ask_again_at = now + pause_s
        return None
    memory.ask_again_at, memory.is_doubtful = None, False
    context.is_well("look")
    return instance


def _ask_machine(
    context: RunContext, attempt: AttemptRow, instance: Instance | None
) -> tuple[bool, Runner | None, Progress | None]:
    """Return whether the machine answered, the way to it, and the newest known progress of the present start."""
    handle = None if attempt.handle is None else from_json(Handle, attempt.handle)
    submitted = handle is not None and handle.start == attempt.starts
    last = None if not submitted or attempt.progress is None else from_json(Progress, attempt.progress)
    if instance is None or instance.access is None or not _may_answer(instance, submitted):
        return _ask_bucket(context, attempt, instance, last)
    try:
        runner = runner_for(
            instance, ssh_folder=context.paths.ssh, environ=context.environ, report=context.report
        )
        return True, runner, runner.poll(handle) if handle is not None and submitted else None
    except MachineRefused as err:
        context.complain("access", f"{instance.ref}: {err}")
        return False, None, last
    except MachineError:
        return False, None, last


def _compare_clocks(context: RunContext, progress: Progress | None) -> None:
    """Find out whether the clock here was set wrong: nothing is to be ended by a clock that jumped."""
    memory = context.memory
    if progress is None or not progress.alive or progress.heartbeat is None:
        memory.heartbeat, memory.clocks_apart = None, timedelta(0)
        return
    known, now = memory.heartbeat, context.monotonic()
    if known is None or known[0] != progress.heartbeat:
        memory.heartbeat = (progress.heartbeat, now)
    beat, seen_at = memory.heartbeat or (progress.heartbeat, now)
    apart = context.clock() - beat - timedelta(seconds=now - seen_at)
    if abs(apart) < CLOCKS_AGREE or now - seen_at >= HEARTBEAT_IS_NEW_S:
        memory.clocks_apart = timedelta(0)
        context.is_well("clock")
        return
    memory.clocks_apart = apart
    if known is not None and known[0] != beat:
        way = "ahead of" if apart > timedelta(0) else "behind"
        words = f"the clock of this computer is {duration(abs(apart).total_seconds())} {way} the machine's"
        context.complain("clock", f"{words}: deadlines are kept by the machine's")


def _ask_bucket(
    context: RunContext, attempt: AttemptRow, instance: Instance | None, last: Progress | None
) -> tuple[bool, Runner | None, Progress | None]:
    """A machine that has ended may have left everything in a bucket: that answers for it."""
    try:
        runner = pushed_runner(context, attempt, instance)
        if runner is None or attempt.handle is None:
            return False, None, last
        return True, runner, runner.poll(from_json(Handle, attempt.handle))
    except (CloudError, MachineError, OSError) as err:
        context.complain("pushed", f"what the machine may have pushed cannot be read now: {err}")
        return False, None, last


def _may_answer(instance: Instance, submitted: bool) -> bool:
    """A machine that runs; and one of ours that was released: it is still there, with what was left on it."""
    if instance.state is InstanceState.RUNNING:
        return True
    is_claimed = provider_class(instance.ref.provider).capabilities.claimed
    return is_claimed and submitted and instance.state is InstanceState.TERMINATED


def _note(
    context: RunContext,
    attempt: AttemptRow,
    progress: Progress | None,
    *,
    answered: bool,
    provider_answered: bool,
) -> AttemptRow:
    """Write down what was seen, and say what is new; one write to the disk."""
    now = context.clock()
    changes: dict[str, Any] = {}
    if progress is not None or not answered:  # a machine that nothing was started on has not been asked
        known = from_json(Silence, attempt.silence)
        silence = known.after(now, machine_answered=answered, provider_answered=provider_answered)
        if silence != known:
            changes["silence"] = to_json(silence)
        is_old = attempt.reached_at is None or abs(now - attempt.reached_at) > timedelta(
            seconds=REACHED_EVERY_S
        )
        if answered and is_old:
            changes["reached_at"] = now
    for name in ("asked_at", "ending_at"):
        moment = getattr(attempt, name)
        if moment is not None and moment > now:  # the clock was set back: what is waited for starts again
            changes[name] = now
    if answered and progress is not None:
        changes |= follow_progress(context, attempt, progress)
    if answered or provider_answered:
        context.update_run(looked_at=now)
    return context.update_attempt(attempt, **changes) if changes else attempt


def _situation(
    context: RunContext,
    attempt: AttemptRow,
    row: InstanceRow,
    state: InstanceState | None,
    progress: Progress | None,
    policy: Policy,
    *,
    answered: bool,
) -> Situation:
    run = context.run
    return Situation(
        now=context.now,
        machine=_machine(context, attempt, row, state, answered=answered),
        progress=progress,
        deadlines=_deadlines(context),
        past=_past(context, attempt, progress),
        wish=Wish(
            stop=run.intent is not Intent.NONE,
            discard=bool(run.intent_options.get("discard")),
            keep_disk=bool(run.intent_options.get("keep_disk")),
            down=run.intent is Intent.DOWN,
        ),
        policy=policy,
        trouble=None if attempt.trouble is None else from_json(Trouble, attempt.trouble),
        hopeless=_hopeless(context, attempt, progress),
        outputs_home=attempt.fetched,
    )


def _hopeless(context: RunContext, attempt: AttemptRow, progress: Progress | None) -> str:
    """What has been given up stays given up, also when its last numbers are better."""
    if attempt.given_up or progress is None or progress.phase is not Phase.RUNNING:
        return attempt.given_up
    since = context.working_since(attempt)
    worked_s = None if since is None else (context.clock() - since).total_seconds()
    return hopeless(context.run, context.attempts, worked_s=worked_s)


def _deadlines(context: RunContext) -> Deadlines:
    """For a job that does not leave, the end comes early enough to bring home what it has saved."""
    deadlines = deadlines_now(context)
    kill_at = max(deadlines.soft, deadlines.hard - timedelta(seconds=reserve_now(context).pull_s))
    return Deadlines(soft=deadlines.soft, hard=kill_at, reason=deadlines.reason)


def _machine(
    context: RunContext,
    attempt: AttemptRow,
    row: InstanceRow,
    state: InstanceState | None,
    *,
    answered: bool,
) -> Machine:
    now = context.clock()
    capabilities = provider_class(InstanceRef.parse(row.ref).provider).capabilities
    return Machine(
        state=state,
        reachable=answered,
        was_reached=attempt.reached_at is not None,
        silent_s=from_json(Silence, attempt.silence).seconds,
        ending_s=None if attempt.ending_at is None else max(0.0, (now - attempt.ending_at).total_seconds()),
        ending_reason=Reason(attempt.ending_code),
        claimed=capabilities.claimed,
        can_start=capabilities.stop_start and attempt.ending_at is None,
    )


def _past(context: RunContext, attempt: AttemptRow, progress: Progress | None) -> Past:
    newest = progress.checkpoints[-1].name if progress is not None and progress.checkpoints else None
    asked_s = None
    if attempt.asked_at is not None:
        asked_s = max(0.0, (context.clock() - attempt.asked_at).total_seconds())
    resumed_at = context.run.resumed_at
    return Past(
        starts=max(1, attempt.starts),
        errors=sum(
            row.errors
            for row in context.of_the_same_stage(attempt)
            if resumed_at is None or row.started_at >= resumed_at or row.n == attempt.n
        ),
        fruitless=attempt.fruitless,
        step_at_start=attempt.step_at_start,
        step_at_attempt=attempt.step_at_attempt,
        saved=newest is not None and progress is not None and newest != progress.resumed_from,
        asked_s=asked_s,
        given_up=bool(attempt.given_up),
        in_setup=not attempt.has_run,
    )
