"""`launch stop` and `launch down`: the two ways to end a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from launcher.cli.arguments import example, find_run, run_argument, yes_option
from launcher.cli.closing import close
from launcher.cli.failures import EXIT_DECLINED, Detached
from launcher.cli.follow import follow
from launcher.cli.screen import Screen, with_screen

if TYPE_CHECKING:
    from launcher import Run

__all__ = ["down", "stop"]


@click.command(
    "stop", short_help="Save, pull, end the machine; resumable.", epilog=example("launch stop demo")
)
@run_argument
@click.option(
    "--keep-disk", is_flag=True, help="End the computing and keep the disk, which goes on costing a little."
)
@with_screen
def stop(screen: Screen, run_text: str, keep_disk: bool) -> int:
    """Save, bring outputs home, end the machine. `launch resume` goes on later."""
    run = find_run(run_text)
    seen = _newest_event(run)
    run.stop(keep_disk=keep_disk)
    return _see_it_end(screen, run, seen)


@click.command(
    "down",
    short_help="Pull, end the machine now.",
    epilog=example("launch down demo", "launch down demo --no-pull --yes"),
)
@run_argument
@click.option("--no-pull", is_flag=True, help="Discard what is not home yet.")
@yes_option
@with_screen
def down(screen: Screen, run_text: str, no_pull: bool, yes: bool) -> int:
    """Bring outputs home and end the machine now; of a run that has ended, the disk that was kept.

    A job that has not left half a minute after SIGTERM is killed.
    """
    run = find_run(run_text)
    if no_pull and not yes:
        question = f"Discard everything of {run.id} that is not home yet?"
        if not screen.confirm(question, default=False, otherwise="nothing was done"):
            return EXIT_DECLINED
    if not run.status().is_live:
        return _end_what_is_left(screen, run, discard=no_pull)
    seen = _newest_event(run)
    run.down(discard=no_pull)
    return _see_it_end(screen, run, seen)


def _end_what_is_left(screen: Screen, run: Run, *, discard: bool) -> int:
    """End the disk that an ended run has kept; a run that has left nothing is refused in words."""
    first = "" if discard else "what never came home first, then "
    with screen.busy(f"Ending what {run.id} has left: {first}its disk"):
        run.down(discard=discard)
    if screen.json:
        screen.line(run.status().to_json())
    screen.say(f"{run.id} has nothing rented any more")
    return 0


def _newest_event(run: Run) -> int:
    return max((event.seq for event in run.events()), default=0)


def _see_it_end(screen: Screen, run: Run, seen: int) -> int:
    """Follow the end. That the run is `stopped` then is what was wanted: exit code 0."""
    try:
        result = follow(screen, run, after=seen)
    except Detached as left:
        raise Detached(f"The end was asked for and goes on without this terminal.\n{left.message}") from None
    close(screen, run, result)
    return 0 if result.state in ("stopped", "succeeded") else 1
