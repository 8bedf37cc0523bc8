"""The page on estimates states numbers; these are the ones that the code uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launcher.forecast.conditions import default_conditions
from launcher.forecast.mirror_interval import LOST_HOUR_USD, TRAFFIC_USD_PER_HOUR, choose_mirror_every
from launcher.forecast.money import HOURS_PER_MONTH
from launcher.forecast.speeds import gpu_speed
from tests.launcher.core.builders import offer

PAGE = (Path(__file__).parents[3] / "docs" / "estimates.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Rows of the table that begins with ``heading``."""
    table = PAGE.split(heading, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


@pytest.mark.parametrize("row", rows("| provider | low | likely | high |"), ids=lambda row: row[0])
def test_assumed_boot_times(row: list[str]) -> None:
    boot_s = default_conditions(row[0]).boot_s
    assert [float(cell) for cell in row[1:]] == [boot_s.low, boot_s.likely, boot_s.high]


@pytest.mark.parametrize(
    "row", rows("| GPU | TFLOPS (dense, sustained) | memory GB/s | clock GHz |"), ids=lambda row: row[0]
)
def test_speeds_of_gpus(row: list[str]) -> None:
    speed = gpu_speed(row[0])
    assert speed is not None
    assert [float(cell) for cell in row[1:]] == [speed.tflops, speed.bandwidth_gb_s, speed.clock_ghz]


def test_links_and_months() -> None:
    link = {row[0]: [float(cell) for cell in row[1:]] for row in rows("| what | low | likely | high |")}
    conditions = default_conditions("aws")
    for name, rate in (("home uplink, Mbit/s", conditions.up), ("home downlink, Mbit/s", conditions.down)):
        assert link[name] == pytest.approx(
            [8 * rate.low / 1e6, 8 * rate.likely / 1e6, 8 * rate.high / 1e6], rel=0.05
        )
    assert f"{HOURS_PER_MONTH:g} hours" in PAGE


def test_the_price_of_mirroring_a_full_model() -> None:
    stated = re.search(
        r"0\.53 GB at \$0\.09/GiB costs \$(\d+\.\d+) an hour .*?Every hour\s+it costs \$(\d+\.\d+)",
        PAGE,
        re.DOTALL,
    )
    assert stated
    for every_s, usd in ((300.0, stated[1]), (3600.0, stated[2])):
        choice = choose_mirror_every(
            offer(), checkpoint_bytes=530_000_000, link_bytes_per_s=12.5e6, save_every_s=60.0, asked_s=every_s
        )
        assert choice.usd_per_hour == pytest.approx(float(usd), abs=0.01)
    assert f"${TRAFFIC_USD_PER_HOUR:.2f}, plus ${LOST_HOUR_USD:.2f}" in PAGE
