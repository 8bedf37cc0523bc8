"""Colours, in one place. They repeat what the words say, so that nothing is lost without them."""

from __future__ import annotations

__all__ = ["ERROR", "LABEL", "QUIET", "WARNING", "of_state"]

LABEL = "dim"
QUIET = "dim"
WARNING = "yellow"
ERROR = "red"

_STATES = {
    "running": "green",
    "succeeded": "bold green",
    "failed": "bold red",
    "stopped": "bold yellow",
    "interrupted": "yellow",
    "recovering": "yellow",
    "stopping": "yellow",
}


def of_state(state: str) -> str:
    """Return the style of a run's state."""
    return _STATES.get(state, "cyan")
