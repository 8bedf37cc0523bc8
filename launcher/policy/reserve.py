"""How much time and traffic the end of a run needs: kept back before its hard deadline. Pure.

What this run has shown so far is measured; before that, defaults that are generous.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Measured", "Reserve", "reserve_for"]

SAVE_S = 60.0
LEAST_SAVE_S = 10.0
PULL_S = 60.0
LEAST_PULL_S = 15.0
MARGIN = 1.5
ASSUMED_BYTES_PER_S = 12.5e6
"""100 Mbit/s, the planning default of a home's downlink."""
TELLING_BYTES = 1 << 20
"""A smaller transfer measures the way there and back, not the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run has shown of itself; stored with it."""

    save_s: float | None = None
    """From asking the job to leave to its end, the last time that it saved and left."""
    bytes_per_s: float | None = None
    """From the machine to this computer."""
    output_bytes: int = 0
    """Of all outputs, the last time that they were brought home."""

    def after_leaving(self, seconds: float) -> Measured:
        """Return what is known once the job has left in so many seconds."""
        return replace(self, save_s=max(0.0, seconds))

    def after_transfer(self, moved_bytes: int, seconds: float) -> Measured:
        """Return what is known after one more transfer; half of it is what was known before."""
        if moved_bytes < TELLING_BYTES or seconds <= 0.0:
            return self
        rate = moved_bytes / seconds
        known = self.bytes_per_s
        return replace(self, bytes_per_s=rate if known is None else (rate + known) / 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What is kept back for the end."""

    save_s: float
    pull_s: float
    """Kept back: with a margin, and never less than a little."""
    likely_pull_s: float
    """Without either."""
    pull_bytes: float


def reserve_for(measured: Measured, *, checkpoint_bytes: int = 0, fetched_bytes: int = 0) -> Reserve:
    """Return what saving and bringing home will take.

    ``checkpoint_bytes``: of one checkpoint, which is saved last and comes home first. ``fetched_bytes``: of the
    checkpoints that are outputs too.
    """
    save_s = SAVE_S if measured.save_s is None else max(LEAST_SAVE_S, MARGIN * measured.save_s)
    pull_bytes = float(checkpoint_bytes + fetched_bytes + measured.output_bytes)
    likely_s = pull_bytes / (measured.bytes_per_s or ASSUMED_BYTES_PER_S)
    least_s = PULL_S if measured.bytes_per_s is None else LEAST_PULL_S
    return Reserve(
        save_s=save_s, pull_s=max(least_s, MARGIN * likely_s), likely_pull_s=likely_s, pull_bytes=pull_bytes
    )
