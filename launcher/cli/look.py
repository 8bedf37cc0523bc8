"""`launch ls` and `launch status`: the record, and how old the last look at the machines is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from launcher.cli.arguments import example, find_run, run_argument
from launcher.cli.screen import Screen, with_screen

if TYPE_CHECKING:
    from datetime import datetime

    from launcher.events import Event
    from launcher.status import Status

__all__ = ["ls", "status"]

LATEST = 20
refresh_option = click.option("--refresh", is_flag=True, help="Ask the providers anew first.")


@click.command(
    "ls", short_help="Live runs, the latest ones, what they cost now.", epilog=example("launch ls --all")
)
@click.option(
    "--all", "everything", is_flag=True, help=f"All runs, not only the live ones and the latest {LATEST}."
)
@refresh_option
@with_screen
def ls(screen: Screen, everything: bool, refresh: bool) -> int:
    """List live runs, kept disks and the latest ended runs, and what they cost now.

    This is the record, with the age of the supervisor's last look at each machine; --refresh asks the providers first.
    """
    from launcher import list_runs
    from provisioning.models import utc_now

    if refresh:
        _refresh(screen, [run.run_id for run in list_runs() if run.usd_per_hour_now or run.is_live])
    runs = list_runs(limit=None if everything else LATEST)
    if screen.json:
        burning = sum(run.usd_per_hour_now for run in runs)
        screen.document({"runs": [run.to_json() for run in runs], "usd_per_hour_now": burning})
        return 0
    if not runs:
        screen.say("no runs yet; `launch --help` shows how to start one")
    elif everything or not screen.stream.isatty():
        _show_plainly(screen, runs, utc_now())
    else:
        from launcher.render.runs import runs_table

        screen.show(runs_table(runs, utc_now()))
    return 0


def _refresh(screen: Screen, run_ids: Sequence[str]) -> None:
    """Ask about the machines of these runs; what could not be asked is said, and the record shown all the same."""
    with screen.busy("Asking the providers"):
        problems = [problem for run_id in run_ids for problem in find_run(run_id).refresh()]
    for problem in problems:
        screen.notice(f"not asked: {problem}")


def _show_plainly(screen: Screen, runs: Sequence[Status], now: datetime) -> None:
    from launcher.render.lines import burning_now, run_lines

    screen.say("\n".join(run_lines(runs, now)))
    screen.say(burning_now(runs))


@click.command("status", short_help="How a run stands.", epilog=example("launch status demo --events"))
@run_argument
@click.option("--events", "with_events", is_flag=True, help="Everything that happened, with reasons.")
@refresh_option
@with_screen
def status(screen: Screen, run_text: str, with_events: bool, refresh: bool) -> int:
    """Show how a run stands: progress, attempts, cost, where results are."""
    from provisioning.models import utc_now

    run = find_run(run_text)
    if refresh:
        _refresh(screen, [run.id])
    now = run.status()
    events = run.events() if with_events else []
    if screen.json:
        from launcher.render.lines import event_document

        extra = {"events": [event_document(event) for event in events]} if with_events else {}
        said = run.last_words()
        screen.document(
            {**now.to_json(), "last_words": {"stage": said.stage, "lines": list(said.lines)}, **extra}
        )
        return 0
    from launcher.render.runs import status_view

    screen.show(status_view(now, utc_now(), run.last_words()))
    if with_events:
        screen.say("")
        _show_events(screen, [event for event in events if event.kind.value != "progress"])
    return 0


def _show_events(screen: Screen, events: Sequence[Event]) -> None:
    if screen.stream.isatty():
        from launcher.render.runs import events_grid

        screen.show(events_grid(events, with_date=True))
        return
    from launcher.render.lines import event_line

    for event in events:
        screen.say(event_line(event, with_date=True))
