"""Runs of several stages: order, machines, what travels between them, what an interruption and a failure touch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.system.house import House, eventually, expected_outcome


def stages_of(house: House) -> list[dict[str, Any]]:
    """A small machine, a larger one that is taken away, a stage that fails, and the comparison that runs all the same."""
    count = f"{sys.executable} counter.py 12 0.02 3 5 {house.gate}"
    return [
        {
            "name": "compare",
            "after": ["train", "hybrid"],
            "run": "ls deep outputs > $LAUNCH_OUTPUT_DIR/compared.txt; echo $LAUNCH_STAGE",
        },
        {
            "name": "features",
            "run": "echo begun >> outputs/times; mkdir deep; echo $SETUP > deep/x; cat outputs/times > outputs/f.txt",
            "outputs": ["deep/", "outputs/f.txt"],
            "setup": "echo setup of features",
            "resources": {"instance_type": "cpu.4x"},
        },
        {"name": "train", "needs": "features", "run": f"cat deep/x outputs/f.txt; {count}"},
        {
            "name": "hybrid",
            "needs": "features",
            "run": f"[ -e {house.root}/mended ]",
            "on_failure": "continue",
        },
        {"name": "words", "needs": "hybrid", "run": "echo words > outputs/words.txt"},
    ]


def test_an_overnight_plan_with_a_lost_machine_and_a_failing_stage(house: House) -> None:
    job = house.job(
        None, stages=stages_of(house), envs={"SETUP": "data"}, resources={"instance_type": "t4.1x"}
    )
    run = house.launch(job, provider="fake")
    house.until_step(run, 5)
    status = run.status()
    assert [(stage.name, stage.state) for stage in status.stages] == [
        ("compare", "waiting"), ("features", "succeeded"), ("train", "running"), ("hybrid", "waiting"), ("words", "waiting"),
    ]  # fmt: skip
    small, large = house.machines()
    assert (small["state"], large["state"]) == ("terminated", "running")
    assert (status.step, status.total) == (5, 12)
    shown = house.command("status", run.id).stdout
    assert "train 2/5" in shown
    run.interrupt(notice_s=45)
    eventually(lambda: len(run.status().attempts) == 3, "the next machine of the stage")
    house.open_gate()
    result = run.wait(timeout_s=120)

    assert (result.state, result.reason_code) == ("failed", "job_failed"), result.reason
    assert result.reason.startswith("hybrid (the job ended with exit 1"), result.reason
    results = Path(result.results_dir)
    assert (results / "outputs/f.txt").read_text() == "begun\n", "a stage that has finished is not done again"
    assert (results / "deep/x").read_text() == "data\n"
    assert house.outcome(run) == expected_outcome(12)
    assert (results / "outputs/compared.txt").read_text().split()[1] == "x", (
        "on the machine of the stages before"
    )
    states = {stage.name: stage.state for stage in run.status().stages}
    assert states == {
        "features": "succeeded", "train": "succeeded", "hybrid": "failed", "words": "skipped", "compare": "succeeded",
    }  # fmt: skip
    attempts = [(attempt.stage, attempt.n) for attempt in run.status().attempts]
    assert attempts == [("features", 1), ("train", 2), ("train", 3), ("hybrid", 3), ("compare", 3)]
    books = sum(machine["usd"] for machine in house.machines())
    assert run.status().cost_usd == pytest.approx(books, abs=3e-3), (
        "stages that share a machine pay for it once"
    )
    log = b"".join(run.logs()).decode()
    assert log.count("setup of features") == 1
    assert log.count("data\nbegun") == 2, "both machines of the second stage were given what it needs"
    assert log.index("counted") < log.index("compare")
    house.audit(run)
    document = json.loads(json.dumps(run.status().to_json()))
    assert document["stages"][1]["attempts"] == [1]

    (house.root / "mended").touch()
    run.resume()
    result = run.wait(timeout_s=120)
    assert (result.state, result.reason) == ("succeeded", "all 5 stages finished")
    again = [attempt.stage for attempt in run.status().attempts[5:]]
    assert again == ["hybrid", "words"], "nothing else is done twice"
    house.audit(run)


def test_a_stage_without_what_the_next_one_needs_ends_the_run_and_its_machine(house: House) -> None:
    stages = [
        {"name": "features", "run": "echo > outputs/other", "outputs": "outputs/features.h5"},
        {"name": "train", "needs": "features", "run": "echo never"},
    ]
    run = house.launch(house.job(None, stages=stages), provider="fake")
    result = run.wait(timeout_s=90)
    assert (result.state, result.reason_code) == ("failed", "job_failed")
    assert (
        "stage features: it ended without outputs/features.h5 (its outputs), which train needs"
        in result.reason
    )
    assert (Path(result.results_dir) / "outputs/other").exists()
    assert [stage.state for stage in run.status().stages] == ["failed", "skipped"]
    house.audit(run)
