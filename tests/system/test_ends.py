"""How a job ends decides what happens next: exit codes, crashes, kills, wishes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from launcher import Kind, RunFailed, WrongState, attach
from tests.system.house import House, eventually, expected_outcome


def test_exit_1_fails_and_brings_home_what_there_is(house: House) -> None:
    run = house.launch(house.job("echo half > $LAUNCH_OUTPUT_DIR/half.txt; echo woe; exit 1"))
    result = run.wait(timeout_s=60)
    assert (result.state, result.exit_code) == ("failed", 1)
    assert run.status().reason_code == "job_failed"
    assert (result.results_dir / "outputs/half.txt").read_text() == "half\n"
    with pytest.raises(RunFailed, match="exit 1"):
        run.result()
    house.audit(run)


def test_exit_1_is_tried_again_as_often_as_allowed(house: House) -> None:
    script = "echo x >> tries.txt; cp tries.txt $LAUNCH_OUTPUT_DIR; [ $(wc -l < tries.txt) -ge 2 ]"
    run = house.launch(house.job(script, recovery={"max_restarts_on_errors": 1}), provider="local")
    # The back-off before a first restart is ten seconds; a stop would cut it short.
    result = run.wait(timeout_s=60)
    assert result.state == "succeeded"
    assert (result.results_dir / "outputs/tries.txt").read_text() == "x\nx\n"


def test_exit_2_is_never_tried_again(house: House) -> None:
    run = house.launch(house.job("echo bad >&2; exit 2", recovery={"max_restarts_on_errors": 5}))
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("failed", "bad_config")
    assert [attempt.n for attempt in run.status().attempts] == [1]
    assert not [event for event in run.events() if "starting the job again" in event.message]


def test_exit_75_unasked_is_started_again_from_its_checkpoint(house: House) -> None:
    (house.project / "leave_once.py").write_text(
        "import os, runpy, signal, sys, threading\n"
        "if not os.environ['LAUNCH_RESUME_FROM']:\n"
        "    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "sys.argv = ['counter.py', '20', '0.05', '2']\n"
        "runpy.run_path('counter.py')\n"
    )
    job = house.job(f"{sys.executable} leave_once.py")
    run = house.launch(job)
    result = run.wait(timeout_s=60)
    assert result.state == "succeeded"
    assert house.outcome(run) == expected_outcome(20)
    assert len(run.status().attempts) == 1, "on the same machine"
    house.audit(run)


def test_a_crash_loop_is_recognised(house: House) -> None:
    stuck = """echo '{"step": 3, "total": 9}' >> $LAUNCH_METRICS_FILE; exit 75"""
    run = house.launch(house.job(stuck))
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("failed", "crash_loop")


def test_a_killed_job_fails_unless_restarts_are_allowed(house: House) -> None:
    run = house.launch(house.counting(gate=3))
    house.until_step(run, 3)
    for pid in house.pids(run, "counter.py"):
        os.kill(pid, signal.SIGKILL)
    result = run.wait(timeout_s=60)
    assert (result.state, result.exit_code) == ("failed", 137)
    house.audit(run)


def test_a_killed_job_goes_on_from_its_checkpoint(house: House) -> None:
    run = house.launch(house.counting(total=20, every=5, gate=7, recovery={"max_restarts_on_errors": 1}))
    house.until_step(run, 7)
    for pid in house.pids(run, "counter.py 20"):
        os.kill(pid, signal.SIGKILL)
    house.open_gate()
    result = run.wait(timeout_s=90)
    assert result.state == "succeeded"
    assert house.outcome(run) == expected_outcome(20)
    (attempt,) = run.status().attempts
    assert attempt.steps_done == 20
    house.audit(run)


def test_a_killed_watchdog_costs_a_restart_and_nothing_else(house: House) -> None:
    run = house.launch(house.counting(total=20, every=5, gate=7))
    house.until_step(run, 7)
    for pid in house.pids(run, "run.json"):
        os.kill(pid, signal.SIGKILL)
    house.open_gate()
    result = run.wait(timeout_s=90)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(20)
    assert any("watchdog was killed" in event.message for event in run.events())
    house.audit(run)


@pytest.mark.parametrize("provider", ["local", "fake"])
def test_stop_saves_and_resume_goes_on(house: House, provider: str) -> None:
    run = house.launch(house.counting(total=12, gate=4), provider=provider)
    house.until_step(run, 4)
    run.stop()
    result = run.wait(timeout_s=60)
    assert (result.state, result.exit_code, run.status().reason_code) == ("stopped", 75, "stopped_by_user")
    house.audit(run)
    assert run.status().step == 4
    house.open_gate()
    run.resume()
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(12)
    resumed = [event for event in run.events() if "goes on from checkpoint" in event.message]
    assert len(resumed) == 1
    house.audit(run)
    assert sum(attempt.steps_lost for attempt in run.status().attempts) == 0


def test_resume_works_when_the_machine_folder_is_gone(house: House) -> None:
    run = house.launch(house.counting(total=12, gate=4))
    house.until_step(run, 4)
    run.stop()
    run.wait(timeout_s=60)
    shutil.rmtree(house.state / "local" / "launch")
    house.open_gate()
    run.resume()
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(12)
    assert any("goes on from checkpoint" in event.message for event in run.events()), "from the mirror"


def test_down_without_pull_ends_at_once(house: House) -> None:
    run = house.launch(house.counting(gate=3), provider="fake")
    house.until_step(run, 3)
    run.down(discard=True)
    with pytest.raises(WrongState, match=r"without its outputs|has ended"):
        run.stop()
    result = run.wait(timeout_s=60)
    assert result.state == "stopped"
    assert result.files == ()
    house.audit(run)


def test_a_succeeded_run_has_nothing_to_go_on_with(house: House) -> None:
    run = house.launch(house.counting(total=2))
    run.wait(timeout_s=60)
    with pytest.raises(WrongState, match="succeeded"):
        run.resume()
    with pytest.raises(WrongState, match="has ended"):
        run.stop()


def test_a_failed_setup_says_so(house: House) -> None:
    run = house.launch(house.counting(setup="echo no such package; exit 3"))
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("failed", "setup_failed")
    house.audit(run)


def test_stop_during_setup(house: House) -> None:
    run = house.launch(house.counting(setup="sleep 600"), provider="fake")
    house.until(run, "setup")
    run.stop()
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("stopped", "stopped_by_user")
    house.audit(run)


def test_stop_while_the_machine_boots(house: House) -> None:
    job = house.counting(provider_options={"fake": {"boot_s": 600}})
    run = house.launch(job, provider="fake")
    eventually(lambda: house.store.instances(run.id), "a machine")
    run.stop()
    result = run.wait(timeout_s=60)
    assert result.state == "stopped"
    house.audit(run)


def test_the_soft_deadline_saves_and_brings_home(house: House) -> None:
    run = house.launch(house.counting(total=10_000, pace_s=0.05), max_duration_s=16, provider="fake")
    result = run.wait(timeout_s=60)
    assert (result.state, run.status().reason_code) == ("stopped", "deadline")
    assert result.exit_code == 75
    assert [
        event for event in run.events() if event.kind is Kind.CHECKPOINT and event.data["where"] == "home"
    ]
    assert run.status().attempts[0].cause == "deadline"
    house.audit(run)
    run.resume(max_duration_s=600)
    house.until_step(run, (run.status().step or 0) + 1)
    run.down(discard=True)
    run.wait(timeout_s=60)
    house.audit(run)


def test_the_money_limit_holds(house: House) -> None:
    job = house.counting(
        total=10_000,
        pace_s=0.05,
        work={"hours": 0.001, "on": "T4"},
        provider_options={"fake": {"prices": [{"instance_type": "t4.1x", "usd_per_hour": 100.0}]}},
    )
    run = house.launch(job, provider="fake", instance="t4.1x", max_cost=0.45)
    result = run.wait(timeout_s=90)
    assert (result.state, run.status().reason_code) == ("stopped", "budget")
    assert run.status().attempts[-1].cause == "budget"
    assert result.cost_usd <= 0.46
    said = [event.data["limit"] for event in run.events() if "limit" in event.data]
    assert len(said) == len(set(said)), "each warning once"
    house.audit(run)


def test_the_viewer_may_be_killed(house: House) -> None:
    (house.project / "launch.yaml").write_text(
        f"name: seen\nrun: {sys.executable} counter.py 12 0.02 3 5 {house.gate}\n"
        f"checkpoint: {{dir: saved}}\nfile_outputs: {{outputs/: {house.results}}}\n"
    )
    viewer = subprocess.Popen(
        [sys.executable, "-m", "launcher.cli", "--provider", "local", "--yes"],
        env=house.environ,
        cwd=house.project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    eventually(lambda: house.store.live_runs() and house.store.live_runs()[0].step, "a running job")
    os.killpg(viewer.pid, signal.SIGKILL)
    viewer.wait()
    run = attach("seen", environ=house.environ)
    house.open_gate()
    assert run.wait(timeout_s=60).state == "succeeded"
    house.audit(run)
    assert house.outcome(run) == expected_outcome(12)
