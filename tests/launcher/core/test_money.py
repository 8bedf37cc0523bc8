from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.forecast.money import (
    GIB,
    HOURS_PER_MONTH,
    Bill,
    Usage,
    bill,
    burn_usd_per_hour,
    interval_s,
    spent_usd,
    total,
)
from tests.launcher.core.builders import NOON, offer, this_computer

RATES = st.floats(0.0, 1000.0)
OFFERS = st.builds(
    offer,
    usd_per_hour=RATES,
    disk_usd_per_gib_month=RATES,
    ipv4_usd_per_hour=RATES,
    ingress_usd_per_gib=RATES,
    egress_usd_per_gib=RATES,
)


def test_every_line_of_the_bill() -> None:
    rates = offer(
        usd_per_hour=1.0,
        disk_usd_per_gib_month=0.1,
        ipv4_usd_per_hour=0.005,
        ingress_usd_per_gib=0.02,
        egress_usd_per_gib=0.09,
    )
    usage = Usage(
        compute_s=7200,
        disk_gib=100,
        disk_s=HOURS_PER_MONTH * 3600,
        ipv4_s=3600,
        ingress_bytes=GIB,
        egress_bytes=2 * GIB,
    )
    assert bill(rates, usage) == Bill(
        compute=2.0, disk=pytest.approx(10.0), ipv4=0.005, ingress=0.02, egress=0.18
    )
    assert bill(rates, usage).usd == pytest.approx(12.205)


def test_this_computer_costs_nothing() -> None:
    assert spent_usd(this_computer(), NOON, NOON + timedelta(days=9), disk_gib=500, egress_bytes=GIB) == 0.0


def test_a_parked_machine_still_pays_for_its_disk() -> None:
    parked = burn_usd_per_hour(offer(), disk_gib=100, running=False)
    assert parked == pytest.approx(0.08 * 100 / HOURS_PER_MONTH)
    assert burn_usd_per_hour(offer(), disk_gib=100) == pytest.approx(parked + 0.526 + 0.005)


def test_a_clock_that_was_set_back_makes_no_negative_bill() -> None:
    assert interval_s(NOON, NOON - timedelta(hours=1)) == 0.0
    assert spent_usd(offer(), NOON, NOON - timedelta(hours=1)) == 0.0


@pytest.mark.parametrize(
    "name", ["compute_s", "disk_gib", "disk_s", "ipv4_s", "ingress_bytes", "egress_bytes"]
)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_impossible_usage_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Usage(**{name: value})  # type: ignore[arg-type]


@given(OFFERS, st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20), st.floats(0.0, 1e4))
def test_cutting_an_interval_never_changes_the_sum(rates: object, cuts: list[float], disk_gib: float) -> None:
    times = [NOON + timedelta(seconds=cut) for cut in sorted(cuts)]
    whole = spent_usd(rates, times[0], times[-1], disk_gib=disk_gib)  # type: ignore[arg-type]
    pieces = [
        spent_usd(rates, start, end, disk_gib=disk_gib)  # type: ignore[arg-type]
        for start, end in itertools.pairwise(times)
    ]
    assert sum(pieces) == pytest.approx(whole, rel=1e-9, abs=1e-9)


@given(
    st.lists(st.builds(Bill, compute=RATES, disk=RATES, ipv4=RATES, ingress=RATES, egress=RATES), max_size=9)
)
def test_a_run_costs_the_sum_of_its_attempts_in_any_order(bills: list[Bill]) -> None:
    assert total(bills) == total(reversed(bills))
    assert total(bills).usd == pytest.approx(sum(item.usd for item in bills))
