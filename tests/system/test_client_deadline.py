"""Machines that nothing but this computer would end: agreed to in so many words, and ended when it is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import UsageError
from launcher.planning.preparation import prepare
from tests.system.house import House, eventually

CLIENT = {"provider_options": {"fake": {"deadline": "client"}}}


def test_what_nobody_else_ends_is_not_rented_unasked(house: House) -> None:
    words = ("--provider", "fake", "--set", "provider_options.fake.deadline=client", "--yes", "--detach")
    refused = house.command(*words, "--", "true")
    assert refused.returncode == 2
    assert "if this computer dies, billing goes on" in refused.stderr
    assert "--accept-client-deadline" in refused.stderr
    assert not list((house.state / "runs").iterdir()), "nothing is on record"
    with pytest.raises(UsageError, match="nothing but this computer"):
        house.launch(house.job("true", **CLIENT), provider="fake")
    accepted = house.command(*words, "--accept-client-deadline", "--", "true")
    assert accepted.returncode == 0, accepted.stderr
    for kind in ("boot", "cloud"):
        job = house.job("true", provider_options={"fake": {"deadline": kind}})
        assert not prepare(job, provider="fake", environ=house.environ).plan.needs_client_deadline


def test_a_machine_that_outlived_its_deadline_is_ended_when_this_computer_is_back(house: House) -> None:
    job = house.counting(total=5, pace_s=0.05, gate=2, every=1, **CLIENT)
    run = house.launch(job, "fake", instance="t4.1x", max_duration_s=8, accept_client_deadline=True)
    house.until_step(run, 2)
    house.kill_supervisor()
    eventually(lambda: not house.pids(run, "counter.py"), "the watchdog to end the job")
    eventually(lambda: not house.pids(run, "watchdog"), "the end of the watchdog")
    assert house.machines()[0]["state"] == "running", "it burns, as such machines do"
    result = run.wait(timeout_s=90)
    assert (result.state, run.status().reason_code) == ("stopped", "deadline")
    assert [Path(path).name for path in result.files if "metrics" in path.name], "what there was came home"
    house.audit(run)
