"""Hours that are given away: told of, with how often a run would have to be started, and never among what can be rented."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.forecast.throughput import EarlierRun, Source, Work
from launcher.job import Job
from launcher.planning.free import FreeWay, free_ways
from launcher.planning.plan import Wants
from provisioning import Query
from provisioning.free_hours import free_hours


def ways(work: Work, **wants: Any) -> tuple[FreeWay, ...]:
    return free_ways(Job.from_command(["true"]), Wants(work=work, **wants))


def on_a_t4(hours: int) -> FreeWay:
    known = (EarlierRun(steps_per_s=1.0, gpu_name="T4"),)
    found = ways(Work(steps=hours * 3600), history=known)
    return next(way for way in found if way.given.machine.gpu_name == "T4")


def test_a_day_of_work_takes_two_sessions_and_more_than_thirty_hours_two_weeks() -> None:
    assert [on_a_t4(hours).sessions for hours in (5, 20, 40)] == [(1, 1), (2, 3), (4, 5)]
    assert [on_a_t4(hours).weeks for hours in (5, 20, 40)] == [1, 1, 2]
    assert on_a_t4(5).source is Source.MEASURED


def test_the_shortest_time_comes_first_and_nothing_costs_anything() -> None:
    found = ways(Work(hours=3.5, on="RTX 4090"))
    assert [way.hours.likely for way in found] == sorted(way.hours.likely for way in found)
    assert {way.given.machine.usd_per_hour for way in found} == {0.0}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (Query(), {"T4 x2", "P100"}),
        (Query(gpu_name="T4", gpu_count=2), {"T4 x2"}),
        (Query(gpu_name="A100"), set()),
        (Query(min_memory_gib=60.0), set()),
        (Query(spot=True), set()),
        (Query(region="us-east-1"), set()),
        (Query(instance_type="g4dn.xlarge"), set()),
    ],
)
def test_only_what_has_what_is_asked_for(query: Query, names: set[str]) -> None:
    assert {item.machine.instance_type for item in free_hours(query)} == names
