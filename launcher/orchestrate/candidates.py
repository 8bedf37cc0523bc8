"""Which offer comes next: the plan's candidates in order, the ones that failed us last; and for how long we ask."""

from __future__ import annotations

from datetime import timedelta

from launcher.errors import LaunchError
from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.planning.preparation import plan_again
from launcher.policy.stages import can_be_spared
from launcher.policy.states import Reason
from launcher.records import to_json
from launcher.store import AttemptRow
from provisioning import CloudError, Offer

__all__ = [
    "CAPACITY_PATIENCE",
    "LONGEST_PAUSE_S",
    "agreed_usd_per_hour",
    "begin_attempt",
    "furthest_step",
    "next_candidate",
    "offer_elsewhere",
    "others_could_work",
    "patience",
    "pause_between_rounds_s",
    "renew_candidates",
]

UNFIT = frozenset({Reason.PLACEMENT.value, Reason.NO_BOOT.value})
"""Causes of an attempt's end that speak against its machine."""
CAPACITY_PATIENCE = timedelta(hours=24)
"""For how long a run that was interrupted waits for a machine; waiting costs nothing."""
OTHERS_WAIT = timedelta(minutes=15)
"""The same for a stage that has not been at work, while others could be."""
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 600.0
"""No back-off is longer, `launcher.policy.situation.Policy.backoff_max_s` included."""


def agreed_usd_per_hour(context: RunContext, attempt: AttemptRow, offer: Offer) -> float:
    """What may be paid per hour in place of an offer: its price, or the limit of the job, or that of the stage if lower."""
    limit = context.limits.max_usd_per_hour
    if context.job.stages:
        own = context.job_of(attempt).resources.max_hourly_cost
        limit = own if limit is None or own is None else min(limit, own)
    return max(offer.usd_per_hour, limit or 0.0)


def begin_attempt(
    context: RunContext, *, after_s: float = 0.0, avoid_place: bool = False, fruitless: int = 0
) -> AttemptRow:
    """Write the next attempt of the run down; nothing is rented yet."""
    run, last, stage = context.run, context.attempt, context.stage.name
    candidates = context.plan.candidates
    is_new = last is None or last.stage != stage
    chosen = 0 if last is None or is_new else last.candidate % len(candidates)
    if avoid_place and not is_new:
        chosen = _after(context, chosen)
    furthest = furthest_step(context)
    return context.add_attempt(
        AttemptRow(
            run_id=run.run_id,
            stage=stage,
            n=last.n + 1 if last is not None else 1,
            candidate=chosen,
            offer=to_json(candidates[chosen]),
            started_at=context.clock(),
            fruitless=fruitless,
            step_at_attempt=furthest,
            step_at_start=furthest,
            not_before=context.clock() + timedelta(seconds=after_s) if after_s else None,
        )
    )


def furthest_step(context: RunContext) -> int | None:
    """Return how far the present stage of the job has ever come; None when it never said."""
    rows = [row for row in context.attempts if row.stage == context.stage.name]
    steps = [step for row in rows for step in (row.step_at_start, row.step_last) if step is not None]
    return max(steps, default=None)


def offer_elsewhere(context: RunContext, attempt: AttemptRow) -> AttemptRow | None:
    """Point an attempt that has no machine yet at the next candidate; None when all were asked in this round."""
    candidates = context.plan.candidates
    asked = _asked(context, attempt)
    chosen = _after(context, attempt.candidate)
    attempt = context.update_attempt(attempt, candidate=chosen, offer=to_json(candidates[chosen]))
    return None if asked % len(candidates) == 0 else attempt


def renew_candidates(context: RunContext, attempt: AttemptRow) -> AttemptRow | None:
    """Look at the market again when every candidate has refused, and point the attempt at the first of what is new.

    Only where offers are good once (`Offer.offer_id`): elsewhere the same places are asked again later. What would be
    rented unasked never costs more than was agreed. None when there is nothing new.
    """
    plan = context.plan
    if not any(offer.offer_id for offer in plan.candidates):
        return None
    try:
        found = plan_again(
            context.job_of(attempt),
            store=context.store,
            home=context.home,
            environ=context.environ,
            stage=attempt.stage if context.job.stages else "",
        )
    except (CloudError, LaunchError) as err:
        context.complain("market", f"the market could not be looked at again: {err}")
        return None
    agreed = agreed_usd_per_hour(context, attempt, plan.offer)
    unfit = _unfit_places(context)
    fresh = [
        offer
        for offer in found.candidates
        if offer.usd_per_hour <= agreed and (offer.provider, offer.location) not in unfit
    ]
    if not fresh:
        return None
    context.memory.renewed_at = context.clock()
    context.update_run(plan=context.whole_plan.with_candidates(attempt.stage, fresh).to_json())
    context.memory.plan = None
    words = f"all offers of the plan are gone; others on the market, within what was agreed: {len(fresh)}"
    context.report(Kind.DECISION, words, action="renew_candidates")
    return context.update_attempt(attempt, candidate=0, offer=to_json(fresh[0]))


def others_could_work(context: RunContext, attempt: AttemptRow) -> bool:
    """Whether other stages of the run could be at work if an attempt's stage had failed."""
    stages = context.job.every_stage
    return bool(context.job.stages) and can_be_spared(stages, context.stage_records, attempt.stage)


def patience(context: RunContext, attempt: AttemptRow) -> timedelta:
    """Return for how long a machine is asked for, once the run has been at work."""
    was_at_work = any(row.progress is not None for row in context.of_the_same_stage(attempt))
    return CAPACITY_PATIENCE if was_at_work or not others_could_work(context, attempt) else OTHERS_WAIT


def pause_between_rounds_s(context: RunContext, attempt: AttemptRow) -> float:
    """Return how long to wait before all candidates are asked once more."""
    rounds = _asked(context, attempt) // len(context.plan.candidates)
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(max(0, rounds - 1), 16)))


def next_candidate(count: int, present: int) -> int:
    """Return the index after ``present``, starting over at the end."""
    return (present + 1) % count


def _asked(context: RunContext, attempt: AttemptRow) -> int:
    """How often the present candidates were asked for this attempt."""
    since = context.memory.renewed_at
    tries = context.store.tries(context.run_id, attempt.n)
    return len([row for row in tries if since is None or row.asked_at >= since])


def _after(context: RunContext, present: int) -> int:
    """Return the candidate after ``present`` that has not proved unfit; just the next one when all have."""
    candidates, unfit = context.plan.candidates, _unfit_places(context)
    count = len(candidates)
    others = [(present + step) % count for step in range(1, count + 1)]
    fit = [n for n in others if (candidates[n].provider, candidates[n].location) not in unfit]
    return fit[0] if fit else next_candidate(count, present)


def _unfit_places(context: RunContext) -> set[tuple[str, str]]:
    """Single machines of a marketplace that did not come up for this run, or were not what they should be."""
    ended = [context.offer_of(row) for row in context.attempts if row.cause in UNFIT]
    return {(offer.provider, offer.location) for offer in ended if offer.offer_id}
