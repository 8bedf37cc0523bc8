"""The small run before the long one, from Python."""

from __future__ import annotations

import pytest

from launcher import SmokeFailed, UsageError, launch_after_smoke, list_runs, prepare_with_smoke
from tests.system.house import House

SMOKE = {"run": "exit 3", "max_cost": 0.2, "max_duration": "5m"}


def test_both_are_planned_and_the_long_one_waits_for_the_small_one(house: House) -> None:
    job = house.job("echo long", smoke={**SMOKE, "run": "echo small"}, expect={"bleu": "> 1"}, max_cost=4)
    both = prepare_with_smoke(job, provider="local", name="mine", max_cost=3.0, environ=house.environ)
    assert (both.small.name, both.long.name) == ("mine-smoke", "mine")
    assert (both.small.plan.limits.max_cost_usd, both.long.plan.limits.max_cost_usd) == (0.2, 3.0)
    assert both.small.job.expect == {}
    with pytest.raises(UsageError, match="prepare_with_smoke"):
        launch_after_smoke(both, provider="fake")
    run = launch_after_smoke(both)
    house.runs.append(run)
    small = next(status for status in list_runs(environ=house.environ) if status.name == "mine-smoke")
    assert small.state == "succeeded"
    run.wait(timeout_s=120)
    assert b"long\n" in run.read_log().data


def test_a_small_run_that_fails_is_the_only_one(house: House) -> None:
    job = house.job("echo long", smoke=SMOKE)
    with pytest.raises(SmokeFailed, match=r"the small run job-smoke-.* failed") as caught:
        launch_after_smoke(job, provider="local", environ=house.environ)
    assert caught.value.result.exit_code == 3
    assert caught.value.left_behind == "the long run was not started"
    assert [status.name for status in list_runs(environ=house.environ)] == ["job-smoke"]
