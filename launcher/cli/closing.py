"""How following a run ends: the summary, or the status document, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.render.facts import after_detaching

if TYPE_CHECKING:
    from launcher import Run, RunResult
    from launcher.cli.screen import Screen

__all__ = ["close", "exit_code", "handed_over"]

NOTHING_RENTED = {"credentials": 3, "no_capacity": 4}


def close(screen: Screen, run: Run, result: RunResult) -> None:
    """Say how it ended: what came home and where, metrics, real time and cost beside the estimate, how to go on."""
    status = run.status()
    if screen.json:
        screen.line(status.to_json())
    from launcher.render.summary import summary
    from provisioning.models import utc_now

    screen.show(summary(status, run.last_words(), utc_now()))


def exit_code(result: RunResult) -> int:
    """Return 0 for a success that is what `expect` asks for, 3 and 4 where nothing could be rented, 1 for every other end.

    The program's own exit code is in the summary: scripts must be able to tell its failures from ours.
    """
    if result.state == "succeeded":
        return 0 if result.verdict is None or result.verdict.met else 1
    return NOTHING_RENTED.get(result.reason_code, 1)


def handed_over(screen: Screen, run: Run) -> int:
    """Say that the run goes on without us."""
    status = run.status()
    if screen.json:
        screen.document(status.to_json())
    screen.say(after_detaching(status))
    return 0
