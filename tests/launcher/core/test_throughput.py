from __future__ import annotations

import pytest

from launcher.forecast.speeds import gpu_speed, speed_ratio
from launcher.forecast.throughput import EarlierRun, Source, Work, work_time
from tests.launcher.core.builders import offer, this_computer

RTX_4090 = offer(gpu_name="RTX 4090", gpu_memory_gib=24.0, instance_type="4090.1x")


def test_an_earlier_run_on_the_same_gpu_comes_first() -> None:
    runs = [EarlierRun(steps_per_s=10.0, gpu_name="Tesla T4", label="b2t-x4k2")]
    time = work_time(offer(), Work(steps=36_000), history=runs)
    assert time.source is Source.MEASURED
    assert time.hours.likely == pytest.approx(1.0)
    assert "b2t-x4k2" in time.basis
    assert "36,000 steps at 10/s" in time.basis


def test_several_earlier_runs_are_narrower_than_one() -> None:
    def width(count: int) -> float:
        runs = [EarlierRun(steps_per_s=10.0, gpu_name="T4")] * count
        hours = work_time(offer(), Work(steps=36_000), history=runs).hours
        return hours.high - hours.low

    assert width(3) < width(2) < width(1)


def test_the_range_holds_every_pace_that_was_seen() -> None:
    runs = [EarlierRun(steps_per_s=pace, gpu_name="T4") for pace in (5.0, 10.0, 12.0)]
    hours = work_time(offer(), Work(steps=36_000), history=runs).hours
    assert hours.low <= 36_000 / 12 / 3600
    assert hours.high >= 36_000 / 5 / 3600
    assert hours.likely == pytest.approx(1.0)


def test_what_is_likely_is_what_whole_runs_took_and_a_calibration_only_widens_it() -> None:
    calibrations = [EarlierRun(steps_per_s=5.0, gpu_name="T4")] * 3
    whole = EarlierRun(steps_per_s=10.0, gpu_name="T4", beside_share=0.0)
    hours = work_time(offer(), Work(steps=36_000), history=[*calibrations, whole]).hours
    assert hours.likely == pytest.approx(1.0) and hours.high >= 2.0


def test_a_finished_run_tells_how_many_steps_there_are() -> None:
    runs = [EarlierRun(steps_per_s=10.0, gpu_name="T4", steps=72_000)]
    assert work_time(offer(), Work(), history=runs).hours.likely == pytest.approx(2.0)


def test_a_run_on_another_gpu_is_scaled_and_wider() -> None:
    runs = [EarlierRun(steps_per_s=10.0, gpu_name="T4", label="b2t-x4k2")]
    time = work_time(RTX_4090, Work(steps=36_000), history=runs)
    assert time.source is Source.SCALED
    assert 0.1 < time.hours.likely < 0.6
    assert time.hours.high > 2 * time.hours.low
    assert "T4" in time.basis


def test_cpu_runs_count_only_for_the_same_machine() -> None:
    runs = [EarlierRun(steps_per_s=2.0, gpu_name=None, vcpus=2.0, instance_type="this-computer")]
    assert work_time(this_computer(), Work(steps=7200), history=runs).source is Source.MEASURED
    assert work_time(this_computer(vcpus=8.0), Work(steps=7200), history=runs).source is Source.SCALED
    assert work_time(offer(), Work(steps=7200), history=runs).source is Source.SCALED


def test_hours_on_the_offers_own_gpu_are_taken_as_they_are() -> None:
    time = work_time(RTX_4090, Work(hours=3.5, on="rtx4090"))
    assert time.hours.likely == 3.5
    assert time.basis == "3.5 h on rtx4090, as the job says"


def test_three_and_a_half_hours_on_a_4090_are_most_of_a_day_on_a_t4() -> None:
    time = work_time(offer(), Work(hours=3.5, on="RTX 4090"))
    assert 10 < time.hours.likely < 24
    assert time.source is Source.SCALED


def test_hours_on_a_gpu_that_nobody_knows_are_a_guess() -> None:
    time = work_time(offer(), Work(hours=3.5, on="Unobtainium 9"))
    assert time.source is Source.GUESS
    assert time.hours.high >= 4 * time.hours.likely
    assert time.narrow_by[0] == "another work.on: nothing is known of Unobtainium 9"
    misspelt = work_time(offer(), Work(hours=3.5, on="RTX 4900"))
    assert misspelt.narrow_by[0].endswith("did you mean RTX 4090?")


def test_hours_on_a_cpu() -> None:
    assert work_time(this_computer(), Work(hours=2.0, on="cpu")).hours.likely == 2.0
    assert work_time(offer(), Work(hours=2.0, on="cpu")).hours.likely < 0.5


def test_steps_alone_are_a_guess_that_says_so() -> None:
    time = work_time(offer(), Work(steps=120_000))
    assert time.source is Source.GUESS
    assert time.basis.startswith("a guess: 120,000 steps")


def test_nothing_known_goes_by_the_limit() -> None:
    time = work_time(offer(), Work(), max_duration_s=8 * 3600.0)
    assert time.hours.high == pytest.approx(8.0)
    assert "its limit of 8 h" in time.basis
    assert work_time(offer(), Work()).hours.low > 0


@pytest.mark.parametrize(
    "fields", [{"steps": 0}, {"hours": 0.0, "on": "T4"}, {"hours": float("nan"), "on": "T4"}, {"hours": 1.0}]
)
def test_impossible_work_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="work"):
        Work(**fields)  # type: ignore[arg-type]


def test_an_earlier_run_without_a_pace_is_refused() -> None:
    with pytest.raises(ValueError, match="pace"):
        EarlierRun(steps_per_s=0.0, gpu_name="T4")


@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        ("T4", "L4"),
        ("T4", "V100"),
        ("P100", "A100"),
        ("A10G", "A100"),
        ("A100", "H100"),
        ("RTX 3090", "RTX 5090"),
    ],
)
def test_newer_and_bigger_is_faster(slower: str, faster: str) -> None:
    one, other = gpu_speed(slower), gpu_speed(faster)
    assert one
    assert other
    assert speed_ratio(other, one).likely > 1.0 > speed_ratio(one, other).likely


def test_variants_of_one_gpu_are_told_apart() -> None:
    assert gpu_speed("NVIDIA A100-SXM4-80GB") != gpu_speed("A100", 40.0)
    assert gpu_speed("H100 PCIe") != gpu_speed("H100 SXM5")
    assert gpu_speed("nothing known") is None
