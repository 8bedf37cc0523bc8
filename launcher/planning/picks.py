"""Which of many estimates somebody should look at first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.forecast.conditions import REHEARSAL
from launcher.forecast.estimates import Estimate
from launcher.planning.comparison import Comparison

__all__ = ["Picks", "picks_of"]

FASTER = 0.75
"""A machine that takes longer than this part of the cheapest one's time is not worth pointing at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """Rows of a ranking that answer a question each; the rehearsal is none of them."""

    cheapest: Estimate | None
    """The first in the order of the comparison: what fits, then the cheapest whole run."""
    rented: Estimate | None
    """The first that costs money, where the cheapest is free."""
    ready: Estimate | None
    """The first that nothing is missing for."""
    fastest: Estimate | None
    """None where nothing is much faster than the cheapest."""
    spot_not_cheaper: tuple[tuple[str, str], ...] = ()
    """(provider, instance type) of machines that cost more on the spot market, with its interruptions priced in."""


def picks_of(found: Comparison) -> Picks:
    """Choose them; what does not fit into the limits is no answer where something does."""
    real = [
        (item, fit)
        for item, fit in zip(found.estimates, found.fits or (None,) * len(found.estimates), strict=True)
        if item.offer.provider != REHEARSAL
    ]
    fitting = [item for item, fit in real if fit is None or fit.fits] or [item for item, _ in real]
    ready = [item for item in fitting if item.offer.provider not in found.lacking]
    cheapest = fitting[0] if fitting else None
    return Picks(
        cheapest=cheapest,
        rented=_rented(fitting, cheapest),
        ready=ready[0] if ready else None,
        fastest=_fastest(fitting, cheapest),
        spot_not_cheaper=_spot_not_cheaper([item for item, _ in real]),
    )


def _rented(fitting: Sequence[Estimate], cheapest: Estimate | None) -> Estimate | None:
    if cheapest is None or cheapest.offer.usd_per_hour:
        return None
    return next((item for item in fitting if item.offer.usd_per_hour), None)


def _fastest(fitting: Sequence[Estimate], cheapest: Estimate | None) -> Estimate | None:
    if cheapest is None:
        return None
    first = min(fitting, key=lambda item: (item.hours.likely, item.usd.likely))
    return first if first.hours.likely < FASTER * cheapest.hours.likely else None


def _spot_not_cheaper(estimates: Sequence[Estimate]) -> tuple[tuple[str, str], ...]:
    """The whole run counts, in the cheapest place of each market."""
    best: dict[tuple[str, str], dict[bool, float]] = {}
    for item in estimates:
        offer = item.offer
        markets = best.setdefault((offer.provider, offer.instance_type), {})
        markets[offer.spot] = min(item.usd.likely, markets.get(offer.spot, item.usd.likely))
    return tuple(
        kind for kind, markets in best.items() if len(markets) == 2 and markets[True] >= markets[False]
    )
