"""The formula against a simulation of the process that it describes."""

from __future__ import annotations

import random
import statistics

import pytest

from launcher.forecast.interruptions import HARDLY_GETS_THROUGH, expected_hours, quantile_hours, toll
from launcher.forecast.ranges import Range


def simulated_hours(
    chance: random.Random, work_h: float, per_hour: float, segment_h: float, restart_h: float
) -> float:
    """One life: segments of work, each safe only when it is complete, and a way back after every interruption."""
    hours = done = 0.0
    until_next = chance.expovariate(per_hour)
    coming_back = 0.0
    while done < work_h:
        segment = min(segment_h, work_h - done)
        needed = coming_back + segment
        if until_next >= needed:
            hours, until_next, done, coming_back = hours + needed, until_next - needed, done + segment, 0.0
        else:
            hours, until_next, coming_back = hours + until_next, chance.expovariate(per_hour), restart_h
    return hours


@pytest.mark.parametrize(
    ("work_h", "per_hour", "segment_h", "restart_h"),
    [
        (10, 0.05, 0.5, 0.2),
        (10, 0.5, 0.5, 0.2),
        (24, 0.1, 1.0, 0.5),
        (5, 0.125, 0.1, 1.0),
        (12, 1 / 2.1, 0.25, 0.3),
    ],
)
def test_the_expected_time_is_what_many_lives_take(
    work_h: float, per_hour: float, segment_h: float, restart_h: float
) -> None:
    chance = random.Random(7)
    lives = [simulated_hours(chance, work_h, per_hour, segment_h, restart_h) for _ in range(6000)]
    expected = expected_hours(work_h, per_hour=per_hour, segment_h=segment_h, restart_h=restart_h)
    # The formula is exact for this process: what is left is the error of 6000 lives.
    assert expected == pytest.approx(statistics.fmean(lives), rel=0.03)


def drawn_processes(count: int) -> list[tuple[float, float, float, float]]:
    """Processes that a run gets through: a way back is short beside the time between interruptions, and the work."""
    chance = random.Random(11)
    found = []
    while len(found) < count:
        work_h, per_hour = chance.uniform(0.5, 30.0), 10 ** chance.uniform(-2.3, -0.3)
        segment_h, restart_h = chance.uniform(0.02, 1.5), chance.uniform(0.02, 1.0)
        if per_hour * (segment_h + restart_h) < 0.15 and work_h > 2.0 * restart_h:
            found.append((work_h, per_hour, segment_h, restart_h))
    return found


@pytest.mark.parametrize(("work_h", "per_hour", "segment_h", "restart_h"), drawn_processes(15))
def test_expected_value_and_90_percent_case_are_those_of_the_simulated_process(
    work_h: float, per_hour: float, segment_h: float, restart_h: float
) -> None:
    chance, count = random.Random(7), 2000
    lives = sorted(simulated_hours(chance, work_h, per_hour, segment_h, restart_h) for _ in range(count))
    process = {"per_hour": per_hour, "segment_h": segment_h, "restart_h": restart_h}
    mean = statistics.fmean(lives)
    error_of_mean = statistics.stdev(lives) / count**0.5
    assert abs(expected_hours(work_h, **process) - mean) < 4.5 * error_of_mean + 0.001 * mean
    # The share of lives that are over by then: the simulation's own error at 0.9 is 0.007, one loss may be a lump.
    told = quantile_hours(0.9, work_h, **process)
    slack = 0.03 * (told - work_h) + 0.005 * work_h
    assert sum(life <= told + slack for life in lives) / count >= 0.9 - 0.03
    assert sum(life <= told - slack for life in lives) / count <= 0.9 + 0.03


@pytest.mark.parametrize("per_hour", [0.02, 0.05, 0.2])
def test_nine_lives_in_ten_fall_below_the_high_end(per_hour: float) -> None:
    chance = random.Random(7)
    lives = sorted(simulated_hours(chance, 10.0, per_hour, 0.5, 0.2) for _ in range(4000))
    taken = toll(Range.exactly(10.0), per_hour=per_hour, segment_h=0.5, restart_h=Range.exactly(0.2))
    assert 10.0 + taken.hours.high >= lives[int(0.9 * len(lives))]
    assert 10.0 + taken.hours.low <= lives[int(0.2 * len(lives))] + 1e-9


def test_what_is_never_taken_away_pays_nothing() -> None:
    taken = toll(Range(1, 2, 3), per_hour=0.0, segment_h=1.0, restart_h=Range.exactly(1.0))
    assert not taken.hours
    assert taken.gets_through


def test_a_hopeless_rate_is_finite_and_said() -> None:
    taken = toll(Range.exactly(10.0), per_hour=5.0, segment_h=2.0, restart_h=Range.exactly(2.0))
    assert not taken.gets_through
    assert taken.hours.likely == pytest.approx(10.0 * (HARDLY_GETS_THROUGH - 1))


def test_a_notice_that_saves_everything_leaves_only_the_way_back() -> None:
    taken = toll(Range.exactly(100.0), per_hour=0.05, segment_h=0.0, restart_h=Range.exactly(0.1))
    assert taken.hours.likely == pytest.approx(0.5, rel=0.01)
    assert taken.times.likely == pytest.approx(5.0, rel=0.01)
