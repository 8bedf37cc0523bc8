"""Machines that are taken away, with notice and without, and clouds that answer badly."""

from __future__ import annotations

import subprocess
import sys

import pytest

from launcher import Kind
from tests.system.house import House, eventually, expected_outcome


@pytest.mark.parametrize("provider", ["local", "fake"])
def test_a_notice_saves_and_the_run_goes_on_elsewhere(house: House, provider: str) -> None:
    run = house.launch(house.counting(total=12, gate=5), provider=provider)
    house.until_step(run, 5)
    run.interrupt(notice_s=45)
    eventually(lambda: len(run.status().attempts) == 2, "the next attempt")
    house.open_gate()
    result = run.wait(timeout_s=90)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(12)
    first, second = run.status().attempts
    assert (first.cause, first.steps_lost) == ("notice", 0), "saved within the notice"
    assert first.instances != second.instances
    assert first.steps_done + second.steps_done == 12
    house.audit(run)


def test_two_notices_within_a_minute(house: House) -> None:
    run = house.launch(house.counting(total=12, gate=5), provider="fake")
    for attempt in (1, 2):
        eventually(
            lambda n=attempt: len(run.status().attempts) == n and run.status().state == "running",  # type: ignore[misc]
            f"attempt {attempt}",
        )
        house.until_step(run, 5)
        run.interrupt(notice_s=45)
    eventually(lambda: len(run.status().attempts) == 3, "the third attempt")
    house.open_gate()
    assert run.wait(timeout_s=90).state == "succeeded"
    assert house.outcome(run) == expected_outcome(12)
    assert [attempt.cause for attempt in run.status().attempts][:2] == ["notice", "notice"]
    house.audit(run)


def test_a_machine_that_vanishes_is_replaced_from_the_mirror(house: House) -> None:
    checkpoint = {"dir": "saved", "mirror_every": "1s"}
    run = house.launch(house.counting(total=15, every=5, gate=8, checkpoint=checkpoint), provider="fake")
    mirror = house.home.run(run.id).mirror
    eventually(lambda: mirror.is_dir() and list(mirror.glob("step_*5.json")), "a checkpoint at home")
    house.until_step(run, 8)
    run.interrupt(notice_s=0)
    house.open_gate()
    result = run.wait(timeout_s=90)
    assert result.state == "succeeded"
    assert house.outcome(run) == expected_outcome(15)
    first, second = run.status().attempts
    assert first.cause == "instance_lost"
    assert first.steps_lost <= 3
    assert first.steps_done + second.steps_done == 15
    assert any("goes on from checkpoint" in event.message for event in run.events())
    house.audit(run)


def test_a_broken_checkpoint_at_home_falls_back_loudly(house: House) -> None:
    run = house.launch(house.counting(total=12, every=2, gate=7), provider="fake")
    house.until_step(run, 7)
    mirrored = house.home.run(run.id).mirror
    eventually(lambda: list(mirrored.glob("step_*6.json")), "a checkpoint at home")
    run.stop()
    run.wait(timeout_s=60)
    mirror = house.home.run(run.id).mirror
    newest = max(mirror.glob("step_*.json"))
    assert len(list(mirror.glob("step_*.json"))) >= 2, "the one before is kept"
    newest.write_text(newest.read_text()[:-20])
    house.open_gate()
    run.resume()
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(12)
    (warning,) = [event for event in run.events() if "falling back" in event.message]
    assert newest.name in warning.message


def test_a_notice_during_setup(house: House) -> None:
    run = house.launch(
        house.counting(total=5, setup="[ $LAUNCH_ATTEMPT -gt 1 ] || sleep 600"), provider="fake"
    )
    house.until(run, "setup")
    run.interrupt(notice_s=20)
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(5)
    house.audit(run)


def test_a_machine_that_is_taken_away_while_outputs_come_home(house: House) -> None:
    """The job has finished and its outputs cannot be written here: what goes with the machine is done again."""
    run = house.launch(house.counting(total=6, every=2), provider="fake")
    house.results.write_text("in the way")
    eventually(lambda: "outputs are not home yet" in run.status().reason, "outputs that wait")
    run.interrupt(notice_s=3)
    eventually(lambda: len(run.status().attempts) == 2, "the next attempt")
    house.results.unlink()
    assert run.wait(timeout_s=90).state == "succeeded"
    assert house.outcome(run) == expected_outcome(6)
    assert any("goes on from checkpoint" in event.message for event in run.events()), "not from the beginning"
    house.audit(run)


def test_a_stopped_machine_is_started_again_with_its_disk(house: House) -> None:
    job = house.counting(total=12, every=2, gate=5, checkpoint={"dir": "saved", "mirror": "none"})
    run = house.launch(job, provider="fake")
    house.until_step(run, 5)
    ref = house.store.instances(run.id)[-1].ref
    _console(house, "park", ref)
    house.open_gate()
    result = run.wait(timeout_s=90)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(12)
    (attempt,) = run.status().attempts
    assert attempt.instances == (ref,), "the same machine"
    house.audit(run)


def test_no_capacity_leads_to_the_next_candidate(house: House) -> None:
    full = [{"machines": 0, "zone": "us-east-a"}, {"machines": 0, "zone": "us-east-b"}]
    job = house.counting(total=3, provider_options={"fake": {"capacity": full}})
    run = house.launch(job, provider="fake", instance="t4.1x", region="us-east")
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.machines()[0]["zone"] == "us-east-c"
    house.audit(run)


def test_no_capacity_anywhere_is_said_and_nothing_is_left(house: House) -> None:
    job = house.counting(provider_options={"fake": {"capacity": [{"machines": 0}]}})
    run = house.launch(job, provider="fake", instance="t4.1x")
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("failed", "no_capacity")
    assert "no capacity" in result.reason
    assert house.machines() == []
    house.audit(run)


def test_a_run_that_had_begun_waits_for_capacity(house: House) -> None:
    taken_away = [{"call": "create", "kind": "no_capacity", "nth": 2, "times": 500}]
    job = house.counting(gate=3, provider_options={"fake": {"faults": taken_away}})
    run = house.launch(job, provider="fake", instance="t4.1x", zone="us-east-a")
    house.until_step(run, 3)
    run.interrupt(notice_s=45)
    house.until(run, "queued")
    assert run.status().reason_code == "no_capacity"
    run.stop()
    assert run.wait(timeout_s=30).state == "stopped"
    house.audit(run)


def test_a_lost_answer_does_not_rent_twice(house: House) -> None:
    faults = [{"call": "create", "kind": "lost_answer"}]
    job = house.counting(total=3, provider_options={"fake": {"faults": faults}})
    run = house.launch(job, provider="fake")
    assert run.wait(timeout_s=60).state == "succeeded"
    assert len(house.machines()) == 1
    assert any("adopted" in event.message for event in run.events())
    house.audit(run)


def test_a_lost_answer_of_a_slow_cloud_does_not_rent_twice(house: House) -> None:
    options = {"faults": [{"call": "create", "kind": "lost_answer"}], "visible_after_s": 6}
    run = house.launch(house.counting(total=3, provider_options={"fake": options}), provider="fake")
    assert run.wait(timeout_s=60).state == "succeeded"
    assert len(house.machines()) == 1
    house.audit(run)


def test_a_machine_that_died_before_we_heard_of_it_costs_nothing_more(house: House) -> None:
    options = {
        "faults": [{"call": "create", "kind": "lost_answer"}],
        "interruptions": [{"attempt": 1, "after_s": 0.3}],
    }
    run = house.launch(house.counting(total=3, provider_options={"fake": options}), provider="fake")
    assert run.wait(timeout_s=60).state == "succeeded"
    first, _ = house.store.instances(run.id)
    assert first.ended_at is not None
    house.audit(run)


def test_a_stop_after_a_lost_answer_leaves_no_orphan(house: House) -> None:
    options = {"faults": [{"call": "create", "kind": "lost_answer"}], "visible_after_s": 4}
    run = house.launch(house.counting(gate=3, provider_options={"fake": options}), provider="fake")
    eventually(lambda: house.store.unanswered_tries(run.id), "the create call")
    run.stop()
    assert run.wait(timeout_s=60).state == "stopped"
    house.audit(run)


@pytest.mark.parametrize(
    "faults",
    [
        [
            {"call": "create", "kind": "throttled", "times": 2, "retry_after_s": 0.3},
            {"call": "create", "kind": "unreachable", "nth": 3},
            {"call": "owned", "kind": "throttled", "times": 2, "retry_after_s": 0.2},
        ],
        [
            {"call": "get", "kind": "unreachable", "nth": 2, "times": 2},
            {"call": "get", "kind": "credentials", "nth": 4, "times": 1},
        ],
        [
            {"call": "terminate", "kind": "unreachable"},
            {"call": "terminate", "kind": "ignored", "nth": 2, "times": 2},
            {"call": "terminate", "kind": "lost_answer", "nth": 4},
        ],
    ],
    ids=["create", "get", "terminate"],
)
def test_a_cloud_that_answers_badly_for_a_while(house: House, faults: list[dict[str, object]]) -> None:
    job = house.counting(total=20, pace_s=0.1, provider_options={"fake": {"faults": faults}})
    run = house.launch(job, provider="fake")
    assert run.wait(timeout_s=90).state == "succeeded"
    assert house.outcome(run) == expected_outcome(20)
    house.audit(run)


def test_a_price_that_rose_is_not_paid(house: House) -> None:
    faults = [{"call": "create", "kind": "price_rose", "factor": 3.0}]
    run = house.launch(
        house.counting(total=3, provider_options={"fake": {"faults": faults}}), provider="fake"
    )
    assert run.wait(timeout_s=60).state == "succeeded"
    refused = [
        event for event in run.events() if event.kind is Kind.TRY and event.data["outcome"] == "refused"
    ]
    assert [event.data["error"] for event in refused] == ["PriceRose"]
    house.audit(run)


def _console(house: House, action: str, ref: str) -> None:
    argv = [sys.executable, "-m", "provisioning.fake", action, ref]
    subprocess.run(argv, env=house.environ, check=True)
