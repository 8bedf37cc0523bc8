"""One bill, computed by hand."""

from __future__ import annotations

import dataclasses

import pytest

from launcher.forecast.conditions import Conditions, Sizes, default_conditions, disk_of
from launcher.forecast.estimates import estimate
from launcher.forecast.money import GIB
from launcher.forecast.ranges import Range
from launcher.forecast.throughput import EarlierRun, Source, Work
from tests.launcher.core.builders import offer, spot_offer

KNOWN_WORLD = Conditions(
    boot_s=Range.exactly(360.0),
    setup_s=Range.exactly(720.0),
    up=Range.exactly(GIB / 1800),
    down=Range.exactly(GIB / 900),
    fetch=Range.exactly(GIB / 60),
    up_from="measured",
    down_from="measured",
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
            "checkpoint mirroring": (1 + 20) * 0.5 * 0.08,
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


def test_gpus_that_the_job_does_not_use_have_a_line_of_their_own() -> None:
    machine = offer(gpu_count=4, usd_per_hour=4.0)
    used, idle = (
        estimate(
            machine,
            Work(hours=2, on="T4"),
            conditions=dataclasses.replace(KNOWN_WORLD, gpus_used=count),
            sizes=Sizes(),
        )
        for count in (4, 1)
    )
    lines = {line.item: line for line in idle.lines}
    assert idle.usd.likely == pytest.approx(used.usd.likely)
    assert lines["idle GPUs"].usd.likely == pytest.approx(3 / 4 * 4.0 * idle.hours.likely)
    assert "3 of 4 GPUs" in lines["idle GPUs"].basis
    assert "idle GPUs" not in {line.item for line in used.lines}


def test_what_comes_beside_the_steps_is_a_line() -> None:
    said = estimate(offer(), Work(steps=100, evaluation_h=0.5), conditions=KNOWN_WORLD, sizes=Sizes())
    line = next(line for line in said.lines if line.item == "evaluation")
    assert line.hours.likely == 0.5 and "as the job says" in line.basis
    seen = EarlierRun(steps_per_s=10.0, gpu_name="T4", label="b2t-x4k2", beside_share=0.25)
    again = estimate(offer(), Work(steps=36_000), conditions=KNOWN_WORLD, sizes=Sizes(), history=[seen])
    line = next(line for line in again.lines if line.item == "evaluation")
    assert line.hours.likely == pytest.approx(0.25)
    assert "25%" in line.basis and "b2t-x4k2" in line.basis


def test_the_rate_of_interruptions_names_its_source() -> None:
    said = spot_offer(notes=("interruptions: Spot Advisor bucket >20 % a month, of 2025-06-28",))
    made = estimate(said, Work(hours=9, on="T4"), conditions=KNOWN_WORLD, sizes=Sizes())
    line = next(line for line in made.lines if line.item == "interruptions")
    assert "Spot Advisor bucket >20 %" in line.basis
    own = dataclasses.replace(
        KNOWN_WORLD, interruptions_per_hour=0.3, interruptions_from="6 in 20 h of your own"
    )
    made = estimate(said, Work(hours=9, on="T4"), conditions=own, sizes=Sizes())
    assert "6 in 20 h of your own" in next(line for line in made.lines if line.item == "interruptions").basis


def test_an_archive_and_what_it_becomes_need_room_together() -> None:
    packed = disk_of(Sizes(fetched_bytes=10 << 30), rented=True)
    unpacked = disk_of(Sizes(fetched_bytes=10 << 30, unpacks=True), rented=True)
    assert unpacked.gib > packed.gib + 15
    assert "unpacked" in unpacked.words and "environment" in unpacked.words


def test_nobody_is_asked_for_an_uplink_where_nothing_travels() -> None:
    """Data is linked on this computer; for a rented machine the uplink is what is least known."""
    hints = [
        estimate(
            of,
            Work(hours=1.0, on="T4"),
            conditions=default_conditions(of.provider),
            sizes=Sizes(data_bytes=20 << 30, checkpoint_bytes=1, output_bytes=1),
        ).narrow_by
        for of in (offer(provider="fake"), offer())
    ]
    assert ["uplink" in " ".join(found) for found in hints] == [False, True]
