"""A ranking as people read it: no word is broken on a narrow screen, and the rows worth looking at are pointed out."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from launcher.forecast.conditions import Sizes, default_conditions
from launcher.forecast.estimates import Estimate, estimate
from launcher.forecast.throughput import Work
from launcher.planning.comparison import Comparison
from launcher.planning.fits import Fit
from launcher.planning.picks import picks_of
from launcher.planning.prices import Market, Miss
from launcher.render import words
from launcher.render.fitted import columns_that_fit
from launcher.render.ranking import comparison_view, offers_view
from provisioning import Offer
from tests.launcher.core.builders import NOON, offer, spot_offer, this_computer

WORK = Work(hours=3.5, on="RTX 4090")


def priced(of: Offer, work: Work = WORK) -> Estimate:
    return estimate(of, work, conditions=default_conditions(of.provider), sizes=Sizes(code_bytes=1000))


def compared(*offers: Offer, work: Work = WORK, **more: Any) -> Comparison:
    items = sorted((priced(of, work) for of in offers), key=lambda item: item.usd.likely)
    return Comparison(estimates=tuple(items), is_open=True, now=NOON + timedelta(days=64), **more)


def drawn(view: Any, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, no_color=True, emoji=False, markup=False, highlight=False).print(view)
    return [line.rstrip() for line in out.getvalue().splitlines()]


H100 = offer(
    instance_type="p5.4xlarge", gpu_name="H100 SXM", gpu_memory_gib=80.0, usd_per_hour=6.88, vcpus=16.0
)
DEAR_SPOT = spot_offer(instance_type="p3.2xlarge", usd_per_hour=3.0, interruptions_per_hour=0.5)
DEAR = offer(instance_type="p3.2xlarge", usd_per_hour=3.06)
PRETENDED = offer(provider="fake", instance_type="t4.1x", usd_per_hour=0.01)
MISS = Miss(provider="aws", message="aws: nobody is logged in", hint="`aws configure`")


@pytest.mark.parametrize("width", [80, 100, 200])
def test_every_row_is_one_line_however_narrow_the_screen(width: int) -> None:
    found = compared(
        offer(),
        spot_offer(),
        H100,
        PRETENDED,
        this_computer(),
        lacking={"aws": "credentials"},
        misses=(MISS,),
    )
    lines = drawn(comparison_view("b2t", found), width)
    assert all(len(line) <= width for line in lines)
    rows = {line.split("  ")[1]: line for line in lines if "$0.526/h" in line or "$6.88" in line}
    assert ("~" if width == 80 else "scaled") in rows["aws g4dn.xlarge"]
    assert "aws g4dn.xlarge" in rows and "account" in rows["aws g4dn.xlarge"]
    text = " ".join(" ".join(lines).split())
    assert ("PLACE" in lines[2]) == (width == 200) and ("no room for PLACE" in text) == (width < 200)
    assert "priced from its dated table, up to 64 days old" in text
    assert "5 of these prices are older than 60 days, the oldest of 2026-11-21" in text


def test_the_rows_that_answer_a_question_are_pointed_out() -> None:
    offers = (offer(), H100, PRETENDED, this_computer(), DEAR, DEAR_SPOT)
    picks = picks_of(compared(*offers, lacking={"aws": "credentials"}))
    assert picks.cheapest is not None and picks.cheapest is picks.ready
    assert picks.cheapest.offer.provider == "local"
    assert picks.rented is not None and picks.rented.offer.instance_type == "g4dn.xlarge"
    assert picks.fastest is not None and picks.fastest.offer.gpu_name == "H100 SXM"
    assert picks.spot_not_cheaper == (("aws", "p3.2xlarge"),)
    text = " ".join(" ".join(drawn(comparison_view("b2t", compared(*offers)), 120)).split())
    assert "is not cheaper, its interruptions priced in, for aws p3.2xlarge" in text
    assert "line by line launch estimate … --provider aws --instance g4dn.xlarge" in text


def test_a_rehearsal_is_nothing_to_point_at_and_what_does_not_fit_no_answer() -> None:
    nothing = picks_of(compared(PRETENDED))
    assert (nothing.cheapest, nothing.ready, nothing.fastest) == (None, None, None)
    fits = (Fit(share=0.5, is_sure=False, bound_by="time"), Fit(share=1.0, is_sure=True))
    limited = picks_of(compared(offer(), H100, fits=fits))
    assert limited.cheapest is not None and limited.cheapest.offer.gpu_name == "H100 SXM"
    none = compared(offer(), fits=fits[:1], lacking={"aws": "network"})
    text = " ".join(" ".join(drawn(comparison_view("b2t", none), 200)).split())
    assert "; 50 % of the work fits; missing: network" in text and "ready now not known" in text


def test_a_guess_is_called_one_below_the_table_with_what_makes_it_narrower() -> None:
    text = " ".join(" ".join(drawn(comparison_view("b2t", compared(offer(), work=Work())), 80)).split())
    assert "time a guess: nothing is known about this work" in text
    assert "narrower with work: {steps: …}" in text


def test_offers_fit_too() -> None:
    lines = drawn(offers_view((offer(), H100), Market(offers=(), misses=(MISS,)), NOON), 80)
    assert all(len(line) <= 80 for line in lines)
    assert any("p5.4xlarge" in line and "$6.880/h" in line for line in lines)
    assert "no room for SOURCE" in "\n".join(lines)


def test_columns_go_in_their_order_until_the_rest_fits() -> None:
    widths = {"A": 10, "B": 20, "C": 5}
    assert columns_that_fit(widths, 39, expendable=("C", "B")) == (("A", "B", "C"), ())
    assert columns_that_fit(widths, 38, expendable=("C", "B")) == (("A", "B"), ("C",))
    assert columns_that_fit(widths, 5, expendable=("C", "B")) == (("A",), ("C", "B"))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1.0 min"), (11_160, "3.1 h"), (43_560, "12 h"), (6_580_000, "76 d")],
)
def test_a_time_in_a_table_is_short(seconds: float, said: str) -> None:
    assert words.roughly(seconds) == said
