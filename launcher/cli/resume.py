"""`launch resume`: go on from the last checkpoint, here or somewhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from launcher.cli import values
from launcher.cli.arguments import example, find_run, run_argument, yes_option
from launcher.cli.closing import close, exit_code, handed_over
from launcher.cli.failures import EXIT_DECLINED
from launcher.cli.follow import follow
from launcher.cli.screen import Screen, with_screen
from launcher.render import words

if TYPE_CHECKING:
    from launcher.status import Status

__all__ = ["may_cost", "resume"]


@click.command(
    "resume",
    short_help="Go on from the last checkpoint.",
    epilog=example("launch resume demo", "launch resume demo --max-cost +2"),
)
@run_argument
@click.option(
    "--max-cost", type=values.TOP_UP, metavar="USD|+USD", help="The new limit in all, or so much more: 5, +2."
)
@click.option("--max-duration", type=values.DURATION, metavar="TIME", help="The new limit in all: 8h, 90m.")
@click.option("--detach", is_flag=True, help="Hand over to the background, and return.")
@yes_option
@with_screen
def resume(
    screen: Screen,
    run_text: str,
    max_cost: str | None,
    max_duration: timedelta | None,
    detach: bool,
    yes: bool,
) -> int:
    """Go on with a run that has ended, from its last checkpoint."""
    run = find_run(run_text)
    before = run.status()
    seen = max((event.seq for event in run.events()), default=0)
    ask = not yes and may_cost(before)
    if ask and not screen.confirm(_question(before), default=False, otherwise="nothing was rented"):
        return EXIT_DECLINED
    run.resume(max_cost=max_cost, max_duration_s=max_duration.total_seconds() if max_duration else None)
    if detach:
        return handed_over(screen, run)
    result = follow(screen, run, after=seen)
    close(screen, run, result)
    return exit_code(result)


def may_cost(status: Status) -> bool:
    """Whether going on may cost something: it can go on at all, and it did cost or was expected to."""
    from launcher.policy.states import RunState

    expected = status.estimate.get("usd", {}).get("high", 0.0)
    return RunState(status.state).is_resumable and bool(status.cost_usd or expected)


def _question(status: Status) -> str:
    where = f", last on {status.attempts[-1].offer}" if status.attempts else ""
    return f"{status.run_id} has cost {words.usd(status.cost_usd)} so far{where}. Rent again?"
