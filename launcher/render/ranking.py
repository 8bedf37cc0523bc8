"""Many estimates or offers, ranked: tables that fit the screen, and which row answers which question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from launcher.forecast.conditions import REHEARSAL
from launcher.planning.picks import Picks, picks_of
from launcher.planning.plan import STALE_DAYS
from launcher.quantities import offer_words
from launcher.render import style, words
from launcher.render.bill import gpus, hours_range, one_per_machine, usd_range
from launcher.render.facts import Fact
from launcher.render.fitted import Fitted, Mark
from launcher.render.rows import age_days, oldest_age_days
from launcher.render.runs import fact_grid

if TYPE_CHECKING:
    from launcher.forecast.estimates import Estimate
    from launcher.planning.comparison import Comparison
    from launcher.planning.free import FreeWay
    from launcher.planning.prices import Market, Miss
    from provisioning import Offer

__all__ = ["comparison_view", "misses_view", "offers_view"]

SHOWN_ROWS = 25
SHOWN_SPOT = 4
LESS_NEEDED = ("PLACE", "AGE", "TIME IS", "PRICE", "MISSING", "GPU")
"""Of a ranking: what goes first where a screen is narrow. Age and what is missing stand below the table too."""
LESS_NEEDED_OF_OFFERS = ("SOURCE", "CPU", "RAM", "VRAM", "PLACE", "AGE", "MISSING", "GPU")
MARKS = (
    Mark(column="TIME IS", cell="scaled", on="TIME", sign="~", words="scaled from other hardware"),
    Mark(column="TIME IS", cell="a guess", on="TIME", sign="?", words="a guess"),
)
SOURCES = {"guess": "a guess"}
CALLED = {"credentials": "account"}
"""What is missing, in a word that a newcomer knows."""
LEGEND = "TIME and COST of the whole run, as they are likely; UP TO is the high case"
LEGEND_OF_FITS = "FITS: yes even in the high case, likely, or how much of the work does"


def comparison_view(name: str, found: Comparison, *, everything: bool = False) -> RenderableType:
    """Draw what a job would take on every provider, which rows to look at, and what providers lack."""
    head = Text.assemble((name, "bold"), " wherever it can run, the cheapest whole run first")
    if any(fit is not None for fit in found.fits):
        head.append(", what fits into the limits before what does not")
    parts: list[RenderableType] = [head, Padding(_ranked(found, everything=everything), (1, 0, 1, 2))]
    parts.append(fact_grid(_advice(found, picks_of(found))))
    if found.free:
        parts.append(Padding(_free(found.free), (1, 0, 0, 2)))
    parts += [Text(), misses_view(found)]
    return Group(*parts)


def _ranked(found: Comparison, *, everything: bool) -> RenderableType:
    """Draw the ranking; the same machine in other places is one line, and the tail is counted unless it is wanted."""
    fits = dict(zip(map(id, found.estimates), found.fits, strict=False))
    with_fit = any(fit is not None for fit in found.fits)
    kinds = one_per_machine(found.estimates, in_order=with_fit)
    shown = kinds if everything else kinds[:SHOWN_ROWS]
    rows = []
    for item, elsewhere in shown:
        fit = fits.get(id(item))
        rows.append(({"FITS": fit.words if fit else ""} if with_fit else {}) | _row(item, elsewhere, found))
    parts: list[RenderableType] = [Fitted(rows, expendable=LESS_NEEDED, marks=MARKS)]
    parts.append(Text(LEGEND, style=style.QUIET))
    if with_fit:
        parts.append(Text(LEGEND_OF_FITS, style=style.QUIET))
    if len(kinds) > len(shown):
        parts.append(Text(f"and {len(kinds) - len(shown)} more: --all", style=style.QUIET))
    return Group(*parts)


def _row(item: Estimate, elsewhere: int, found: Comparison) -> dict[str, str]:
    offer = item.offer
    return {
        "OFFER": f"{_name(offer)}{_and_more(item)}",
        "GPU": gpus(offer),
        "PLACE": f"{offer.zone or offer.region}{f' +{elsewhere}' if elsewhere else ''}",
        "PRICE": words.usd_per_hour(offer.usd_per_hour),
        "AGE": words.age(86_400.0 * oldest_age_days(found, item)),
        "TIME": words.roughly(3600 * item.hours.likely),
        "COST": words.usd(item.usd.likely),
        "UP TO": words.usd(item.usd.high),
        "TIME IS": SOURCES.get(item.source.value, item.source.value),
        "MISSING": _missing(offer, found.lacking),
    }


def _name(offer: Offer) -> str:
    return f"{offer.provider} {offer.instance_type}{' spot' if offer.spot else ''}"


def _and_more(item: Estimate) -> str:
    """How many other kinds of machine the stages of a job need."""
    kinds = {(offer.provider, offer.instance_type, offer.spot) for offer in item.offers}
    return f" and {len(kinds) - 1} more" if len(kinds) > 1 else ""


def _missing(offer: Offer, lacking: Mapping[str, str]) -> str:
    """What is missing to rent an offer; a cloud that pretends lacks everything but the rehearsal."""
    lacks = lacking.get(offer.provider, "")
    return CALLED.get(lacks, lacks) or ("rehearsal" if offer.provider == REHEARSAL else "")


def _advice(found: Comparison, picks: Picks) -> list[Fact]:
    """Point at the rows that answer what people ask, and say how far to trust them."""
    facts: list[Fact] = []
    if picks.cheapest is not None:
        facts.append(("cheapest", _pick(picks.cheapest, found)))
    if picks.rented is not None:
        facts.append(("rented", _pick(picks.rented, found)))
    if picks.cheapest is not picks.ready:
        facts.append(
            ("ready now", _nothing_ready(found) if picks.ready is None else _pick(picks.ready, found))
        )
    if picks.fastest is not None:
        facts.append(("fastest", _pick(picks.fastest, found)))
    if picks.spot_not_cheaper:
        named = ", ".join(" ".join(kind) for kind in picks.spot_not_cheaper[:SHOWN_SPOT])
        more = len(picks.spot_not_cheaper) - SHOWN_SPOT
        some = f" and {more} more" if more > 0 else ""
        facts.append(("spot", f"is not cheaper, its interruptions priced in, for {named}{some}"))
    look_at = picks.rented or picks.cheapest or found.estimates[0]
    if look_at.source.value == "guess":
        training = next(line for line in look_at.lines if line.item == "training")
        facts.append(("time", training.basis))
    facts += [("narrower with" if not n else "", hint) for n, hint in enumerate(look_at.narrow_by)]
    spot = " --spot" if look_at.offer.spot else ""
    where = f"--provider {look_at.offer.provider} --instance {look_at.offer.instance_type}{spot}"
    return [*facts, ("line by line", f"launch estimate … {where}")]


def _free(ways: Sequence[FreeWay]) -> RenderableType:
    """Draw what is given away apart from what can be rented: nothing here starts a run on it."""
    rows = []
    for way in ways:
        machine, (likely, high) = way.given.machine, way.sessions
        more = f", up to {high}" if high > likely else ""
        weeks = f", {way.weeks} weeks" if way.weeks > 1 else ""
        rows.append(
            {
                "FREE": f"{machine.provider} {machine.instance_type}",
                "TIME": words.roughly(3600 * way.hours.likely),
                "SESSIONS": f"{likely} of {way.given.session_h:g} h{more}{weeks}",
                "A WEEK": f"{way.given.per_week_h:g} h",
                "USED": "not known here",
                "AS OF": f"{machine.priced_at:%Y-%m-%d}",
                "TIME IS": SOURCES.get(way.source.value, way.source.value),
            }
        )
    hint = "$0, and launch cannot start it yet: by hand, as docs/estimates.md says (Free hours)"
    return Group(
        Fitted(rows, expendable=("TIME IS", "AS OF", "USED"), marks=MARKS), Text(hint, style=style.QUIET)
    )


def _nothing_ready(found: Comparison) -> str:
    if set(found.lacking.values()) == {"network"}:
        return "not known: no provider was asked, or none answered"
    return "nothing yet: what is missing stands below; `launch doctor` checks it"


def _pick(item: Estimate, found: Comparison) -> str:
    lacks = _missing(item.offer, found.lacking)
    fit = next((fit for one, fit in zip(found.estimates, found.fits, strict=False) if one is item), None)
    said = f"{offer_words(item.offer)}: {usd_range(item.usd)} in {hours_range(item.hours)}"
    said += f"; {fit.words} of the work fits" if fit is not None and not fit.fits else ""
    return f"{said}; missing: {lacks}" if lacks else said


def misses_view(found: Comparison) -> RenderableType:
    """Say what providers lack that offer nothing or could not be asked, and which prices are old."""
    offers = list(dict.fromkeys(offer for item in found.estimates for offer in item.offers))
    ages = {
        name: max(age_days(offer, found.now) for offer in offers if offer.provider == name)
        for name in found.lacking
        if any(offer.provider == name for offer in offers)  # the other stages of a job may have nothing there
    }
    parts: list[RenderableType] = [_misses(found.misses, ages)] if found.misses else []
    stale = [offer for offer in offers if age_days(offer, found.now) > STALE_DAYS]
    if stale:
        oldest = min(offer.priced_at for offer in stale)
        some = f"{len(stale)} of these prices are" if len(stale) > 1 else "one of these prices is"
        text = f"! {some} older than {STALE_DAYS} days, the oldest of {oldest:%Y-%m-%d}"
        parts.append(Text(text, style=style.WARNING))
    return Group(*parts)


def _misses(misses: Sequence[Miss], ages: Mapping[str, float]) -> RenderableType:
    """``ages``: provider → days of the oldest price shown, where a dated table has answered for it."""
    facts = []
    for miss in misses:
        fix = f"  →  {miss.hint}" if miss.hint else ""
        said = miss.message.removeprefix(f"{miss.provider} ").removeprefix(f"{miss.provider}: ")
        priced = ""
        if (days := ages.get(miss.provider)) is not None:
            priced = f" (priced from its dated table, up to {int(days)} days old)"
        facts.append((miss.provider, words.plain(said + fix) + priced))
    return fact_grid(facts)


def offers_view(
    offers: Sequence[Offer], market: Market, now: datetime, *, everything: bool = False
) -> RenderableType:
    """Draw what can be rented, cheapest first, with the age and source of each price."""
    shown = offers if everything else offers[:SHOWN_ROWS]
    rows = [
        {
            "OFFER": _name(offer),
            "GPU": gpus(offer),
            "VRAM": f"{offer.gpu_memory_gib:.0f}" if offer.gpu_name else "",
            "CPU": f"{offer.vcpus:g}",
            "RAM": f"{offer.memory_gib:.0f}",
            "PLACE": offer.zone or offer.region,
            "PRICE": words.usd_per_hour(offer.usd_per_hour),
            "AGE": words.age((now - offer.priced_at).total_seconds()),
            "SOURCE": offer.price_source,
            "MISSING": _missing(offer, market.lacking),
        }
        for offer in shown
    ]
    parts: list[RenderableType] = [Fitted(rows, expendable=LESS_NEEDED_OF_OFFERS)]
    if len(offers) > len(shown):
        parts.append(Text(f"and {len(offers) - len(shown)} more: --all", style=style.QUIET))
    ages = {
        name: max(age_days(offer, now) for offer in offers if offer.provider == name)
        for name in market.lacking
        if any(offer.provider == name for offer in offers)
    }
    if market.misses:
        parts.append(_misses(market.misses, ages))
    return Group(*parts)
