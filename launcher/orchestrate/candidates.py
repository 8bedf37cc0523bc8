"""Which offer comes next: the plan's candidates in order, the ones that failed us last."""

from __future__ import annotations

from datetime import timedelta

from launcher.orchestrate.context import RunContext
from launcher.records import to_json
from launcher.store import AttemptRow

__all__ = ["begin_attempt", "next_candidate", "try_next_candidate"]


def begin_attempt(
    context: RunContext, *, after_s: float = 0.0, avoid_place: bool = False, fruitless: int = 0
) -> AttemptRow:
    """Write the next attempt of the run down; nothing is rented yet."""
    run, attempts = context.run, context.store.attempts(context.run_id)
    candidates = context.plan.candidates
    last = attempts[-1] if attempts else None
    chosen = 0 if last is None else last.candidate % len(candidates)
    if avoid_place and last is not None:
        chosen = next_candidate(len(candidates), chosen)
    row = AttemptRow(
        run_id=run.run_id,
        stage=context.job.every_stage[0].name,
        n=last.n + 1 if last is not None else 1,
        candidate=chosen,
        offer=to_json(candidates[chosen]),
        started_at=context.clock(),
        fruitless=fruitless,
        step_at_attempt=run.step,
        step_at_start=run.step,
        not_before=context.clock() + timedelta(seconds=after_s) if after_s else None,
    )
    context.store.put(row)
    return row


def try_next_candidate(context: RunContext, attempt: AttemptRow) -> AttemptRow | None:
    """Point an attempt that has no machine yet at the next candidate; None when all have been asked."""
    asked = len(context.store.tries(context.run_id, attempt.n))
    candidates = context.plan.candidates
    if asked >= len(candidates):
        return None
    chosen = next_candidate(len(candidates), attempt.candidate)
    return context.store.update_attempt(attempt, candidate=chosen, offer=to_json(candidates[chosen]))


def next_candidate(count: int, present: int) -> int:
    """Return the index after ``present``, starting over at the end."""
    return (present + 1) % count
