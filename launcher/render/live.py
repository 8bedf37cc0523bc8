"""The view of a run that redraws itself: one calm block at the bottom, what happened scrolling by above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launcher.logs import last_lines
from launcher.render import facts, style, words
from launcher.render.runs import events_grid, fact_grid, headline

if TYPE_CHECKING:
    from types import TracebackType

    from launcher.events import Event
    from launcher.status import Status

__all__ = ["Checkpoints", "LiveView", "panel"]

LOG_LINES = 6
LINES_BESIDE_LOG = 14
"""What the block needs besides the log, with a little air: on a low terminal the log gives way."""

SHOWN_IN_THE_BLOCK = frozenset({"progress", "checkpoint", "output"})
"""Kinds of events that change the block, and would be noise above it."""

TRANSFERS_SHOWN_IN = frozenset({"syncing", "pulling"})
"""States of a run whose progress is that of a transfer; its words are the reason of the state."""


@dataclass(slots=True)
class Checkpoints:
    """What the events have told about checkpoints."""

    made: set[str] = field(default_factory=set)
    home: set[str] = field(default_factory=set)
    newest: str = ""
    newest_at: datetime | None = None

    def note(self, event: Event) -> None:
        """Count a checkpoint where it has arrived."""
        name = str(event.data.get("name", ""))
        self.made.add(name)
        if event.data.get("where") == "home":
            self.home.add(name)
        elif self.newest_at is None or event.at >= self.newest_at:
            self.newest, self.newest_at = name, event.at

    def text(self, now: datetime) -> str:
        """Say how many there are, how many are safe at home, and how old the newest is."""
        if not self.made:
            return ""
        parts = [f"{len(self.made)} saved", f"{len(self.home)} at home"]
        if self.newest_at is not None:
            parts.append(f"newest {self.newest}, {words.ago((now - self.newest_at).total_seconds())}")
        return facts.SEP.join(parts)


def panel(
    status: Status,
    checkpoints: Checkpoints,
    log: Sequence[str],
    now: datetime,
    moving: Event | None = None,
) -> RenderableType:
    """Draw the block: where the run stands, how far it is, what it costs, its last words.

    ``moving``: the newest word on a transfer that is under way.
    """
    parts: list[RenderableType] = [_head(status, now)]
    is_waited_for = moving is not None and status.state in TRANSFERS_SHOWN_IN
    if moving is not None and is_waited_for:
        done, total = moving.data["bytes"], moving.data["total_bytes"]
        parts.append(Padding(_bar(done, max(total, 1)), (0, 0, 0, 2)))
    elif status.total and status.step is not None:
        parts.append(Padding(_bar(status.step, status.total), (0, 0, 0, 2)))
    rows = [
        ("stage", facts.stage_place(status)),
        ("progress", facts.progress(status)),
        ("metrics", facts.metrics(status.metrics, at_most=facts.AT_A_GLANCE)),
        ("checkpoints", checkpoints.text(now)),
        ("on its way", words.plain(moving.message) if moving is not None and not is_waited_for else ""),
        ("cost", facts.cost(status)),
        ("machine", facts.machine(status, now)),
    ]
    parts.append(fact_grid([(label, text) for label, text in rows if text]))
    if log:
        parts.append(Padding(_log(log), (1, 0, 0, 2)))
    parts.append(Text("\n  Ctrl-C leaves this view; the run goes on.", style=style.QUIET))
    return Group(*parts)


def _head(status: Status, now: datetime) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True, style=style.QUIET)
    elapsed = words.clock_time(((status.ended_at or now) - status.created_at).total_seconds())
    grid.add_row(headline(status), elapsed)
    return grid


def _bar(step: int, total: int) -> RenderableType:
    return ProgressBar(total=total, completed=min(step, total), width=60)


def _log(log: Sequence[str]) -> RenderableType:
    return Group(*(Text(f"│ {line}", style=style.QUIET, no_wrap=True, overflow="ellipsis") for line in log))


class LiveView:
    """Shows a run on a terminal until it is closed; leaves nothing of the block behind."""

    wants_log = True

    def __init__(self, console: Console) -> None:
        self._console = console
        self._checkpoints = Checkpoints()
        self._moving: Event | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._live.stop()

    def event(self, event: Event) -> None:
        """Take one event in: into the block, or as a line above it."""
        if event.kind.value == "checkpoint":
            self._checkpoints.note(event)
        self._moving = event if _is_under_way(event) else None
        if event.kind.value in SHOWN_IN_THE_BLOCK or self._moving is not None:
            return
        self._console.print(events_grid([event]))

    def look(self, status: Status, log_tail: bytes, now: datetime) -> None:
        """Redraw the block."""
        room = max(0, min(LOG_LINES, self._console.size.height - LINES_BESIDE_LOG))
        block = panel(status, self._checkpoints, last_lines(log_tail, room), now, self._moving)
        self._live.update(block, refresh=True)


def _is_under_way(event: Event) -> bool:
    return event.kind.value == "transfer" and "total_bytes" in event.data
