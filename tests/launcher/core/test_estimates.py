"""One bill, computed by hand."""

from __future__ import annotations

import dataclasses

import pytest

from launcher.forecast.conditions import Conditions, Sizes
from launcher.forecast.estimates import estimate
from launcher.forecast.money import GIB
from launcher.forecast.ranges import Range
from launcher.forecast.throughput import EarlierRun, Source, Work
from tests.launcher.core.builders import offer

KNOWN_WORLD = Conditions(
    boot_s=Range.exactly(360.0),
    setup_s=Range.exactly(720.0),
    up=Range.exactly(GIB / 1800),
    down=Range.exactly(GIB / 900),
    fetch=Range.exactly(GIB / 60),
    links_measured=True,
    mirror_every_s=1800.0,
    disk_gib=73.0,
)
SIZES = Sizes(data_bytes=2 * GIB, checkpoint_bytes=GIB // 2, output_bytes=GIB // 2)
TEN_HOURS = (EarlierRun(steps_per_s=1.0, gpu_name="T4"),)
DOLLAR_AN_HOUR = offer(
    usd_per_hour=1.0,
    disk_usd_per_gib_month=0.1,
    ipv4_usd_per_hour=0.005,
    egress_usd_per_gib=0.08,
    ingress_usd_per_gib=0.02,
)


def test_every_line() -> None:
    made = estimate(
        DOLLAR_AN_HOUR, Work(steps=36_000), conditions=KNOWN_WORLD, sizes=SIZES, history=TEN_HOURS
    )
    hours = 0.1 + 1.0 + 0.2 + 10.0 + 0.25
    assert made.hours.likely == pytest.approx(hours)
    assert {line.item: line.usd.likely for line in made.lines} == pytest.approx(
        {
            "boot": 0.1,
            "data transfer": 1.0 + 2 * 0.02,
            "setup": 0.2,
            "training": 10.0,
            "output pull": 0.25,
            "checkpoint mirroring": 20 * 0.5 * 0.08,
            "disk": 73.0 * 0.1 * hours / 730.0,
            "IPv4": hours * 0.005,
            "egress": 1.0 * 0.08,
        }
    )
    assert made.source is Source.MEASURED


def test_a_spot_machine_pays_for_the_way_back_and_for_work_done_twice() -> None:
    taken = offer(spot=True, usd_per_hour=1.0, interruptions_per_hour=0.1)
    made = estimate(taken, Work(steps=36_000), conditions=KNOWN_WORLD, sizes=SIZES, history=TEN_HOURS)
    (line,) = [line for line in made.lines if line.item == "interruptions"]
    # About one interruption: half of (30 min + 7.5 min of transfer), and 1.55 h of boot, data, setup and pull.
    assert line.hours.likely == pytest.approx(10.0 * 0.1 * (0.3125 + 1.55), rel=0.15)
    assert line.hours.low == 0.0
    assert "no notice is promised" in made.notice


def test_a_machine_without_risk_says_nothing_about_notices() -> None:
    made = estimate(
        DOLLAR_AN_HOUR, Work(steps=36_000), conditions=KNOWN_WORLD, sizes=SIZES, history=TEN_HOURS
    )
    assert made.notice == ""


def test_what_the_machine_fetches_of_unknown_size_is_a_wide_range_and_says_so() -> None:
    unknown = dataclasses.replace(SIZES, fetched_bytes=None)
    made = estimate(
        DOLLAR_AN_HOUR, Work(steps=36_000), conditions=KNOWN_WORLD, sizes=unknown, history=TEN_HOURS
    )
    (line,) = [line for line in made.lines if line.item == "data transfer"]
    assert line.hours.high > line.hours.likely > line.hours.low > 1.0
    assert "fetched by the machine, assumed" in line.basis
