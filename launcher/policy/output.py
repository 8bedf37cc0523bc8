"""How much of a job's output comes home: all of it, unless it is a flood. Pure."""

from __future__ import annotations

from launcher.quantities import size

__all__ = ["LAST_BYTES", "MOST_BYTES", "TOO_MUCH_OUTPUT", "read_from"]

MOST_BYTES = 256_000_000
"""Of one attempt. Traffic from a cloud costs money, and nobody reads more."""
LAST_BYTES = 1_000_000
"""Of a flood: what a program says last is why it ended."""
TOO_MUCH_OUTPUT = (
    f"the job has written more than {size(MOST_BYTES)} of output: the rest stays on the machine, which keeps its newest "
    f"GiB, and the last {size(LAST_BYTES)} come home at the end"
)


def read_from(offset: int, end: int, *, has_ended: bool) -> int | None:
    """Return from where output is copied next, of which ``offset`` bytes have been dealt with; None: nothing for now.

    ``end``: how much there is once the job ``has_ended``.
    """
    if offset < MOST_BYTES:
        return offset
    return max(offset, end - LAST_BYTES) if has_ended else None
