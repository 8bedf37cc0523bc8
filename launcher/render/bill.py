"""Estimates, drawn: one bill line by line, and in short what other offers would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launcher.quantities import offer_words
from launcher.render import style, words
from launcher.render.runs import table

if TYPE_CHECKING:
    from launcher import Prepared
    from launcher.forecast.estimates import Estimate
    from launcher.forecast.ranges import Range
    from launcher.planning.comparison import Comparison
    from launcher.planning.fits import Fit
    from provisioning import Offer

__all__ = [
    "bill",
    "estimates_view",
    "gpus",
    "hours_range",
    "limited_bill",
    "one_per_machine",
    "ranked",
    "usd_range",
]


def hours_range(hours: Range) -> str:
    """Write hours as a time: ``2 h 5 min (1 h 40 min to 3 h)``."""
    return _range(hours, lambda value: words.duration(3600 * value))


def usd_range(usd: Range) -> str:
    """Write dollars: ``$1.20 ($0.90 to $2.10)``."""
    return _range(usd, words.usd)


def _range(value: Range, write: words.Writer) -> str:
    return words.span({"low": value.low, "likely": value.likely, "high": value.high}, write)


def estimates_view(name: str, found: Comparison) -> RenderableType:
    """Draw the bill of the first estimate, what the other market would save, and the other estimates where there are any."""
    estimates = found.estimates
    first = estimates[0]
    head = Text.assemble((name, "bold"), " on ", (offer_words(first.offer), "bold"))
    source = Text(
        f"{words.usd_per_hour(first.offer.usd_per_hour)}, {first.offer.price_source}", style=style.QUIET
    )
    parts: list[RenderableType] = [Text.assemble(head, "  ", source), Padding(bill(first), (1, 0, 0, 2))]
    if (fit := next(iter(found.fits), None)) is not None:
        parts.append(_fit(fit, found.limits))
    if found.market:
        parts.append(Text(f"  market: {found.market}"))
    parts += [Text(f"! {note}", style=style.WARNING) for note in found.notes]
    if len(estimates) > 1:
        parts.append(Padding(ranked(estimates), (1, 0, 0, 2)))
    return Group(*parts)


def _fit(fit: Fit, limits: str) -> Text:
    """Say whether a bill is within the limits that were named, and else how much of the work is."""
    if fit.fits:
        sure = "yes, even in the high case" if fit.is_sure else "likely, and not in the high case"
        return Text(f"  fits ({limits}): {sure}")
    return Text(f"! fits ({limits}): {fit.words} of the work, bound by {fit.bound_by}", style=style.WARNING)


def bill(estimate: Estimate, *, with_hints: bool = True) -> RenderableType:
    """Draw one estimate, line by line, each with its basis."""
    lines = table("ITEM", "TIME", "COST", "BASIS")
    for line in estimate.lines:
        time = words.duration(3600 * line.hours.likely) if line.hours else ""
        lines.add_row(line.item, time, words.usd(line.usd.likely), Text(line.basis, style=style.QUIET))
    total = Table.grid(padding=(0, 2))
    total.add_row(Text("in all", style="bold"), hours_range(estimate.hours), usd_range(estimate.usd))
    parts: list[RenderableType] = [lines, Padding(total, (1, 0, 0, 0))]
    if estimate.stages:
        parts.append(Padding(stage_shares(estimate), (1, 0, 0, 0)))
    if with_hints and estimate.narrow_by:
        parts += [Text(f"less guessing with: {hint}", style=style.QUIET) for hint in estimate.narrow_by]
    return Group(*parts)


def stage_shares(estimate: Estimate) -> RenderableType:
    """Draw what each stage takes of the whole, and on which machine, in the order in which they run."""
    rows = table("STAGE", "ON", "TIME", "COST", "TIME IS")
    for stage in estimate.stages:
        rows.add_row(
            stage.name,
            "the same machine" if stage.stays else offer_words(stage.offer),
            words.duration(3600 * stage.hours.likely),
            words.usd(stage.usd.likely),
            "a guess" if stage.source.value == "guess" else stage.source.value,
        )
    return rows


def limited_bill(prepared: Prepared, minutes: float) -> RenderableType:
    """Say what a calibration would rent and what it can cost at most."""
    offer, limits = prepared.plan.offer, prepared.plan.limits
    most_usd = offer.usd_per_hour * limits.max_duration_s / 3600.0
    price = words.usd_per_hour(offer.usd_per_hour)
    return Text(
        f"{prepared.name} on {offer_words(offer)} for {minutes:g} min of steps at {price}: "
        f"it ends after {words.duration(limits.max_duration_s)} at the latest, for {words.usd(most_usd)} of rent; "
        "nothing is brought home"
    )


def ranked(estimates: Sequence[Estimate]) -> RenderableType:
    """Draw what several offers would take, cheapest first; the same machine in other places is one line."""
    rows = table("OFFER", "GPU", "PLACE", "PRICE", "TIME", "COST", "UP TO")
    for item, elsewhere in one_per_machine(estimates):
        offer = item.offer
        rows.add_row(
            f"{offer.provider} {offer.instance_type}{' spot' if offer.spot else ''}",
            gpus(offer),
            f"{offer.zone or offer.region}{f' +{elsewhere}' if elsewhere else ''}",
            words.usd_per_hour(offer.usd_per_hour),
            words.duration(3600 * item.hours.likely),
            words.usd(item.usd.likely),
            words.usd(item.usd.high),
        )
    return rows


def gpus(offer: Offer) -> str:
    """Name the GPUs of a machine: ``T4``, ``4 × T4``, nothing."""
    return f"{offer.gpu_count} × {offer.gpu_name}" if offer.gpu_count > 1 else offer.gpu_name or ""


def one_per_machine(estimates: Sequence[Estimate], *, in_order: bool = False) -> list[tuple[Estimate, int]]:
    """Return the cheapest place of each kind of machine, and in how many others it can be had; cheapest first.

    ``in_order``: the estimates stand in an order that is to be kept.
    """
    by_kind: dict[tuple[str, str, str | None, int, bool], list[Estimate]] = {}
    ordered = (
        estimates if in_order else sorted(estimates, key=lambda item: (item.usd.likely, item.hours.likely))
    )
    for item in ordered:
        offer = item.offer
        kind = (offer.provider, offer.instance_type, offer.gpu_name, offer.gpu_count, offer.spot)
        by_kind.setdefault(kind, []).append(item)
    return [(items[0], len(items) - 1) for items in by_kind.values()]
