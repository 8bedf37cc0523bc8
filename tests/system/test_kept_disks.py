"""Disks that stay when compute ends: wished for, or because nobody was there at the deadline."""

from __future__ import annotations

from pathlib import Path

from tests.system.house import House, eventually, expected_outcome


def test_stop_with_keep_disk_parks_and_resume_goes_on_there(house: House) -> None:
    faults = [{"call": "unpark", "kind": "unreachable"}, {"call": "unpark", "kind": "lost_answer", "nth": 2}]
    job = house.counting(
        total=12,
        gate=4,
        checkpoint={"dir": "saved", "mirror": "none"},
        provider_options={"fake": {"faults": faults}},
    )
    run = house.launch(job, provider="fake", instance="t4.1x")
    house.until_step(run, 4)
    run.stop(keep_disk=True)
    assert run.wait(timeout_s=60).state == "stopped"
    (machine,) = house.machines()
    assert machine["state"] == "stopped"
    burning = run.status().usd_per_hour_now
    assert 0 < burning < 0.1, "the disk is billed, compute is not"
    house.audit(run, kept=True)

    house.open_gate()
    run.resume()
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(12)
    assert len(house.machines()) == 1, "the same machine, without a mirror"
    (attempt,) = house.store.attempts(run.id)
    assert (attempt.starts, attempt.errors) == (2, 0), "calls without an answer are no starts of the job"
    house.audit(run)


def test_a_kept_disk_is_read_and_ended_after_the_run(house: House) -> None:
    run = house.launch(house.counting(gate=3), provider="fake")
    house.until_step(run, 3)
    run.stop(keep_disk=True)
    run.wait(timeout_s=60)
    report = run.pull(house.root / "elsewhere")
    assert report.files
    assert house.machines()[0]["state"] == "stopped", "parked again"
    run.down()
    house.audit(run)
    assert run.status().usd_per_hour_now == 0


def test_nobody_there_at_the_deadline(house: House) -> None:
    """The home computer is silent, the machine saves, parks itself, and everything is found when it is back."""
    job = house.counting(total=600, pace_s=0.1, every=5, when_unattended="park")
    run = house.launch(job, provider="fake", instance="t4.1x", max_duration_s=12)
    house.until_step(run, 3)
    house.kill_supervisor()
    eventually(lambda: house.machines()[0]["state"] == "stopped", "the machine to park itself", 40)
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("stopped", "deadline")
    house.audit(run, kept=True)
    assert run.status().instance_state == "stopped"

    run.resume(max_duration_s=600)
    house.until_step(run, (run.status().step or 0) + 3)
    assert any("goes on from checkpoint" in event.message for event in run.events())
    run.down(discard=True)
    run.wait(timeout_s=60)
    house.audit(run)


def test_resume_on_another_provider(house: House) -> None:
    run = house.launch(house.counting(gate=3), provider="fake")
    house.until_step(run, 3)
    run.stop()
    run.wait(timeout_s=60)
    house.open_gate()
    run.resume(provider="local")
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(10)
    fake, local = (attempt.offer for attempt in run.status().attempts)
    assert fake.startswith("fake") and local.startswith("local")
    house.audit(run)
    assert Path(run.status().results_dir).is_dir()


def test_this_computer_was_off_when_the_time_was_over(house: House) -> None:
    """The claim is released at its deadline with nobody there; the files are on this very disk."""
    job = house.counting(total=600, pace_s=0.1, every=5)
    run = house.launch(job, provider="local", max_duration_s=12)
    house.until_step(run, 3)
    house.kill_supervisor()
    eventually(lambda: not house.pids(run, "counter.py"), "the watchdog to end the job at its deadline", 40)
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("stopped", "deadline")
    assert [path for path in result.files if path.name == "metrics.jsonl"], "what there was came home"
    assert list(house.home.run(run.id).mirror.glob("step_*.json"))
    house.audit(run)


def test_a_job_that_finished_while_nobody_was_there(house: House) -> None:
    run = house.launch(house.counting(total=20, pace_s=0.1), provider="local", max_duration_s=14)
    house.until_step(run, 3)
    house.kill_supervisor()
    claims = house.state / "local" / "claims"
    eventually(lambda: not house.pids(run, "watchdog"), "the end of the job")
    eventually(lambda: not house.pids(run, "") or not list(claims.glob("*.json")), "the deadline", 30)
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(20)
    house.audit(run)
