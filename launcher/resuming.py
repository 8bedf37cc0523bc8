"""Making an ended run go on: its limits, its secrets, its place, and the disk that was kept for it."""

from __future__ import annotations

import dataclasses
from typing import Any

from launcher.errors import OverBudget, UsageError, WrongState
from launcher.events import Kind
from launcher.job.variables import resolve_variables
from launcher.kept_disk import KeptDisks
from launcher.orchestrate.budget import spent_now
from launcher.orchestrate.candidates import furthest_step
from launcher.orchestrate.context import RunContext
from launcher.planning.preparation import prepare
from launcher.policy.limits import Limits, raise_max_cost
from launcher.policy.stages import StageRecord, is_over, to_redo
from launcher.policy.states import RunState
from launcher.quantities import duration
from launcher.records import to_json
from launcher.secrets import write_secrets
from launcher.store import AttemptRow

__all__ = ["kept_machine", "resume"]


def resume(
    context: RunContext,
    *,
    max_cost: str | float | None = None,
    max_duration_s: float | None = None,
    **place: Any,
) -> None:
    """Make an ended run live again; nothing is rented yet. ``place``: options of `launcher.prepare` that say where.

    Raises:
        WrongState: it has not ended, or it succeeded.
        OverBudget: the limits leave nothing to go on with.
        JobFileError: a secret has no value in the environment any more.
        NameTaken: another live run has its name.
        NothingToRent, CloudError: with ``place``: nothing there fits.
        MayStillBeRunning: the machine that was kept could not be parked before it goes on.
    """
    _require_resumable(context)
    if not context.paths.snapshot.exists():
        raise WrongState(
            f"the code of {context.run_id} is no longer kept here: `launch gc` was told to remove it",
            hint="launch the job anew",
        )
    limits = _limits(context, max_cost, max_duration_s)
    variables = resolve_variables(context.job, context.environ)
    for problem in variables.missing:
        if problem.path[:1] == ("secrets",):  # the record never held it
            raise problem
    changes: dict[str, Any] = {"limits": to_json(limits)}
    place = {name: value for name, value in place.items() if value is not None}
    kept = kept_machine(context)
    if place:
        if kept is not None:
            raise UsageError(
                f"the disk of {context.run_id} is kept on its machine: it goes on there",
                hint=f"`launch pull {context.run_id}`, then `launch down {context.run_id}` to go on elsewhere",
            )
        prepared = prepare(context.job, out=context.plan.out, environ=context.environ, **place)
        prepared.require_consent()
        changes["plan"] = prepared.plan.to_json()
    KeptDisks(context).settle()  # a pull that was killed may have left it running, with a deadline of its own
    write_secrets(context.paths.secrets, variables.secrets)
    with context.store.together():
        _require_resumable(context)  # nobody was faster
        words = "resumed on request"
        context.store.revive_run(
            context.run_id,
            context.clock(),
            state=RunState.RECOVERING.value,
            reason=words,
            reason_code="",
            exit_code=None,
            stages={name: to_json(record) for name, record in _to_redo(context).items()},
            **changes,
        )
        if kept is not None:
            _reopen(context, kept)
        data = {"state": RunState.RECOVERING.value, "reason": words, "code": ""}
        context.report(Kind.STATE, f"{RunState.RECOVERING.value}: {words}", **data)


def _to_redo(context: RunContext) -> dict[str, StageRecord]:
    """The records that the stages go on with; of what has been at work before, a person has decided that it goes on."""
    if not context.job.stages:
        return {}
    records = to_redo(context.job.every_stage, context.stage_records)
    begun = {row.stage for row in context.attempts if row.progress is not None or row.starts > 1}
    again = {
        name: dataclasses.replace(records.get(name, StageRecord()), resumed=True)
        for name in begun
        if not is_over(name, records)
    }
    return {**records, **again}


def kept_machine(context: RunContext) -> AttemptRow | None:
    """Return the attempt whose machine an ended run has left with its disk; None when there is none."""
    attempt = context.attempt
    row = None if attempt is None else context.machine_of(attempt)
    return attempt if row is not None and row.ended_at is None else None


def _require_resumable(context: RunContext) -> None:
    run = context.store.run(context.run_id)
    state = RunState(run.state)
    if not state.is_resumable:
        words = "has not ended" if state.is_live else "succeeded: there is nothing to go on with"
        raise WrongState(f"{run.run_id} {words}", hint=f"`launch status {run.run_id}`")


def _reopen(context: RunContext, attempt: AttemptRow) -> None:
    """Go on with the same machine: its disk holds the newest work. The next look starts it.

    Where the stage that ran there last is done, the next one begins there; else that stage gets a new start.
    """
    anew: dict[str, Any] = {}
    if not is_over(attempt.stage, _to_redo(context)):
        anew = {
            "starts": attempt.starts + 1,
            "errors": 0,
            "step_at_start": furthest_step(context),
            "progress": None,
            "has_run": False,
        }
    context.update_attempt(
        attempt,
        ended_at=None,
        cause="",
        reason="",
        asked_at=None,
        given_up="",
        ending_at=None,
        ending_code="",
        trouble=None,
        silence={},
        not_before=None,
        **anew,
    )


def _limits(context: RunContext, max_cost: str | float | None, max_duration_s: float | None) -> Limits:
    """Return the limits from now on; a default limit on time that is mostly used up grows by as much again."""
    limits, spent = context.limits, spent_now(context)
    limits = raise_max_cost(limits, None if max_cost is None else str(max_cost), spent, run_id=context.run_id)
    if max_duration_s is not None:  # a new limit on time takes the place of an old date too
        limits = dataclasses.replace(
            limits, max_duration_s=max_duration_s, duration_is_default=False, until=None
        )
    elif limits.duration_is_default and spent.seconds >= 0.5 * limits.max_duration_s:
        limits = dataclasses.replace(limits, max_duration_s=limits.max_duration_s + spent.seconds)
    if limits.until is not None and limits.until <= context.clock():
        raise OverBudget(
            f"the run was to end by {limits.until:%Y-%m-%d %H:%M} UTC, which has passed",
            left_behind="the run stays as it is",
            hint=f"launch resume {context.run_id} --max-duration 2h gives it a limit of another kind",
        )
    if spent.seconds >= limits.max_duration_s:
        raise OverBudget(
            f"the run has used {duration(spent.seconds)} and its limit is {duration(limits.max_duration_s)}",
            left_behind="the run stays as it is",
            hint=f"launch resume {context.run_id} --max-duration 2h gives it a new limit",
        )
    return limits
