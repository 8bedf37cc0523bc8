"""Hosts of a marketplace are compared by the whole run on each: its disk, its traffic, its links."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.forecast.conditions import Sizes, default_conditions, over_links_of
from launcher.forecast.throughput import Work
from launcher.planning.plan import Plan, Wants, make_plan
from provisioning import Offer
from provisioning.vast.provider import VastProvider
from tests.launcher.core.builders import NOON
from tests.launcher.core.builders import offer as any_offer

VAST = {"vast": VastProvider.capabilities}
MBIT = 1e6 / 8
DATA = Sizes(code_bytes=10**6, data_bytes=40 * 10**9, checkpoint_bytes=5 * 10**8, output_bytes=10**8)


def host(machine: int, **changes: object) -> Offer:
    told = {
        "provider": "vast",
        "instance_type": "1x-RTX-4090",
        "gpu_name": "RTX 4090",
        "gpu_memory_gib": 24.0,
        "location": f"m{machine}",
        "region": "US",
        "zone": None,
        "offer_id": str(machine),
        "usd_per_hour": 0.40,
        "ipv4_usd_per_hour": 0.0,
        "egress_usd_per_gib": 0.0,
        "disk_usd_per_gib_month": 0.15,
        "link_down_bytes_per_s": 800 * MBIT,
        "link_up_bytes_per_s": 400 * MBIT,
    }
    return any_offer(**{**told, **changes})


def planned(*offers: Offer, sizes: Sizes = DATA, disk_gib: float = 60.0) -> Plan:
    wants = Wants(
        work=Work(hours=6.0, on="RTX 4090"), sizes=sizes, disk_gib=disk_gib, up_bytes_per_s=500 * MBIT
    )
    return make_plan(offers, wants, capabilities=VAST, now=NOON)


@pytest.mark.parametrize(
    "dear_in_the_end",
    [
        {"ingress_usd_per_gib": 0.05},
        {"egress_usd_per_gib": 0.50},
        {"disk_usd_per_gib_month": 6.0},
        {"link_down_bytes_per_s": 20 * MBIT},
        {"link_up_bytes_per_s": 2 * MBIT},
    ],
)
def test_the_cheapest_hour_is_not_the_cheapest_run(dear_in_the_end: dict[str, float]) -> None:
    seems_cheap = host(1, usd_per_hour=0.38, **dear_in_the_end)
    assert planned(seems_cheap, host(2)).offer == host(2)
    nothing = Sizes(code_bytes=1000, checkpoint_bytes=1000, output_bytes=1000)
    assert planned(seems_cheap, host(2), sizes=nothing, disk_gib=0.1).offer == seems_cheap


def test_a_bid_is_reckoned_as_lost_without_notice() -> None:
    bid = host(1, spot=True, interruptions_per_hour=1 / 12, usd_per_hour=0.2)
    wants = Wants(work=Work(hours=6.0, on="RTX 4090"), sizes=DATA, spot=True)
    made = make_plan([bid], wants, capabilities=VAST, now=NOON)
    assert "no notice is promised" in made.estimate.notice
    (line,) = [line for line in made.estimate.lines if line.item == "interruptions"]
    assert "work since the last mirrored checkpoint lost" in line.basis


def test_every_candidate_is_a_machine_of_its_own() -> None:
    assert [offer.location for offer in planned(host(3), host(1), host(2)).candidates] == ["m1", "m2", "m3"]


@given(st.floats(1, 1e4), st.floats(1, 1e4))
def test_no_way_is_faster_than_the_machines_own_link(down_mbit: float, up_mbit: float) -> None:
    offer = host(1, link_down_bytes_per_s=down_mbit * MBIT, link_up_bytes_per_s=up_mbit * MBIT)
    known = over_links_of(offer, default_conditions("vast"))
    assert max(known.up.high, known.fetch.high) <= down_mbit * MBIT
    assert known.down.high <= up_mbit * MBIT


def test_where_nobody_says_how_fast_a_link_is_the_assumptions_stay() -> None:
    unknown = host(1, link_down_bytes_per_s=None, link_up_bytes_per_s=None)
    assert over_links_of(unknown, default_conditions("vast")) == default_conditions("vast")
