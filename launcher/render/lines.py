"""One event, one plain line: for terminals that cannot be drawn over, for pipes and for logs. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.render import facts, words

if TYPE_CHECKING:
    from launcher.events import Event
    from launcher.status import Status

__all__ = ["KIND_WIDTH", "event_document", "event_line", "event_parts", "progress_line"]

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
