"""What was read of prices, and that the tables that ship say nothing else."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import pytest

from provisioning.aws.table import tables as aws_tables
from provisioning.dated import providers_with_tables
from provisioning.gcp.table import tables as gcp_tables
from provisioning.models import utc_now
from provisioning.readings import Reading, Source, merged, read_readings, table_rows, write_readings
from provisioning.vast.table import HOSTS
from provisioning.vast.table import tables as vast_tables

PACKAGE = Path(__file__).parents[2] / "provisioning"
MADE: dict[str, Callable[[Sequence[Reading]], Mapping[str, str]]] = {
    "aws": aws_tables,
    "gcp": gcp_tables,
    "vast": vast_tables,
}


def kept(provider: str) -> tuple[Reading, ...]:
    return read_readings((PACKAGE / provider / "readings.csv").read_text(encoding="utf-8"))


def test_every_provider_with_a_table_has_readings() -> None:
    assert set(MADE) == set(providers_with_tables())
    assert {row.item for row in kept("vast")} >= set(HOSTS)


@pytest.mark.parametrize("provider", MADE)
def test_a_table_that_ships_is_what_its_readings_say(provider: str) -> None:
    for name, text in MADE[provider](kept(provider)).items():
        assert text == (PACKAGE / provider / name).read_text(encoding="utf-8"), (
            f"python -m provisioning.{provider}.table writes {name} anew"
        )


@pytest.mark.parametrize("provider", MADE)
def test_no_price_is_older_than_the_day_it_states(provider: str) -> None:
    """A price is of the day of what it was read in, and none of those days is still to come."""
    readings = kept(provider)
    days = {item.source.day.isoformat() for item in readings}
    for name, text in MADE[provider](readings).items():
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        for row in csv.DictReader(lines):
            assert row["as_of"] in days, (name, row)
    assert all(date(2025, 1, 1) <= item.source.day <= utc_now().date() for item in readings)
    assert all(len(item.source.citation) > 20 for item in readings)


def test_a_part_of_two_hosts_is_as_old_as_the_older() -> None:
    def host(name: str, usd: float, day: date) -> Reading:
        return reading(f"{name} host", usd, source=source("s" + day.isoformat(), day))

    made = gcp_tables(
        [host("a2-highgpu-1g", 0.7395, date(2026, 9, 1)), host("a2-ultragpu-1g", 1.0996, date(2026, 3, 1))]
    )["prices.csv"]
    rows = {row["part"]: row for row in csv.DictReader(x for x in made.splitlines() if x[0] != "#")}
    assert {row["as_of"] for row in rows.values()} == {"2026-03-01"}
    core, ram = (float(rows[part]["usd_per_hour"]) for part in ("a2-core", "a2-ram"))
    assert 12 * core + 85 * ram == pytest.approx(0.7395, abs=1e-5)
    assert 12 * core + 170 * ram == pytest.approx(1.0996, abs=1e-5)


def source(name: str = "list", day: date = date(2026, 9, 1)) -> Source:
    return Source(name=name, day=day, evidence="read", citation="a list of prices, somewhere")


def reading(item: str = "t4", low: float = 0.5, high: float | None = None, **more: object) -> Reading:
    values = {"places": ("here", "there"), "market": "on-demand", "source": source(), **more}
    return Reading(item=item, low_usd=low, high_usd=low if high is None else high, **values)  # type: ignore[arg-type]


def test_readings_survive_being_written_and_a_range_becomes_its_middle() -> None:
    readings = (reading("l4", 0.2, 0.4), reading("t4", places=("here",), source=source("other")))
    text = write_readings(readings, ["About."])
    assert text.startswith("# About.\n# source list 2026-09-01 read: a list")
    assert read_readings(text) == readings
    rows = list(table_rows(readings))
    assert [(row.item, row.place) for row in rows] == [("l4", "here"), ("l4", "there"), ("t4", "here")]
    assert rows[0].usd_per_hour == pytest.approx(0.3) and rows[0].as_of == "2026-09-01"


def test_what_is_read_anew_takes_the_place_of_what_stood_there() -> None:
    known = (reading("l4"), reading("t4"), reading("t4", market="spot"))
    fresh = [reading("t4", 0.6, places=("there",), source=source("new", date(2026, 11, 1)))]
    now = {
        (row.item, row.place, row.market): (row.usd_per_hour, row.as_of)
        for row in table_rows(merged(known, fresh))
    }
    assert now["t4", "there", "on-demand"] == (0.6, "2026-11-01")
    assert now["t4", "here", "on-demand"] == now["l4", "there", "on-demand"] == (0.5, "2026-09-01")
    assert now["t4", "there", "spot"] == (0.5, "2026-09-01")


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("t4,here,on-demand,0.5,,nowhere", "a source that is not described"),
        ("t4,here,on-demand,0.5,0.4,list", "no price of a market in a place"),
        ("t4,here,on-demand,0,,list", "no price of a market in a place"),
        ("t4,here,rented,0.5,,list", "no price of a market in a place"),
        ("t4,,on-demand,0.5,,list", "no price of a market in a place"),
        ("l4,there here,on-demand,0.5,,list", "says the same as a row before"),
    ],
)
def test_readings_that_contradict_themselves_are_refused(row: str, why: str) -> None:
    head = "# source list 2026-09-01 read: a list\nitem,places,market,low_usd,high_usd,source\n"
    with pytest.raises(ValueError, match=why):
        read_readings(f"{head}l4,here,on-demand,0.2,,list\n{row}\n")
