"""How long a machine has really been silent. Pure.

A laptop that slept for an hour, or had no network, has not observed an hour of silence: time counts only between two
looks that followed each other closely and in which the *provider* answered while the machine did not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["LONGEST_GAP_S", "Silence"]

LONGEST_GAP_S = 120.0
"""Two looks further apart than this were interrupted by something at home; the time between them proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What is known about a machine's silence after a number of looks; stored with the attempt."""

    seconds: float = 0.0
    looked_at: datetime | None = None
    """The last look that observed silence; None when the last look proves nothing."""

    def after(self, now: datetime, *, machine_answered: bool, provider_answered: bool) -> Silence:
        """Return what is known after one more look."""
        if machine_answered:
            return Silence()
        if not provider_answered:
            return Silence(seconds=self.seconds)
        if self.looked_at is None:
            return Silence(seconds=self.seconds, looked_at=now)
        gap_s = (now - self.looked_at).total_seconds()
        observed_s = gap_s if 0.0 <= gap_s <= LONGEST_GAP_S else 0.0
        return Silence(seconds=self.seconds + observed_s, looked_at=now)
