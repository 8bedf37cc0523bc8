"""Limits on time and money over all attempts of a run: their defaults, deadlines, warnings and later changes. Pure."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from launcher.errors import OverBudget, UsageError
from launcher.forecast.money import GIB, burn_usd_per_hour
from launcher.forecast.ranges import Range
from launcher.policy.states import Reason
from launcher.quantities import duration, usd
from provisioning import Offer

if TYPE_CHECKING:
    from launcher.policy.situation import Deadlines

__all__ = [
    "LimitWarning",
    "Limits",
    "Spent",
    "change_limit",
    "deadlines_of",
    "default_limits",
    "forecast_usd",
    "kept_back_s",
    "new_warnings",
    "raise_max_cost",
    "up_to_cent",
]

LEAST_DEFAULT_S = 3600.0
MOST_DURATION_S = 3650 * 86_400.0
"""Beyond it lies a slip of the finger, and in the end the last date that there is."""
DEFAULT_TIMES_HIGH = 2.0
LEAST_RESERVE_S = 30.0
RESERVE_SHARE = 0.5
"""Of the time that is left, at most this part is kept for saving and bringing home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use, over all its attempts. Stored with the run; a resume may raise them."""

    max_duration_s: float
    """Rented time: waiting for capacity and days between a stop and a resume do not count."""
    max_cost_usd: float | None
    """None where nothing costs anything."""
    max_usd_per_hour: float | None = None
    """Dearer offers are not considered; also the most that a risen price may be."""
    until: datetime | None = None
    """Wall clock, whatever was used."""
    duration_is_default: bool = False
    cost_is_default: bool = False

    def __post_init__(self) -> None:
        if not 0.0 < self.max_duration_s < math.inf:
            raise UsageError(f"max_duration must be above 0: {self.max_duration_s} s")
        if self.max_duration_s > MOST_DURATION_S:
            most, asked = duration(MOST_DURATION_S), duration(self.max_duration_s)
            raise UsageError(f"max_duration must be at most {most}: {asked}")
        for name, value in (("max_cost", self.max_cost_usd), ("max_price", self.max_usd_per_hour)):
            if value is not None and not 0.0 < value < math.inf:
                raise UsageError(f"{name} must be above 0: {value}")
        if self.until is not None and self.until.tzinfo is None:
            raise UsageError(f"until has no time zone: {self.until}")


def default_limits(
    hours: Range,
    usd: Range,
    *,
    max_duration_s: float | None = None,
    max_cost_usd: float | None = None,
    max_usd_per_hour: float | None = None,
    until: datetime | None = None,
) -> Limits:
    """Fill in what was not asked for: twice the high estimate, and at least an hour."""
    default_s = min(MOST_DURATION_S, max(LEAST_DEFAULT_S, DEFAULT_TIMES_HIGH * hours.high * 3600.0))
    default_usd = up_to_cent(DEFAULT_TIMES_HIGH * usd.high) if usd else None
    return Limits(
        max_duration_s=default_s if max_duration_s is None else max_duration_s,
        max_cost_usd=default_usd if max_cost_usd is None else max_cost_usd,
        max_usd_per_hour=max_usd_per_hour,
        until=until,
        duration_is_default=max_duration_s is None,
        cost_is_default=max_cost_usd is None,
    )


def up_to_cent(usd: float) -> float:
    """Return the least amount of whole cents that is enough."""
    return math.ceil(round(usd * 100.0, 6)) / 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run has used so far, over all attempts up to now."""

    usd: float = 0.0
    seconds: float = 0.0
    """Rented time."""


def deadlines_of(
    limits: Limits,
    offer: Offer,
    *,
    now: datetime,
    spent: Spent,
    disk_gib: float,
    save_s: float,
    pull_s: float,
    pull_bytes: float = 0.0,
) -> Deadlines:
    """Return when a machine that is rented (or looked at) now has to be over, as absolute UTC.

    The hard one is the first of: the time limit, ``until``, and the moment when the money is gone at this offer's
    rates, the traffic of the last pull kept back. The soft one leaves the measured time to save and to bring home.
    Both are ``now`` when nothing is left.
    """
    from launcher.policy.situation import Deadlines  # all of a run's situation, which no estimate needs

    by_time = now + timedelta(seconds=max(0.0, limits.max_duration_s - spent.seconds))
    ends = [(by_time, Reason.DEADLINE)]
    if limits.until is not None:
        ends.append((max(limits.until, now), Reason.DEADLINE))
    money_s = _money_lasts_s(limits, offer, spent, disk_gib, pull_bytes)
    if money_s is not None and timedelta(seconds=money_s) < by_time - now:
        ends.append((now + timedelta(seconds=money_s), Reason.BUDGET))
    hard, reason = min(ends, key=lambda end: end[0])
    kept_s = kept_back_s((hard - now).total_seconds(), save_s=save_s, pull_s=pull_s)
    return Deadlines(soft=hard - timedelta(seconds=kept_s), hard=hard, reason=reason)


def kept_back_s(left_s: float, *, save_s: float, pull_s: float) -> float:
    """Return how much of the time that is left belongs to saving and bringing home."""
    return min(max(LEAST_RESERVE_S, save_s + pull_s), RESERVE_SHARE * left_s)


def _money_lasts_s(
    limits: Limits, offer: Offer, spent: Spent, disk_gib: float, pull_bytes: float
) -> float | None:
    """Seconds until the money is gone; None when it never is."""
    burn = burn_usd_per_hour(offer, disk_gib=disk_gib)
    if limits.max_cost_usd is None or burn <= 0.0:
        return None
    left = limits.max_cost_usd - spent.usd - offer.egress_usd_per_gib * pull_bytes / GIB
    return max(0.0, left) / burn * 3600.0


def forecast_usd(
    offer: Offer, spent: Spent, *, remaining_s: float, disk_gib: float, pull_bytes: float = 0.0
) -> float:
    """What the run will have cost when ``remaining_s`` more seconds have passed and the outputs are home."""
    rent = burn_usd_per_hour(offer, disk_gib=disk_gib) * max(0.0, remaining_s) / 3600.0
    return spent.usd + rent + offer.egress_usd_per_gib * pull_bytes / GIB


class LimitWarning(str, enum.Enum):
    """Said once each, in this order or not at all."""

    HALF_COST = "half_cost"
    MOST_COST = "most_cost"
    FORECAST_COST = "forecast_cost"
    HALF_TIME = "half_time"
    MOST_TIME = "most_time"
    FORECAST_TIME = "forecast_time"


def new_warnings(
    limits: Limits,
    spent: Spent,
    *,
    forecast_usd: float | None,
    remaining_s: float | None,
    said: Collection[LimitWarning] = (),
) -> dict[LimitWarning, str]:
    """Return the warnings that are due and were not said before, each with its words; empty most of the time.

    ``forecast_usd`` and ``remaining_s`` are None while nobody knows.
    """
    due: dict[LimitWarning, str] = {}
    if limits.max_cost_usd is not None:
        share = spent.usd / limits.max_cost_usd
        words = f"${spent.usd:.2f} of ${limits.max_cost_usd:.2f} are spent"
        due |= _level(share, LimitWarning.HALF_COST, LimitWarning.MOST_COST, words)
        if forecast_usd is not None and forecast_usd > limits.max_cost_usd:
            due[LimitWarning.FORECAST_COST] = (
                f"the run will need about ${forecast_usd:.2f} and may cost ${limits.max_cost_usd:.2f}:"
                f" it will be saved and stopped before it is done"
            )
    share = spent.seconds / limits.max_duration_s
    words = f"{_hours(spent.seconds)} of {_hours(limits.max_duration_s)} are used"
    due |= _level(share, LimitWarning.HALF_TIME, LimitWarning.MOST_TIME, words)
    if remaining_s is not None and spent.seconds + remaining_s > limits.max_duration_s:
        due[LimitWarning.FORECAST_TIME] = (
            f"the run needs about {_hours(remaining_s)} more and has {_hours(limits.max_duration_s - spent.seconds)}"
        )
    return {warning: words for warning, words in due.items() if warning not in said}


def _level(share: float, half: LimitWarning, most: LimitWarning, words: str) -> dict[LimitWarning, str]:
    if share >= 0.8:
        return {most: f"{words} (over 80 %)"}
    return {half: f"{words} (over 50 %)"} if share >= 0.5 else {}


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def change_limit(
    current: float | None, text: str, *, name: str, read: Callable[[str], float] = float
) -> float:
    """Read ``+2`` as two more than ``current``, and ``7`` as a new limit of seven.

    ``read`` understands the number itself: `float`, or a reader of durations.

    Raises:
        UsageError: not a number above zero, or ``+`` where there is no limit to add to.
    """
    more = text.strip().startswith("+")
    try:
        value = read(text.strip().removeprefix("+").strip())
    except ValueError as err:
        raise UsageError(
            f"{name} {text!r}: {err}", hint=f"give a new limit ({name} 7) or an addition ({name} +2)"
        ) from err
    if not 0.0 < value < math.inf:
        raise UsageError(
            f"{name} {text!r} is not above 0", hint=f"give a new limit ({name} 7) or an addition ({name} +2)"
        )
    if not more:
        return value
    if current is None:
        raise UsageError(
            f"{name} {text!r}: there is no limit to add to", hint=f"give the limit itself: {name} 7"
        )
    return current + value


def raise_max_cost(limits: Limits, text: str | None, spent: Spent, *, run_id: str) -> Limits:
    """Return the limits of a resumed run; ``text`` is what followed ``--max-cost``, None to keep the limit.

    Raises:
        OverBudget: what was spent already leaves nothing.
    """
    limit = limits.max_cost_usd
    if text is not None:
        limit = change_limit(limits.max_cost_usd, text, name="--max-cost")
    if limit is not None and limit <= spent.usd:
        raise OverBudget(
            f"the run has cost {usd(spent.usd)} and its limit is {usd(limit)}: nothing is left to resume with",
            left_behind="the run stays as it is",
            hint=f"launch resume {run_id} --max-cost +2 adds two dollars",
        )
    return replace(limits, max_cost_usd=limit, cost_is_default=limits.cost_is_default and text is None)
