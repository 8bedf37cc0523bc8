"""Which offer to rent, and which to fall back to: over priced runs, not over prices per hour. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from launcher.errors import NothingToRent, OverBudget
from launcher.forecast.estimates import Estimate
from launcher.forecast.throughput import Source
from launcher.policy.limits import up_to_cent
from launcher.quantities import offer_words, usd
from provisioning import Offer

__all__ = ["Asked", "Choice", "choose", "fallbacks"]

NEAREST_SHOWN = 3
MOST_CANDIDATES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a choice has to respect."""

    now: datetime
    spot: bool = False
    max_cost_usd: float | None = None
    max_usd_per_hour: float | None = None
    until: datetime | None = None
    listed: bool = False
    """The job names its alternatives itself (``any_of``, ``ordered``): what it names may be rented, dearer or not."""
    in_order: bool = False
    """The estimates stand in the user's own order of preference (``ordered``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen estimate, what to fall back to in that order, and why the others were left out."""

    chosen: Estimate
    candidates: tuple[Offer, ...]
    """The chosen offer first."""
    rejected: tuple[tuple[Offer, str], ...]


def choose(estimates: Sequence[Estimate], asked: Asked) -> Choice:
    """Choose the cheapest whole run within the limits, in time where ``until`` allows it.

    Raises:
        NothingToRent: nothing was offered, or nothing of the wanted market and price.
        OverBudget: what could be rented would cost more than ``max_cost``.
    """
    if not estimates:
        raise NothingToRent(
            "no provider offers a machine like this",
            hint="ask for less, for another place or for another provider; `launch estimate` prices what there is",
        )
    rejected: list[tuple[Offer, str]] = []
    rentable = [item for item in estimates if not _note(rejected, item, _not_rentable(item.offer, asked))]
    if not rentable:
        raise NothingToRent(
            f"none of {len(estimates)} offers is within the limits: {_nearest(rejected)}",
            hint="raise --max-price, or choose the other market (--spot or --on-demand)",
        )
    affordable = [item for item in rentable if not _note(rejected, item, _too_dear(item, asked))]
    if not affordable:
        others = [
            item for item in estimates if not _not_rentable(item.offer, replace(asked, spot=not asked.spot))
        ]
        raise _over_budget(rentable, others, asked)
    ranked = affordable if asked.in_order else sorted(affordable, key=_rank)
    in_time = [item for item in ranked if asked.until is None or _is_in_time(item, asked.now, asked.until)]
    chosen = (in_time or ranked)[0]
    agreed = [item for item in ranked if _is_agreed(item.offer, chosen.offer, asked)]
    return Choice(
        chosen=chosen, candidates=fallbacks(chosen, agreed, in_order=asked.in_order), rejected=tuple(rejected)
    )


def _is_agreed(offer: Offer, quoted: Offer, asked: Asked) -> bool:
    """May it be rented without asking again, when the quoted one cannot be had? Not at a price nobody was quoted."""
    has_said_how_much = asked.listed or asked.max_usd_per_hour is not None
    return has_said_how_much or offer.usd_per_hour <= quoted.usd_per_hour


def fallbacks(chosen: Estimate, ranked: Sequence[Estimate], *, in_order: bool = False) -> tuple[Offer, ...]:
    """Order what to try: the chosen one, its other zones, its other regions, other machines, other providers."""
    first = chosen.offer

    def distance(item: Estimate) -> tuple[bool, bool, bool, bool, float]:
        offer = item.offer
        return (
            offer.provider != first.provider,
            (offer.instance_type, offer.gpu_name, offer.gpu_count)
            != (first.instance_type, first.gpu_name, first.gpu_count),
            offer.region != first.region,
            (offer.zone, offer.location) != (first.zone, first.location),
            item.usd.likely,
        )

    others = [item for item in ranked if item is not chosen]
    ordered = others if in_order else sorted(others, key=distance)
    return (first, *(item.offer for item in ordered))[:MOST_CANDIDATES]


def _rank(item: Estimate) -> tuple[float, float, str, str, str, str, str]:
    """Cheapest whole run first, then fastest; what is equal falls into one fixed order, so that two runs choose alike."""
    offer = item.offer
    place = (offer.provider, offer.location, offer.zone or "", offer.instance_type, offer.offer_id or "")
    return (item.usd.likely, item.hours.likely, *place)


def _note(rejected: list[tuple[Offer, str]], item: Estimate, why: str | None) -> bool:
    """Remember why an offer was left out; True when it was."""
    if why is not None:
        rejected.append((item.offer, why))
    return why is not None


def _not_rentable(offer: Offer, asked: Asked) -> str | None:
    if offer.spot != asked.spot:
        return "is spot" if offer.spot else "is not spot"
    limit = asked.max_usd_per_hour
    if limit is not None and offer.usd_per_hour > limit:
        return f"costs ${offer.usd_per_hour:.4g}/h, above ${limit:.4g}/h"
    return None


def _too_dear(item: Estimate, asked: Asked) -> str | None:
    """A guess is refused only when even its low end is too much: the limit is enforced while it runs anyway."""
    limit, expected = asked.max_cost_usd, _least_usd(item)
    if limit is None or expected <= limit:
        return None
    return f"would cost about ${expected:.2f}, above ${limit:.2f}"


def _least_usd(item: Estimate) -> float:
    """The least limit that it may begin with."""
    return item.usd.low if item.source is Source.GUESS else item.usd.likely


def _is_in_time(item: Estimate, now: datetime, until: datetime) -> bool:
    return now + timedelta(hours=item.hours.likely) <= until


def _nearest(rejected: Sequence[tuple[Offer, str]]) -> str:
    nearest = sorted(rejected, key=lambda miss: miss[0].usd_per_hour)[:NEAREST_SHOWN]
    shown = "; ".join(f"{offer_words(offer)} {why}" for offer, why in nearest)
    more = len(rejected) - len(nearest)
    return f"{shown}; and {more} more" if more > 0 else shown


def _over_budget(rentable: Sequence[Estimate], others: Sequence[Estimate], asked: Asked) -> OverBudget:
    """``others`` are of the other market, which is not taken unasked."""
    cheapest = min(rentable, key=_rank)
    other = min(others, key=_rank, default=None)
    cost, limit = cheapest.usd, asked.max_cost_usd or 0.0
    enough = up_to_cent(min(map(_least_usd, rentable)))
    market, flag = ("on spot", "--on-demand") if asked.spot else ("on demand", "--spot")
    is_cheaper = other is not None and other.usd.likely < cost.likely
    there = f"{flag} for about {usd(other.usd.likely)}, " if other and is_cheaper else ""
    return OverBudget(
        f"the cheapest way {market}, {offer_words(cheapest.offer)}, would cost about {usd(cost.likely)}"
        f" ({usd(cost.low)} to {usd(cost.high)}) and the limit is {usd(limit)}",
        left_behind="nothing was rented",
        hint=f"{there}--max-cost {enough:.2f} to let it begin or {up_to_cent(cost.high):.2f} for the high case, or give the "
        "job less to do; `launch estimate` says how much of it fits",
    )
