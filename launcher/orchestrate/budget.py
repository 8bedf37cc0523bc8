"""What a run has used so far and when it has to be over, from the record and the prices stored in it."""

from __future__ import annotations

from datetime import datetime

from launcher.events import Kind
from launcher.limits import LimitWarning, Spent, deadlines_of, forecast_usd, new_warnings
from launcher.money import interval_s, spent_usd
from launcher.orchestrate.context import RunContext
from launcher.records import from_json
from launcher.situation import Deadlines
from launcher.store import AttemptRow, InstanceRow
from provisioning import Offer

__all__ = ["cost_of_attempt", "deadlines_now", "spent_now", "warn_about_limits"]

SAVE_S = 30.0
PULL_S = 60.0
"""Kept back before the hard deadline for saving and bringing home, until measured ones are known."""


def spent_now(context: RunContext) -> Spent:
    """Return rented seconds and dollars of all attempts up to now."""
    now = context.clock()
    rows = context.store.instances(context.run_id)
    return Spent(
        usd=sum(_cost(context, row, now) for row in rows),
        seconds=sum(interval_s(row.created_at, row.ended_at or now) for row in rows),
    )


def cost_of_attempt(context: RunContext, attempt: AttemptRow) -> float:
    """Return what an attempt's machines have cost up to now, in USD."""
    now = context.clock()
    rows = [row for row in context.store.instances(context.run_id) if row.attempt == attempt.n]
    return sum(_cost(context, row, now) for row in rows)


def deadlines_now(context: RunContext, offer: Offer | None = None) -> Deadlines:
    """Return when the present machine, or one that is about to be rented as ``offer``, has to be over."""
    if offer is None:
        attempt = context.attempt
        offer = context.offer_of(attempt) if attempt is not None else context.plan.candidates[0]
    return deadlines_of(
        context.limits,
        offer,
        now=context.clock(),
        spent=spent_now(context),
        disk_gib=context.plan.disk_gib,
        save_s=SAVE_S,
        pull_s=PULL_S,
    )


def warn_about_limits(context: RunContext, said: set[LimitWarning]) -> None:
    """Say once each when half and most of the money or time is used, and when the forecast breaks a limit."""
    run, attempt = context.run, context.attempt
    if attempt is None:
        return
    spent = spent_now(context)
    remaining_s = None
    if run.step is not None and run.total and run.steps_per_s:
        remaining_s = max(0.0, (run.total - run.step) / run.steps_per_s)
    forecast = None
    if remaining_s is not None:
        forecast = forecast_usd(
            context.offer_of(attempt), spent, remaining_s=remaining_s, disk_gib=context.plan.disk_gib
        )
    due = new_warnings(context.limits, spent, forecast_usd=forecast, remaining_s=remaining_s, said=said)
    for warning, words in due.items():
        said.add(warning)
        context.report(Kind.WARNING, words, limit=warning.value)


def _cost(context: RunContext, row: InstanceRow, now: datetime) -> float:
    offer = from_json(Offer, row.offer)
    return spent_usd(offer, row.created_at, row.ended_at or now, disk_gib=context.plan.disk_gib)
