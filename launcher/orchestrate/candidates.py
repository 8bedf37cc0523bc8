"""Which offer comes next: the plan's candidates in order, the ones that failed us last; and for how long we ask."""

from __future__ import annotations

from datetime import timedelta

from launcher.orchestrate.context import RunContext
from launcher.records import to_json
from launcher.store import AttemptRow

__all__ = [
    "CAPACITY_PATIENCE",
    "LONGEST_PAUSE_S",
    "begin_attempt",
    "furthest_step",
    "next_candidate",
    "offer_elsewhere",
    "pause_between_rounds_s",
]

CAPACITY_PATIENCE = timedelta(hours=24)
"""For how long a run that was interrupted waits for a machine; waiting costs nothing."""
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 600.0
"""No back-off is longer, `launcher.policy.situation.Policy.backoff_max_s` included."""


def begin_attempt(
    context: RunContext, *, after_s: float = 0.0, avoid_place: bool = False, fruitless: int = 0
) -> AttemptRow:
    """Write the next attempt of the run down; nothing is rented yet."""
    run, last = context.run, context.attempt
    candidates = context.plan.candidates
    chosen = 0 if last is None else last.candidate % len(candidates)
    if avoid_place and last is not None:
        chosen = next_candidate(len(candidates), chosen)
    furthest = furthest_step(context)
    return context.add_attempt(
        AttemptRow(
            run_id=run.run_id,
            stage=context.job.every_stage[0].name,
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
    """Return how far the job has ever come; None when it never said."""
    steps = [
        step for row in context.attempts for step in (row.step_at_start, row.step_last) if step is not None
    ]
    return max(steps, default=None)


def offer_elsewhere(context: RunContext, attempt: AttemptRow) -> AttemptRow | None:
    """Point an attempt that has no machine yet at the next candidate; None when all were asked in this round."""
    candidates = context.plan.candidates
    asked = len(context.store.tries(context.run_id, attempt.n))
    chosen = next_candidate(len(candidates), attempt.candidate)
    attempt = context.update_attempt(attempt, candidate=chosen, offer=to_json(candidates[chosen]))
    return None if asked % len(candidates) == 0 else attempt


def pause_between_rounds_s(context: RunContext, attempt: AttemptRow) -> float:
    """Return how long to wait before all candidates are asked once more."""
    rounds = len(context.store.tries(context.run_id, attempt.n)) // len(context.plan.candidates)
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(max(0, rounds - 1), 16)))


def next_candidate(count: int, present: int) -> int:
    """Return the index after ``present``, starting over at the end."""
    return (present + 1) % count
