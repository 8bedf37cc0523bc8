"""Estimates, drawn: one bill line by line, or several offers ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launcher.render import style, words
from launcher.render.runs import table
from launcher.status import offer_words

if TYPE_CHECKING:
    from launcher.forecast.estimates import Estimate
    from launcher.forecast.ranges import Range
    from launcher.planning.comparison import Comparison

__all__ = [
    "bill",
    "comparison_view",
    "estimates_view",
    "hours_range",
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


def estimates_view(name: str, estimates: Sequence[Estimate]) -> RenderableType:
    """Draw the bill of the first estimate, and the others beside it when there are any."""
    first = estimates[0]
    head = Text.assemble((name, "bold"), " on ", (offer_words(first.offer), "bold"))
    source = Text(
        f"{words.usd_per_hour(first.offer.usd_per_hour)}, {first.offer.price_source}", style=style.QUIET
    )
    parts: list[RenderableType] = [Text.assemble(head, "  ", source), Padding(bill(first), (1, 0, 0, 2))]
    if len(estimates) > 1:
        parts.append(Padding(ranked(estimates), (1, 0, 0, 2)))
    return Group(*parts)


def comparison_view(name: str, found: Comparison) -> RenderableType:
    """Draw what a job would take on every provider, and what those lack that offer nothing."""
    first = found.estimates[0].offer
    head = Text.assemble((name, "bold"), " wherever it can run, the cheapest whole run first")
    parts: list[RenderableType] = [head, Padding(ranked(found.estimates), (1, 0, 1, 2))]
    for miss in found.misses:
        fix = f"  →  {miss.hint}" if miss.hint else ""
        said = miss.message.removeprefix(f"{miss.provider} ")
        parts.append(Text(f"  {miss.provider}: {words.plain(said + fix)}", style=style.QUIET))
    one = f"launch estimate … --provider {first.provider} --instance {first.instance_type}"
    parts.append(Text(f"  line by line: {one}", style=style.QUIET))
    return Group(*parts)


def bill(estimate: Estimate, *, with_hints: bool = True) -> RenderableType:
    """Draw one estimate, line by line, each with its basis."""
    lines = table("ITEM", "TIME", "COST", "BASIS")
    for line in estimate.lines:
        time = words.duration(3600 * line.hours.likely) if line.hours else ""
        lines.add_row(line.item, time, words.usd(line.usd.likely), Text(line.basis, style=style.QUIET))
    total = Table.grid(padding=(0, 2))
    total.add_row(Text("in all", style="bold"), hours_range(estimate.hours), usd_range(estimate.usd))
    parts: list[RenderableType] = [lines, Padding(total, (1, 0, 0, 0))]
    if with_hints and estimate.narrow_by:
        parts.append(Text(f"less guessing with: {', '.join(estimate.narrow_by)}", style=style.QUIET))
    return Group(*parts)


def ranked(estimates: Sequence[Estimate]) -> RenderableType:
    """Draw what several offers would take, cheapest first; the same machine in other places is one line."""
    rows = table("OFFER", "GPU", "PLACE", "PRICE", "TIME", "COST", "UP TO")
    for item, elsewhere in one_per_machine(estimates):
        offer = item.offer
        gpus = f"{offer.gpu_count} × {offer.gpu_name}" if offer.gpu_count > 1 else offer.gpu_name or ""
        rows.add_row(
            f"{offer.provider} {offer.instance_type}{' spot' if offer.spot else ''}",
            gpus,
            f"{offer.zone or offer.region}{f' +{elsewhere}' if elsewhere else ''}",
            words.usd_per_hour(offer.usd_per_hour),
            words.duration(3600 * item.hours.likely),
            words.usd(item.usd.likely),
            words.usd(item.usd.high),
        )
    return rows


def one_per_machine(estimates: Sequence[Estimate]) -> list[tuple[Estimate, int]]:
    """Return the cheapest place of each kind of machine, and in how many others it can be had; cheapest first."""
    by_kind: dict[tuple[str, str, bool], list[Estimate]] = {}
    for item in sorted(estimates, key=lambda item: (item.usd.likely, item.hours.likely)):
        offer = item.offer
        by_kind.setdefault((offer.provider, offer.instance_type, offer.spot), []).append(item)
    return [(items[0], len(items) - 1) for items in by_kind.values()]
