"""Who is told how far a transfer is, and may break it off: files move for hours, and a step of a run with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from launcher.events import Kind, keep_going, unreported
from launcher.orchestrate.budget import deadlines_now, reserve_now
from launcher.policy.states import RunState
from launcher.store import Intent

if TYPE_CHECKING:
    from launcher.events import Listen, Report
    from launcher.orchestrate.context import RunContext

__all__ = ["LAST_CHANCE", "NOBODY", "GaveWay", "Onlooker", "onlooker_of"]

LAST_CHANCE = timedelta(minutes=2)
"""Behind its hard deadline a machine that has not ended itself is ended from here: money wins."""


class GaveWay(Exception):
    """A transfer has ended for something that comes first; what has arrived stays, and the next one goes on from it."""


@dataclass(frozen=True, slots=True)
class Onlooker:
    """What a transfer is handed."""

    report: Report = unreported
    listen: Listen = keep_going


NOBODY = Onlooker()


def onlooker_of(context: RunContext) -> Onlooker:
    """Return ears for what the present step did not know when it decided: a person's new wish, a deadline that comes."""
    known = context.run.intent, dict(context.run.intent_options)
    deadlines = deadlines_now(context)
    kill_at = deadlines.hard - timedelta(seconds=reserve_now(context).pull_s)
    moments = (deadlines.soft, kill_at, deadlines.hard, deadlines.hard + LAST_CHANCE)
    ahead = min((moment for moment in moments if moment > context.now), default=None)

    def listen() -> None:
        run = context.store.run(context.run_id)
        if (run.intent, dict(run.intent_options)) != known:
            wish = "launch down" if run.intent is Intent.DOWN else "launch stop"
            raise GaveWay(f"what was on its way waits: `{wish}` was called")
        if ahead is not None and context.now >= ahead:
            raise GaveWay(f"what was on its way waits: it is {ahead:%H:%M:%S} UTC, a deadline of this run")

    def report(kind: Kind, message: str, **data: Any) -> None:
        is_under_way = kind is Kind.TRANSFER and "total_bytes" in data
        with context.store.together():
            context.report(kind, message, **data)
            if is_under_way and context.state in (RunState.SYNCING, RunState.PULLING):
                context.note(message)

    return Onlooker(report, listen)
