"""Plain lines, for pipes, for logs and for terminals that cannot be drawn over. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launcher.render import facts, words

if TYPE_CHECKING:
    from launcher.events import Event
    from launcher.status import Status

__all__ = [
    "KIND_WIDTH",
    "RUN_COLUMNS",
    "burning_now",
    "event_document",
    "event_line",
    "event_parts",
    "progress_line",
    "run_cells",
    "run_lines",
]

KIND_WIDTH = len("provisioning")


def event_parts(event: Event, *, with_date: bool = False) -> tuple[str, str, str]:
    """Return when (local time), what kind (of a state: which), and the sentence."""
    at = f"{event.at.astimezone():{'%Y-%m-%d ' if with_date else ''}%H:%M:%S}"
    if event.kind.value != "state":
        return at, event.kind.value, words.plain(event.message)
    reason = str(event.data.get("reason") or event.message)
    return at, str(event.data.get("state", "state")), words.plain(reason)


def event_line(event: Event, *, with_date: bool = False) -> str:
    """Return ``12:04:31  running       the job's process lives``."""
    at, kind, message = event_parts(event, with_date=with_date)
    return f"{at}  {kind:<{KIND_WIDTH}}  {message}"


def progress_line(status: Status) -> str:
    """Return how far the job is, as one plain line; empty when it has said nothing yet."""
    if status.step is None:
        return ""
    numbers = facts.metrics(status.metrics, at_most=facts.AT_A_GLANCE)
    return facts.SEP.join(text for text in (facts.progress(status), numbers) if text)


def event_document(event: Event) -> dict[str, Any]:
    """Return the event as one line of ``--json``."""
    from launcher.records import to_json

    document: dict[str, Any] = to_json(event)
    return document


RUN_COLUMNS = ("RUN", "STATE", "WHERE", "DONE", "LEFT", "COST", "NOW", "AGE", "SEEN")


def run_cells(run: Status, now: datetime) -> tuple[str, ...]:
    """Return what a list of runs says about one, in the order of `RUN_COLUMNS`."""
    left = run.seconds_left if run.is_live else None
    done = ""
    if run.step is not None:
        done = words.percent(run.step, run.total) if run.total else f"step {run.step:,}"
    return (
        run.run_id,
        f"{run.state} {stage}" if (stage := facts.stage_place(run)) else run.state,
        run.provider,
        done,
        words.duration(left) if left is not None else "",
        words.usd(run.cost_usd),
        words.usd_per_hour(run.usd_per_hour_now) if run.is_live or run.usd_per_hour_now else "",
        words.age((now - run.created_at).total_seconds()),
        words.ago((now - run.looked_at).total_seconds()) if run.is_live and run.looked_at else "",
    )


def run_lines(runs: Sequence[Status], now: datetime) -> Iterator[str]:
    """Yield a heading and one aligned line for each run: ten thousand of them in no time."""
    rows = [RUN_COLUMNS, *(run_cells(run, now) for run in runs)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(RUN_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def burning_now(runs: Sequence[Status]) -> str:
    """Say what all runs together cost now."""
    burning = sum(run.usd_per_hour_now for run in runs)
    live = sum(run.is_live for run in runs)
    return f"{words.count(live, 'live run')}, {words.usd_per_hour(burning)} now"
