"""Estimates, drawn: one bill line by line, or several offers ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launcher.planning.plan import STALE_DAYS
from launcher.quantities import offer_words
from launcher.render import style, words
from launcher.render.rows import age_days
from launcher.render.runs import table

if TYPE_CHECKING:
    from launcher import Prepared
    from launcher.forecast.estimates import Estimate
    from launcher.forecast.ranges import Range
    from launcher.planning.comparison import Comparison
    from launcher.planning.prices import Market
    from provisioning import Offer

__all__ = [
    "bill",
    "comparison_view",
    "estimates_view",
    "hours_range",
    "limited_bill",
    "misses_view",
    "offers_view",
    "one_per_machine",
    "ranked",
    "ranked_rows",
    "usd_range",
]

SHOWN_ROWS = 25


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
    if found.market:
        parts.append(Text(f"  market: {found.market}"))
    if len(estimates) > 1:
        parts.append(Padding(ranked(estimates), (1, 0, 0, 2)))
    return Group(*parts)


def comparison_view(name: str, found: Comparison, *, everything: bool = False) -> RenderableType:
    """Draw what a job would take on every provider, and what those lack that offer nothing or cannot be asked."""
    first = found.estimates[0].offer
    head = Text.assemble((name, "bold"), " wherever it can run, the cheapest whole run first")
    if any(fit is not None for fit in found.fits):
        head.append(", what fits into the limits before what does not")
    parts: list[RenderableType] = [head, Padding(ranked_rows(found, everything=everything), (1, 0, 1, 2))]
    parts.append(misses_view(found))
    one = f"launch estimate … --provider {first.provider} --instance {first.instance_type}"
    parts.append(Text(f"  line by line: {one}", style=style.QUIET))
    return Group(*parts)


def misses_view(found: Comparison) -> RenderableType:
    """Say what providers lack that offer nothing or could not be asked, and which prices are old."""
    parts: list[RenderableType] = []
    for miss in found.misses:
        fix = f"  →  {miss.hint}" if miss.hint else ""
        said = miss.message.removeprefix(f"{miss.provider} ").removeprefix(f"{miss.provider}: ")
        priced = " (priced from its dated table)" if miss.provider in found.lacking else ""
        parts.append(Text(f"  {miss.provider}: {words.plain(said + fix)}{priced}", style=style.QUIET))
    stale = [item.offer for item in found.estimates if age_days(item.offer, found.now) > STALE_DAYS]
    if stale:
        oldest = min(offer.priced_at for offer in stale)
        text = (
            f"{len(stale)} of these prices are older than {STALE_DAYS} days, the oldest of {oldest:%Y-%m-%d}"
        )
        parts.append(Text(f"! {text}", style=style.WARNING))
    return Group(*parts)


def ranked_rows(found: Comparison, *, everything: bool = False) -> RenderableType:
    """Draw the ranking; the same machine in other places is one line, and the tail is counted unless it is wanted."""
    with_fit = any(fit is not None for fit in found.fits)
    fits = dict(zip(map(id, found.estimates), found.fits, strict=False))
    columns = ["OFFER", "GPU", "PLACE", "PRICE", "AGE", "TIME", "COST", "UP TO", "TIME IS", "MISSING"]
    rows = table(*(["FITS"] if with_fit else []), *columns)
    kinds = one_per_machine(found.estimates, in_order=with_fit)
    shown = kinds if everything else kinds[:SHOWN_ROWS]
    for item, elsewhere in shown:
        offer, fit = item.offer, fits.get(id(item))
        cells = [
            f"{offer.provider} {offer.instance_type}{' spot' if offer.spot else ''}",
            _gpus(offer),
            f"{offer.zone or offer.region}{f' +{elsewhere}' if elsewhere else ''}",
            words.usd_per_hour(offer.usd_per_hour),
            words.age((found.now - offer.priced_at).total_seconds()),
            words.duration(3600 * item.hours.likely),
            words.usd(item.usd.likely),
            words.usd(item.usd.high),
            "a guess" if item.source.value == "guess" else item.source.value,
            _missing(offer, found.lacking),
        ]
        rows.add_row(*([fit.words if fit else ""] if with_fit else []), *cells)
    more = len(kinds) - len(shown)
    return Group(rows, Text(f"and {more} more: --all", style=style.QUIET)) if more else rows


def _missing(offer: Offer, lacking: Mapping[str, str]) -> str:
    """What is missing to rent an offer; a cloud that pretends lacks everything but the rehearsal."""
    return lacking.get(offer.provider) or ("rehearsal" if offer.provider == "fake" else "")


def _gpus(offer: Offer) -> str:
    return f"{offer.gpu_count} × {offer.gpu_name}" if offer.gpu_count > 1 else offer.gpu_name or ""


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
        parts.append(Text(f"less guessing with: {', '.join(estimate.narrow_by)}", style=style.QUIET))
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
            _gpus(offer),
            f"{offer.zone or offer.region}{f' +{elsewhere}' if elsewhere else ''}",
            words.usd_per_hour(offer.usd_per_hour),
            words.duration(3600 * item.hours.likely),
            words.usd(item.usd.likely),
            words.usd(item.usd.high),
        )
    return rows


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


def offers_view(
    offers: Sequence[Offer], market: Market, now: datetime, *, everything: bool = False
) -> RenderableType:
    """Draw what can be rented, cheapest first, with the age and source of each price."""
    rows = table("OFFER", "GPU", "VRAM", "CPU", "RAM", "PLACE", "PRICE", "AGE", "SOURCE", "MISSING")
    shown = offers if everything else offers[:SHOWN_ROWS]
    for offer in shown:
        rows.add_row(
            f"{offer.provider} {offer.instance_type}{' spot' if offer.spot else ''}",
            _gpus(offer),
            f"{offer.gpu_memory_gib:.0f}" if offer.gpu_name else "",
            f"{offer.vcpus:g}",
            f"{offer.memory_gib:.0f}",
            offer.zone or offer.region,
            words.usd_per_hour(offer.usd_per_hour),
            words.age((now - offer.priced_at).total_seconds()),
            offer.price_source,
            _missing(offer, market.lacking),
        )
    parts: list[RenderableType] = [rows]
    if len(offers) > len(shown):
        parts.append(Text(f"and {len(offers) - len(shown)} more: --all", style=style.QUIET))
    for miss in market.misses:
        fix = f"  →  {miss.hint}" if miss.hint else ""
        parts.append(Text(f"{miss.provider}: {words.plain(miss.message + fix)}", style=style.QUIET))
    return Group(*parts)
