"""What is left on a machine so that its run can be taken over when the record at home is lost."""

from __future__ import annotations

from typing import Any

from launcher.orchestrate.context import RunContext
from launcher.records import to_json

__all__ = ["record_to_leave"]


def record_to_leave(context: RunContext) -> dict[str, Any]:
    """Return the run, its attempts and its machines as they are on record now; secrets are in none of them."""
    return {
        "run": to_json(context.run),
        "attempts": [to_json(row) for row in context.attempts],
        "instances": [to_json(row) for row in context.instances],
    }
