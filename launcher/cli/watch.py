"""`launch watch`: the supervisor, in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from launcher.cli.arguments import example
from launcher.cli.failures import Detached
from launcher.cli.screen import Screen, with_screen

if TYPE_CHECKING:
    from launcher.events import Event

__all__ = ["watch"]


@click.command("watch", short_help="Supervise in the foreground.", epilog=example("launch watch"))
@with_screen
def watch(screen: Screen) -> int:
    """Follow all live runs in the foreground until none is live, as the background supervisor does."""
    from launcher import list_runs
    from launcher import watch as supervise
    from launcher.render.lines import event_document, event_line

    def show(event: Event) -> None:
        if screen.json:
            screen.line(event_document(event))
        else:
            screen.say(f"{event.run_id}  {event_line(event)}")

    try:
        alone = supervise(on_event=show)
    except KeyboardInterrupt:
        from launcher.render.lines import burning_now

        raise Detached(
            f"nobody follows the runs now: {burning_now(list_runs())}. "
            "Any launch command goes on with them · See: launch ls"
        ) from None
    if not alone:
        screen.notice("a supervisor follows the runs already; see them with: launch ls")
    return 0
