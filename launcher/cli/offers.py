"""`launch offers`: what can be rented now, with the age and source of each price."""

from __future__ import annotations

from typing import Any

import click

from launcher.cli.arguments import example
from launcher.cli.failures import failure_of
from launcher.cli.options import CHOICE, OUTPUT, RANKING, api_options, refuse_two_forms
from launcher.cli.screen import Screen

__all__ = ["offers"]

EXIT_NO_OFFER = 4

NEEDS = (
    click.Option(["--gpu-memory"], metavar="SIZE", help="At least so much memory on one GPU: 12.4GB."),
    click.Option(["--memory"], metavar="AMOUNT", help="Memory of the machine: 64GB+."),
    click.Option(["--cpus"], metavar="AMOUNT", help="Virtual CPUs: 8+."),
)


def _offers(**given: Any) -> int:
    screen = Screen(json=given["as_json"], debug=given["debug"])
    refuse_two_forms(given)
    from launcher.planning.offers import offers_now
    from provisioning.models import utc_now

    needs = {name: given[name] for name in ("gpu_memory", "memory", "cpus") if given[name] is not None}
    with screen.busy("Asking for prices"):
        found = offers_now(offline=given["offline"], **api_options(given), **needs)
    now = utc_now()
    from launcher.render.rows import OFFER_COLUMNS, as_csv, offer_row

    market, nothing = found.market, found.nothing
    rows = [offer_row(offer, now, market.lacking.get(offer.provider, "")) for offer in found.offers]
    if given["as_csv"]:
        screen.raw(as_csv(rows, OFFER_COLUMNS))
    elif screen.json:
        missed = [{"provider": m.provider, "message": m.message, "hint": m.hint} for m in market.misses]
        screen.document({"offers": rows, "without_offer": missed})
    elif nothing is None:
        from launcher.render.ranking import offers_view

        screen.show(offers_view(found.offers, market, now, everything=given["everything"]))
    if nothing is not None:
        screen.notice(failure_of(nothing).text())
        return EXIT_NO_OFFER
    return 0


offers = click.Command(
    name="offers",
    callback=_offers,
    params=[*CHOICE, *NEEDS, *RANKING, *OUTPUT],
    short_help="What can be rented now, and for how much.",
    help="List what every provider would rent now, cheapest first, with the age and source of each price.",
    epilog=example("launch offers --gpu T4 --spot", "launch offers --gpu-memory 12.4GB --offline --csv"),
)
