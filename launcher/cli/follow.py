"""Looking at a run until it has ended. The run does not depend on it: Ctrl-C, or a closed terminal, only ends the looking."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from launcher.cli.failures import Detached
from launcher.render.facts import after_detaching
from launcher.render.lines import KIND_WIDTH, event_document, event_line, progress_line

if TYPE_CHECKING:
    from launcher import Run, RunResult
    from launcher.cli.screen import Screen
    from launcher.events import Event
    from launcher.status import Status

__all__ = ["follow"]

REDRAW_S = 0.5
PROGRESS_LINE_EVERY_S = 5.0
LOG_TAIL_BYTES = 8192


class View(Protocol):
    """Something that shows a run while it goes on."""

    wants_log: bool

    def __enter__(self) -> Any: ...
    def __exit__(self, *exc: Any) -> None: ...
    def event(self, event: Event) -> None:
        """Take one event in."""

    def look(self, status: Status, log_tail: bytes, now: datetime) -> None:
        """Show how the run stands now."""


class JsonView(contextlib.AbstractContextManager["JsonView"]):
    """Events as JSON Lines."""

    wants_log = False

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def __exit__(self, *exc: Any) -> None:
        return None

    def event(self, event: Event) -> None:
        """Print it."""
        self._screen.line(event_document(event))

    def look(self, status: Status, log_tail: bytes, now: datetime) -> None:
        """Say nothing: events say it all."""


class PlainView(contextlib.AbstractContextManager["PlainView"]):
    """Events as plain lines, and a line of progress every few seconds."""

    wants_log = False

    def __init__(self, screen: Screen, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._screen = screen
        self._monotonic = monotonic
        self._next_line_at = 0.0
        self._shown = ""

    def __exit__(self, *exc: Any) -> None:
        return None

    def event(self, event: Event) -> None:
        """Print it; progress has lines of its own."""
        if event.kind.value not in ("progress", "output"):
            self._screen.say(event_line(event))

    def look(self, status: Status, log_tail: bytes, now: datetime) -> None:
        """Print progress when there is some and the last line is old enough."""
        line = progress_line(status)
        if not line or line == self._shown or self._monotonic() < self._next_line_at:
            return
        self._next_line_at = self._monotonic() + PROGRESS_LINE_EVERY_S
        self._shown = line
        self._screen.say(f"{now.astimezone():%H:%M:%S}  {'progress':<{KIND_WIDTH}}  {line}")


def follow(screen: Screen, run: Run, *, after: int = 0) -> RunResult:
    """Show the run until it has ended and return its result, whatever the end.

    Args:
        screen: where to show it.
        run: the run; a supervisor that died is started again while we look.
        after: events up to this one are old news.

    Raises:
        Detached: somebody pressed Ctrl-C; the run goes on, and the message says what it costs.
    """
    seen = after

    def take(event: Event) -> None:
        nonlocal seen
        seen = max(seen, event.seq)
        view.event(event)

    try:
        with _view(screen) as view:
            while True:
                try:
                    return run.wait(on_event=take, timeout_s=REDRAW_S, after=seen)
                except TimeoutError:
                    view.look(run.status(), _tail(run) if view.wants_log else b"", datetime.now(timezone.utc))
    except (KeyboardInterrupt, BrokenPipeError):
        raise _detached(screen, run) from None


def _view(screen: Screen) -> View:
    if screen.json:
        return JsonView(screen)
    if not screen.is_live:
        return PlainView(screen)
    from launcher.render.live import LiveView  # rich, where something is drawn

    return LiveView(screen.console)


def _tail(run: Run) -> bytes:
    return run.read_log(max(0, run.log_bytes() - LOG_TAIL_BYTES)).data


def _detached(screen: Screen, run: Run) -> Detached:
    status = run.status()
    if screen.json:
        with contextlib.suppress(BrokenPipeError):
            screen.line(status.to_json())
    return Detached(after_detaching(status))
