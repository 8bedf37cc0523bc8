"""What the clock of earlier runs says about the next one: where they reported no pace, and never more than it knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launcher.forecast.history import hours_beside, speed_row, work_digest, work_row
from launcher.forecast.throughput import EarlierRun, Source, Work, work_time
from launcher.forecast.times import EarlierTime
from launcher.records import to_json
from launcher.store import AttemptRow, RunRow
from provisioning import Offer
from tests.launcher.core.builders import NOON, ended, offer, this_computer

A100 = offer(instance_type="a100", gpu_name="A100", gpu_memory_gib=40.0)


def took(minutes: float, **changes: Any) -> EarlierTime:
    """On the machine of `offer`."""
    values: dict[str, Any] = {
        "work_s": 60.0 * minutes, "gpu_name": "T4", "gpu_count": 1, "gpu_memory_gib": 16.0,
        "instance_type": "g4dn.xlarge", "vcpus": 4.0, "label": "night-x4k2",
    }  # fmt: skip
    return EarlierTime(**{**values, **changes})


def test_a_run_without_steps_teaches_what_it_took_and_a_pace_is_known_more_closely() -> None:
    time = work_time(offer(), Work(), times=[took(60)], max_duration_s=8 * 3600.0)
    assert (time.source, time.hours.likely) == (Source.MEASURED, 1.0)
    assert time.basis == "1 h by the clock in run night-x4k2 on T4"
    paced = work_time(offer(), Work(), history=[EarlierRun(steps_per_s=10.0, gpu_name="T4", steps=36_000)])
    assert time.hours.low < paced.hours.low and time.hours.high > paced.hours.high
    both = work_time(
        offer(),
        Work(),
        history=[EarlierRun(steps_per_s=10.0, gpu_name="T4", steps=36_000)],
        times=[took(600)],
    )
    assert both.basis == paced.basis


def test_several_runs_hold_all_that_was_seen_and_the_oldest_no_longer_count() -> None:
    time = work_time(offer(), Work(), times=[took(minutes) for minutes in (60, 50, 80, 60, 60, 600)])
    assert time.hours.likely == 1.0
    assert time.hours.low < 50 / 60 and 80 / 60 < time.hours.high < 2.0
    assert time.basis == "1 h (50 min to 1 h 20 min) by the clock in 5 earlier runs on T4"


def test_what_was_measured_here_comes_before_what_the_job_says_and_grows_with_its_steps() -> None:
    assert work_time(offer(), Work(hours=5.0, on="T4"), times=[took(60)]).hours.likely == 1.0
    assert work_time(offer(), Work(steps=300), times=[took(60, steps=100)]).hours.likely == 3.0
    assert work_time(offer(), Work(steps=300), times=[took(60)]).hours.likely == 1.0


def test_what_comes_beside_the_steps_is_in_the_time_and_not_counted_again() -> None:
    time = work_time(offer(), Work(evaluation_h=0.5), times=[took(60)])
    assert not time.evaluation


@pytest.mark.parametrize(
    ("of", "seen"),
    [
        (A100, took(60)),
        (this_computer(), took(60)),
        (offer(), took(60, gpu_name=None, gpu_count=0, vcpus=2.0, instance_type="this-computer")),
        (offer(gpu_count=4, instance_type="g4dn.12xlarge"), took(60)),
        (offer(gpu_name="Unobtainium 9"), took(60)),
        (this_computer(vcpus=64.0), took(60, gpu_name=None, gpu_count=0, vcpus=2.0)),
    ],
)
def test_on_other_hardware_it_is_a_guess_between_as_long_and_as_much_faster(
    of: Offer, seen: EarlierTime
) -> None:
    time = work_time(of, Work(), times=[seen])
    assert time.source is Source.GUESS and time.basis.startswith("a guess: 1 h by the clock")
    assert time.hours.low <= 1.0 <= time.hours.high, "nobody knows whether it follows the hardware at all"
    assert time.hours.high > 1.9 * time.hours.low
    assert time.hours.likely >= 1.0, "no machine is chosen because it might be faster there"
    assert work_time(of, Work(hours=2.0, on="T4"), times=[seen]).source is not Source.GUESS or (
        of.gpu_name == "Unobtainium 9"
    )


def test_the_same_gpu_in_another_machine_is_scaled_and_wider() -> None:
    here = work_time(offer(), Work(), times=[took(60)]).hours
    there = work_time(offer(provider="gcp", instance_type="n1-standard-4"), Work(), times=[took(60)])
    assert there.source is Source.SCALED and "in another machine (g4dn.xlarge)" in there.basis
    assert there.hours.low < here.low and there.hours.high > here.high


def test_what_the_cloud_that_pretends_took_says_nothing_of_a_real_gpu_and_all_of_its_own() -> None:
    times = [took(1, provider="fake"), took(60, provider="gcp", instance_type="n1")]
    history = [EarlierRun(steps_per_s=500.0, gpu_name="T4", steps=36_000, provider="fake")]
    assert work_time(offer(), Work(), times=times, history=history).hours.likely == 1.0
    assert work_time(offer(), Work(steps=36_000), history=history).source is Source.GUESS
    pretended = offer(provider="fake")
    assert work_time(pretended, Work(), times=times).basis == "1 min by the clock in run night-x4k2 on T4"
    paced = work_time(pretended, Work(steps=36_000), history=history)
    assert (paced.source, paced.hours.likely) == (Source.MEASURED, 0.02)


def test_gpus_that_did_nothing_say_nothing() -> None:
    eight = offer(instance_type="t4.8x", gpu_count=8)
    run = RunRow(run_id="night-x4k2", name="night", state="running", created_at=NOON, updated_at=NOON)
    row = work_row(run, [attempt()], {"name": "night", "run": "x"}, eight, NOON, gpus_used=1)
    assert row.gpu_count == 1
    one_of_eight = [took(60, instance_type="t4.8x", gpu_count=row.gpu_count)]
    again = work_time(eight, Work(), times=one_of_eight, gpus_used=1)
    assert (again.source, again.hours.likely) == (Source.MEASURED, 1.0)
    alone = work_time(offer(), Work(), times=one_of_eight, gpus_used=1)
    assert (alone.source, alone.hours.likely) == (Source.SCALED, 1.0)
    assert "1 h by the clock in run night-x4k2 on T4 in another machine (t4.8x)" in alone.basis
    wider = work_time(eight, Work(), times=[took(60)], gpus_used=1)
    assert wider.hours.low > 0.5 and wider.source is Source.SCALED, "seven of the eight will do nothing"
    assert work_time(eight, Work(), times=[took(60)]).hours.low < 0.1, "all of them may"


def test_work_that_took_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="takes time"):
        took(0)


def attempt(**changes: Any) -> AttemptRow:
    values: dict[str, Any] = {
        "run_id": "night-x4k2", "stage": "features", "n": 1, "candidate": 0, "offer": {}, "started_at": NOON,
        "progress": to_json(ended(0, step=None, run_s=600.0, setup_s=3.0)),
    }  # fmt: skip
    return AttemptRow(**{**values, **changes})


@pytest.mark.parametrize(
    ("attempts", "work_s"),
    [
        ([attempt()], 600.0),
        ([attempt(starts=2)], None),
        ([attempt(), attempt(n=2)], None),
        ([attempt(progress=None)], None),
        ([attempt(progress=to_json(ended(0, run_s=0.0)))], 0.01),
    ],
)
def test_only_what_was_done_in_one_piece_has_a_time(attempts: list[AttemptRow], work_s: float | None) -> None:
    run = RunRow(run_id="night-x4k2", name="night", state="running", created_at=NOON, updated_at=NOON)
    fields = {"name": "night", "run": "python features.py", "work": {"steps": 7}}
    row = work_row(run, attempts, fields, offer(), NOON, stage="features")
    assert (row.work_s, row.steps, row.checkpoint_bytes) == (work_s, 7, 0)


def test_what_a_stage_does_beside_its_steps_is_learnt_from_its_time() -> None:
    run = RunRow(
        run_id="night-x4k2", name="night", state="running", created_at=NOON, updated_at=NOON,
        step=500, total=500, steps_per_s=1.0,
    )  # fmt: skip
    row = work_row(run, [attempt()], {"name": "night", "run": "x"}, offer(), NOON, stage="features")
    beside_h = hours_beside(run, row)
    assert beside_h == pytest.approx(100 / 3600)
    assert hours_beside(replace(run, step=None), row) is None
    fields = {"name": "night", "run": "x"}
    speed = speed_row(
        run, attempt(step_last=500), offer(), NOON, beside_h=beside_h, fields=fields, stage="features"
    )
    assert speed is not None and speed.beside_share == pytest.approx(0.2)


def test_what_makes_it_the_same_work() -> None:
    fields = {"name": "night", "run": "python stage.py", "envs": {"EPOCHS": "3"}}
    same = work_digest(fields, "train")
    assert work_digest({**fields, "max_cost": 5, "resources": {"accelerators": "T4"}}, "train") == same
    for other in (
        {"run": "python other.py"},
        {"envs": {"EPOCHS": "9"}},
        {"name": "day"},
        {"work": {"hours": 5, "on": "cpu"}},
    ):
        assert work_digest({**fields, **other}, "train") != same
    assert work_digest({**fields, "work": {"steps": 9}}, "train") == same, "steps are reckoned with"
    assert work_digest(fields, "compare") != same, "stages may run one command that asks which it is"
