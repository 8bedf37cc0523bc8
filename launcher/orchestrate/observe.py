"""One look at a run: what the provider says of the machine, what the machine says of the job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from launcher.connect import runner_for
from launcher.errors import MachineError
from launcher.events import Kind
from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.rent import look
from launcher.records import from_json, to_json
from launcher.runners.base import Handle, Progress, Runner
from launcher.silence import Silence
from launcher.situation import Machine, Past, Policy, Situation, Trouble, Wish
from launcher.states import Reason
from launcher.store import AttemptRow, InstanceRow, Intent, RunRow
from provisioning import Instance, InstanceState, Transient
from provisioning.registry import provider_class
from trainer.contract import Phase

__all__ = ["Seen", "observe"]

PROVIDER_LOOK_S = 15.0
"""How old the provider's word may be while the machine answers; clouds limit how often they are asked."""


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
        """The present start of the job, if it has been submitted."""
        return None if self.attempt.handle is None else from_json(Handle, self.attempt.handle)


def observe(context: RunContext, attempt: AttemptRow, known: Instance | None, policy: Policy) -> Seen:
    """Look at the machine and the job of an attempt and note what was seen."""
    row = [item for item in context.store.instances(context.run_id) if item.attempt == attempt.n][-1]
    instance = known if _is_fresh(context, known, row) else _ask_provider(context, row)
    answered, runner, progress = _ask_machine(attempt, instance)
    if not answered and instance is known:
        instance = _ask_provider(context, row)
    attempt = _note(context, attempt, progress, answered=answered, provider_answered=instance is not None)
    return Seen(
        situation=_situation(context, attempt, row, instance, progress, policy, answered=answered),
        attempt=attempt,
        row=row,
        instance=instance,
        runner=runner,
    )


def _is_fresh(context: RunContext, instance: Instance | None, row: InstanceRow) -> bool:
    if instance is None or str(instance.ref) != row.ref or instance.access is None:
        return False
    if instance.state is not InstanceState.RUNNING:
        return False
    look_s = PROVIDER_LOOK_S if provider_class(instance.ref.provider).capabilities.bills else 1.0
    return context.clock() - instance.seen_at < timedelta(seconds=look_s)


def _ask_provider(context: RunContext, row: InstanceRow) -> Instance | None:
    try:
        return look(context, row)
    except Transient:
        return None


def _ask_machine(
    attempt: AttemptRow, instance: Instance | None
) -> tuple[bool, Runner | None, Progress | None]:
    """Return whether the machine answered, the way to it, and the newest known progress of the present start."""
    last = None if attempt.progress is None else from_json(Progress, attempt.progress)
    if instance is None or instance.state is not InstanceState.RUNNING or instance.access is None:
        return False, None, last
    runner = runner_for(instance)
    if attempt.handle is None:
        return True, runner, None
    try:
        return True, runner, runner.poll(from_json(Handle, attempt.handle))
    except MachineError:
        return False, None, last


def _note(
    context: RunContext,
    attempt: AttemptRow,
    progress: Progress | None,
    *,
    answered: bool,
    provider_answered: bool,
) -> AttemptRow:
    """Write down what was seen, and say what is new."""
    now = context.clock()
    silence = from_json(Silence, attempt.silence).after(
        now, machine_answered=answered, provider_answered=provider_answered
    )
    changes: dict[str, Any] = {}
    if silence != from_json(Silence, attempt.silence):
        changes["silence"] = to_json(silence)
    if answered and (attempt.reached_at is None or now - attempt.reached_at > timedelta(seconds=30)):
        changes["reached_at"] = now
    if answered and progress is not None:
        changes |= _progress_changes(context, attempt, progress)
        context.store.update_run(context.run_id, **_run_changes(context.run, progress))
    return context.store.update_attempt(attempt, **changes) if changes else attempt


def _progress_changes(context: RunContext, attempt: AttemptRow, progress: Progress) -> dict[str, Any]:
    before = None if attempt.progress is None else from_json(Progress, attempt.progress)
    changes: dict[str, Any] = {}
    if before is None or replace(before, seen_at=progress.seen_at, heartbeat=progress.heartbeat) != progress:
        changes["progress"] = to_json(progress)
    if progress.phase is Phase.RUNNING and not attempt.has_run:
        changes["has_run"] = True
    if progress.step is not None and progress.step != attempt.step_last:
        changes["step_last"] = progress.step
        if before is None or before.step is None:
            _note_lost_steps(context, attempt, progress.step)
    _tell(context, before, progress)
    return changes


def _note_lost_steps(context: RunContext, attempt: AttemptRow, first_step: int) -> None:
    """The first step of a start tells how many steps of the start before it have to be done again."""
    lost = max(0, (attempt.step_at_start or 0) - first_step)
    if not lost:
        return
    earlier = [row for row in context.store.attempts(context.run_id) if row.n < attempt.n]
    loser = attempt if attempt.starts > 1 or not earlier else earlier[-1]
    context.store.update_attempt(loser, steps_lost=loser.steps_lost + lost)


def _tell(context: RunContext, before: Progress | None, progress: Progress) -> None:
    known = {entry.name for entry in before.checkpoints} if before else set()
    for entry in progress.checkpoints:
        if entry.name not in known:
            context.report(
                Kind.CHECKPOINT,
                f"checkpoint {entry.name} is complete on the machine",
                name=entry.name,
                where="machine",
                bytes=entry.size_bytes,
            )
    if progress.step is not None and (before is None or progress.step != before.step):
        total = f" of {progress.total}" if progress.total else ""
        context.report(
            Kind.PROGRESS,
            f"step {progress.step}{total}",
            step=progress.step,
            total=progress.total,
            steps_per_s=progress.steps_per_s,
            metrics=dict(progress.metrics),
        )
    if before is None and progress.resumed_from:
        context.report(
            Kind.DECISION,
            f"goes on from checkpoint {progress.resumed_from}",
            checkpoint=progress.resumed_from,
        )
    if progress.reason and (before is None or progress.reason != before.reason):
        context.report(Kind.WARNING if progress.phase is not Phase.ENDED else Kind.ENDED, progress.reason)


def _run_changes(run: RunRow, progress: Progress) -> dict[str, Any]:
    changes: dict[str, Any] = {"looked_at": progress.seen_at}
    if progress.step is not None:
        changes |= {"step": progress.step, "total": progress.total, "steps_per_s": progress.steps_per_s}
    if progress.metrics:
        changes["metrics"] = {**run.metrics, **progress.metrics}
    if progress.phase is Phase.RUNNING and run.working_since is None:
        changes["working_since"] = progress.seen_at
    if progress.phase is Phase.ENDED:
        changes["exit_code"] = progress.exit_code
    return changes


def _situation(
    context: RunContext,
    attempt: AttemptRow,
    row: InstanceRow,
    instance: Instance | None,
    progress: Progress | None,
    policy: Policy,
    *,
    answered: bool,
) -> Situation:
    run, now = context.run, context.clock()
    return Situation(
        now=now,
        machine=_machine(context, attempt, row, instance, answered=answered),
        progress=progress,
        deadlines=deadlines_now(context),
        past=_past(context, attempt, progress),
        wish=Wish(
            stop=run.intent is not Intent.NONE,
            discard=bool(run.intent_options.get("discard")),
            keep_disk=bool(run.intent_options.get("keep_disk")),
        ),
        policy=policy,
        trouble=None if attempt.trouble is None else from_json(Trouble, attempt.trouble),
        outputs_home=attempt.fetched,
    )


def _machine(
    context: RunContext, attempt: AttemptRow, row: InstanceRow, instance: Instance | None, *, answered: bool
) -> Machine:
    now = context.clock()
    capabilities = provider_class(row.ref.split("/", 1)[0]).capabilities
    silent_s = from_json(Silence, attempt.silence).seconds
    if attempt.reached_at is None:
        silent_s = (now - row.created_at).total_seconds()
    return Machine(
        state=instance.state if instance is not None else None,
        reachable=answered,
        was_reached=attempt.reached_at is not None,
        silent_s=max(0.0, silent_s),
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
    return Past(
        starts=max(1, attempt.starts),
        errors=sum(item.errors for item in context.store.attempts(context.run_id)),
        fruitless=attempt.fruitless,
        step_at_start=attempt.step_at_start,
        step_at_attempt=attempt.step_at_attempt,
        saved=newest is not None and progress is not None and newest != progress.resumed_from,
        asked_s=asked_s,
        in_setup=not attempt.has_run and context.job.every_stage[0].setup is not None,
    )
