"""What being taken away costs, as a process rather than a percentage. Pure.

A machine that is taken away at a rate λ loses the work since the last safe checkpoint and pays again for coming up.
With exponential times between interruptions, segments of T hours between safe checkpoints and R hours to come back,
the expected time for W hours of work is W/T × (e^{λT} − 1)/λ × e^{λR}: the lost halves of segments, interruptions
during the way back and during work that is done twice are all in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from launcher.forecast.ranges import Range

__all__ = ["HARDLY_GETS_THROUGH", "Toll", "expected_hours", "toll"]

HARDLY_GETS_THROUGH = 10.0
"""Expected hours never exceed the work times this: beyond it, nobody should wait for the run to end."""
BAD_CASE = 4.0
"""A rate of interruptions is known to about this factor: what clouds publish are buckets, and they move."""
_P90 = 1.2816
"""Standard normal quantile of 0.9."""
_EXPONENT_MOST = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """What interruptions add to the work: expected value, and the 10 % and 90 % cases around it."""

    hours: Range
    times: Range
    """How often the machine is taken away."""
    gets_through: bool
    """False when the expected time is beyond `HARDLY_GETS_THROUGH`."""


def expected_hours(work_h: float, *, per_hour: float, segment_h: float, restart_h: float) -> float:
    """Expected hours, work included, at ``per_hour`` interruptions; capped at `HARDLY_GETS_THROUGH` × the work."""
    if per_hour <= 0.0 or work_h <= 0.0:
        return max(work_h, 0.0)
    lost = per_hour * max(segment_h, 0.0)
    again = math.expm1(min(lost, _EXPONENT_MOST)) / lost if lost > 0.0 else 1.0
    back = math.exp(min(per_hour * max(restart_h, 0.0), _EXPONENT_MOST))
    return work_h * min(again * back, HARDLY_GETS_THROUGH)


def toll(work_h: Range, *, per_hour: float, segment_h: float, restart_h: Range) -> Toll:
    """Price the interruptions of ``work_h`` hours of work.

    ``segment_h``: hours of work between two checkpoints that survive the machine, their transfer included; 0 where a
    notice is long enough to save everything. ``restart_h``: detection, renting, boot, setup and data, all paid for.
    """
    if per_hour <= 0.0:
        return Toll(hours=Range.zero(), times=Range.zero(), gets_through=True)
    likely = expected_hours(work_h.likely, per_hour=per_hour, segment_h=segment_h, restart_h=restart_h.likely)
    bad_rate = per_hour * BAD_CASE
    # One bad thing at a time: the bad rate with the likely way back; both at once is no 90 % case.
    bad = expected_hours(work_h.high, per_hour=bad_rate, segment_h=segment_h, restart_h=restart_h.likely)
    each_h = segment_h / 2.0 + restart_h.likely
    times, bad_times = per_hour * likely, bad_rate * bad
    few = max(0.0, per_hour * work_h.low - _P90 * math.sqrt(per_hour * work_h.low))
    bad_extra = bad - work_h.high + _P90 * math.sqrt(bad_times) * each_h
    likely_extra = likely - work_h.likely
    return Toll(
        hours=Range(min(few * each_h, likely_extra), likely_extra, max(bad_extra, likely_extra)),
        times=Range(min(few, times), times, max(bad_times, times)),
        gets_through=likely < HARDLY_GETS_THROUGH * work_h.likely,
    )
