"""What being taken away costs, as a process rather than a percentage. Pure.

A machine that is taken away at a rate λ loses the work since the last safe checkpoint and pays again for coming up.
With exponential times between interruptions, segments of T hours between safe checkpoints and R hours to come back,
the expected time for W hours of work is W/T × (e^{λT} − 1)/λ × e^{λR}: the lost halves of segments, interruptions
during the way back and during work that is done twice are all in it.

How often it happens is not quite Poisson, because every loss makes the run longer and so brings more of them: with
λW interruptions in the work itself and λe in the hours e that one of them costs, the number is Borel-Tanner
(generalised Poisson) distributed. The 90 % case is a quantile of that number times what each costs.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.forecast.ranges import Range

__all__ = ["HARDLY_GETS_THROUGH", "Toll", "expected_hours", "quantile_hours", "toll"]

HARDLY_GETS_THROUGH = 10.0
"""Expected hours never exceed the work times this: beyond it, nobody should wait for the run to end."""
BAD_CASE = 4.0
"""A rate of interruptions is known to about this factor: what clouds publish are buckets, and they move."""
BAD_CASE_RECORDED = 1.6
"""The same where the user's own record has shown it often enough."""
_EXPONENT_MOST = 50.0
_FAR = 7.0
"""Standard deviations beyond which nothing counts."""
_COUNTED_UP_TO = 60.0
"""More interruptions than these are not counted one by one: what lies between the mean and a quantile grows with the
root of their number from there on."""


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
    lost = per_hour * max(min(segment_h, work_h), 0.0)
    again = math.expm1(min(lost, _EXPONENT_MOST)) / lost if lost > 0.0 else 1.0
    back = math.exp(min(per_hour * max(restart_h, 0.0), _EXPONENT_MOST))
    return work_h * min(again * back, HARDLY_GETS_THROUGH)


@functools.lru_cache(maxsize=4096)  # a machine is offered in many places, and is taken away from them alike
def quantile_hours(
    share: float, work_h: float, *, per_hour: float, segment_h: float, restart_h: float
) -> float:
    """Hours within which ``share`` of all such runs are over; never less than the work itself."""
    expected = expected_hours(work_h, per_hour=per_hour, segment_h=segment_h, restart_h=restart_h)
    times = per_hour * expected
    if times <= 0.0 or expected <= work_h:
        return expected
    each_h = (expected - work_h) / times  # by Wald's identity exactly what one costs
    brings = min(per_hour * each_h, 0.999)
    # Where in its segment a loss falls is uniform; what a loss costs beyond that is the same each time.
    spread_h = min(min(segment_h, work_h) / math.sqrt(12.0), each_h)
    part = min(1.0, _COUNTED_UP_TO / times)
    counts = tuple(_counts(part * times * (1.0 - brings), brings))
    beyond = _mixture_quantile(share, counts, each_h, spread_h) - part * (expected - work_h)
    return max(work_h, expected + beyond / math.sqrt(part))


def _counts(theta: float, brings: float) -> Iterator[float]:
    """Yield the chances of 0, 1, 2, … interruptions until next to nothing is left."""
    seen, k = 0.0, 0
    while seen < 1.0 - 1e-6 and k < 20_000:
        mean = theta + k * brings
        log_chance = math.log(theta) + (k - 1) * math.log(mean) - mean - math.lgamma(k + 1)
        chance = math.exp(log_chance)
        seen, k = seen + chance, k + 1
        yield chance


def _mixture_quantile(share: float, counts: tuple[float, ...], each_h: float, spread_h: float) -> float:
    """The hours that k losses cost are about normal around k times what one costs; find the quantile of the mixture."""
    up_to = list(itertools.accumulate(counts, initial=0.0))
    low, high = 0.0, each_h * (len(counts) + 1) + 4.0 * spread_h
    for _ in range(45):
        middle = 0.5 * (low + high)
        sure = _surely_below(middle, each_h, spread_h, len(counts))
        below = up_to[sure]
        for k in range(sure, len(counts)):
            deviation = spread_h * math.sqrt(k)
            if k * each_h - middle > _FAR * deviation and k * each_h > middle:
                break
            below += counts[k] * _below(middle, k * each_h, deviation)
        low, high = (low, middle) if below >= share else (middle, high)
    return high


def _surely_below(hours: float, each_h: float, spread_h: float, most: int) -> int:
    """How many counts cost so much less than ``hours`` that there is no doubt."""
    doubt = _FAR * spread_h
    root = (math.sqrt(doubt * doubt + 4.0 * each_h * hours) - doubt) / (2.0 * each_h)
    return min(most, int(root * root) + 1 if spread_h > 0.0 or hours > 0.0 else 1)


def _below(x: float, mean: float, deviation: float) -> float:
    if deviation <= 0.0:
        return 1.0 if x >= mean else 0.0
    return 0.5 * math.erfc((mean - x) / (deviation * math.sqrt(2.0)))


def toll(
    work_h: Range, *, per_hour: float, segment_h: float, restart_h: Range, bad_case: float = BAD_CASE
) -> Toll:
    """Price the interruptions of ``work_h`` hours of work.

    ``segment_h``: hours of work between two checkpoints that survive the machine, their transfer included; 0 where a
    notice is long enough to save everything. ``restart_h``: detection, renting, boot, setup and data, all paid for.
    ``bad_case``: by what factor the rate may be higher than was said, or lower.

    Low is the best run in ten at a rate that much lower, likely the expected value, high nine runs in ten at the bad rate.
    """
    if per_hour <= 0.0:
        return Toll(hours=Range.zero(), times=Range.zero(), gets_through=True)
    likely_h, worst_h, rate = work_h.likely, work_h.high, per_hour * bad_case
    back_h = (
        restart_h.likely
    )  # one bad thing at a time: the bad rate with the slowest way back is no 90 % case
    likely = expected_hours(likely_h, per_hour=per_hour, segment_h=segment_h, restart_h=back_h)
    good = quantile_hours(
        0.1, work_h.low, per_hour=per_hour / bad_case, segment_h=segment_h, restart_h=restart_h.low
    )
    bad = max(
        expected_hours(worst_h, per_hour=rate, segment_h=segment_h, restart_h=back_h),
        quantile_hours(0.9, worst_h, per_hour=rate, segment_h=segment_h, restart_h=back_h),
    )
    extra = likely - likely_h
    times = per_hour * likely
    spared = good <= work_h.low * (1.0 + 1e-9)
    few = 0.0 if spared else per_hour / bad_case * work_h.low
    return Toll(
        hours=Range(0.0 if spared else min(good - work_h.low, extra), extra, max(bad - worst_h, extra)),
        times=Range(min(few, times), times, max(rate * bad, times)),
        gets_through=likely < HARDLY_GETS_THROUGH * likely_h,
    )
