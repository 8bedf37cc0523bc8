"""What the first minutes of a run say about the rest of it. Pure.

An estimate made before anything ran may be wide; a few minutes of real steps are not. They update what the run is
expected to come to, and end it early where even the good case breaks its limit on money: what would be thrown away an
hour later is better known now.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from launcher.forecast.ranges import Range
from launcher.policy.limits import Limits, Spent, forecast_usd
from launcher.policy.reserve import Reserve
from provisioning import Offer

__all__ = ["AFTER_S", "LEAST_STEPS", "Calibrated", "Seen", "calibrated"]

AFTER_S = 180.0
"""Of work, before its pace counts; the first minute of it, when everything is cold, is out of the window by then."""
LEAST_STEPS = 20
_PACE = (0.9, 1.2)
"""How much longer the rest may take than at the pace of these minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How far the job is and how fast it goes."""

    working_s: float
    steps_done: int
    """In these minutes."""
    steps_left: int
    steps_per_s: float
    toll: float = 0.0
    """What evaluation and interruptions are expected to add, per hour of steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What a run is expected to come to, by its own pace. Stored with it."""

    at: datetime
    steps_per_s: float
    hours: Range
    """Rented time in all."""
    usd: Range
    breaks_max_cost: bool = False
    """Even in the good case."""


def calibrated(
    seen: Seen,
    offer: Offer,
    limits: Limits,
    spent: Spent,
    *,
    disk_gib: float,
    reserve: Reserve,
    now: datetime,
) -> Calibrated | None:
    """Return what the run will come to; None while too little has been seen to say it.

    ``reserve`` is what bringing the rest home may take; in the good case it is home already.
    """
    if seen.working_s < AFTER_S or seen.steps_done < LEAST_STEPS or seen.steps_per_s <= 0.0:
        return None
    likely_s = seen.steps_left / seen.steps_per_s * (1.0 + seen.toll)
    steps_s = Range(_PACE[0] * likely_s, likely_s, _PACE[1] * likely_s)
    left_s = steps_s + Range(0.0, reserve.likely_pull_s, reserve.pull_s)
    moved = (0.0, reserve.pull_bytes, reserve.pull_bytes)
    usd = Range(
        *(
            forecast_usd(offer, spent, remaining_s=seconds, disk_gib=disk_gib, pull_bytes=pull_bytes)
            for seconds, pull_bytes in zip((left_s.low, left_s.likely, left_s.high), moved, strict=True)
        )
    )
    hours = (left_s + Range.exactly(spent.seconds)) * (1.0 / 3600.0)
    limit = limits.max_cost_usd
    return Calibrated(
        at=now,
        steps_per_s=seen.steps_per_s,
        hours=hours,
        usd=usd,
        breaks_max_cost=limit is not None and usd.low > limit,
    )
