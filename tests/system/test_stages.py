"""Runs of several stages: order, machines, what travels between them, what an interruption and a failure touch."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher import Job, Run, attach
from launcher.errors import RunFailed
from launcher.report.write import write_report
from provisioning.models import utc_now
from tests.system.house import REPOSITORY, House, eventually, expected_outcome

EXAMPLES = REPOSITORY / "examples"


def stages_of(house: House) -> list[dict[str, Any]]:
    """A small machine, a larger one that is taken away, a stage that fails, and the comparison that runs all the same."""
    count = f"{sys.executable} counter.py 12 0.02 3 5 {house.gate}"
    return [
        {
            "name": "compare",
            "after": ["train", "hybrid"],
            "run": "(ls deep || true) > $LAUNCH_OUTPUT_DIR/compared.txt; echo $LAUNCH_STAGE",
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
            "run": f"echo trying; [ -e {house.root}/mended ]",
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
    house.until(run, "running")  # the look that finds the step may be the first of all
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
    assert (results / "outputs/compared.txt").read_text() == "x\n", "on the machine of the stages before"
    states = {stage.name: stage.state for stage in run.status().stages}
    assert states == {
        "features": "succeeded", "train": "succeeded", "hybrid": "failed", "words": "skipped", "compare": "succeeded",
    }  # fmt: skip
    attempts = [(attempt.stage, attempt.n) for attempt in run.status().attempts]
    assert attempts == [("features", 1), ("train", 2), ("train", 3), ("hybrid", 3), ("compare", 3)]
    assert [attempt.cause for attempt in run.status().attempts[2:]] == ["finished", "job_failed", "finished"]
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
    what_failed_is_told(house, run)

    (house.root / "mended").touch()
    run.resume()
    result = run.wait(timeout_s=120)
    assert (result.state, result.reason) == ("succeeded", "all 5 stages finished")
    again = [attempt.stage for attempt in run.status().attempts[5:]]
    assert again == ["hybrid", "compare", "words"], "what is missing, and the comparison, which has to see it"
    house.audit(run)


def what_failed_is_told(house: House, run: Run) -> None:
    """Its last words, though another stage spoke after it; and the log says who speaks."""
    ended = "[launch] the job ended with exit code"
    shown = house.command("status", run.id).stdout
    assert f"the last lines of stage hybrid:\n  │ trying\n  │ {ended} 1\n" in shown
    assert run.status().exit_code == 1
    with pytest.raises(RunFailed, match=r"its last line: trying$") as failed:
        run.result()
    assert f"`launch logs {run.id} --stage hybrid`" in str(failed.value.hint)
    page, _ = write_report(run.id, environ=house.environ)
    assert f"The last lines of stage hybrid</h2><pre>trying\n{ended} 1</pre>" in page.read_text()
    page.unlink()
    shown = house.command("logs", run.id, "-n", "4").stdout
    hybrid, compare = (
        f"stage hybrid, machine 3 <==\ntrying\n{ended} 1",
        "stage compare, machine 3 <==\ncompare",
    )
    assert shown == f"==> {hybrid}\n==> {compare}\n{ended} 0\n"
    lines = house.command("logs", run.id, "--stage", "train", "-n", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["text"] for line in lines] == [f"counted\n{ended} 0\n"]
    parts = house.store.run(run.id).log_parts
    assert [part[1:] for part in parts] == [
        ["features", 1],
        ["train", 2],
        ["train", 3],
        ["hybrid", 3],
        ["compare", 3],
    ]
    assert "it has compare, features, train" in house.command("logs", run.id, "--stage", "no").stderr


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


def test_the_overnight_example_what_is_dropped_what_comes_later_and_what_is_promoted(house: House) -> None:
    shutil.copytree(EXAMPLES / "night", house.root / "examples/night")
    file = shutil.copy(EXAMPLES / "night.yaml", house.root / "examples/night.yaml")
    house.environ |= {"PATH": f"{Path(sys.executable).parent}:{house.environ['PATH']}"}
    job = Job.from_yaml(file).with_overrides({"stages[2].work": {"hours": 5, "on": "cpu"}})
    run = house.launch(job, until=utc_now() + timedelta(hours=2))
    result = run.wait(timeout_s=120)
    assert (result.state, result.reason_code) == ("stopped", "deadline"), result.reason
    states = {stage.name: stage.state for stage in run.status().stages}
    assert states == {
        "features": "succeeded", "baseline": "succeeded", "hybrid": "dropped", "compare": "succeeded",
    }  # fmt: skip
    assert "hybrid dropped for want of time" in result.reason
    promoted = house.root / "examples/night/models/forecast.npz"
    linear = promoted.read_bytes()
    note = json.loads(promoted.with_name("forecast.npz.promoted.json").read_text())
    assert (note["run_id"], note["stage"], note["value"]) == (
        run.id,
        "compare",
        run.status().stages[3].metrics["val_nrmse"],
    )

    priced = house.command("estimate", str(file), "--provider", "local", "--json")
    assert priced.returncode == 0, priced.stderr
    bases = {stage["name"]: stage for stage in json.loads(priced.stdout)["estimates"][0]["stages"]}
    for name in ("features", "baseline", "compare"):  # report no steps, and teach what they took
        assert f"by the clock in run {run.id}" in bases[name]["basis"], bases[name]
        assert bases[name]["source"] == "measured" and bases[name]["hours"]["low"] > 0
    assert bases["hybrid"]["basis"].startswith("a guess: 150 steps"), "what was dropped teaches nothing"

    later = house.command(
        str(file), "--provider", "local", "--stage", "hybrid", "--from", run.id, "--yes", timeout_s=180
    )  # fmt: skip
    assert later.returncode == 0, later.stderr
    assert "outputs of stage baseline are on the machine" in later.stdout
    hybrid = attach("night", environ=house.environ)
    house.runs.append(hybrid)
    scores = [json.loads((Path(place) / "outputs" / name / "score.json").read_text())["val_nrmse"]
              for place, name in ((result.results_dir, "baseline"), (hybrid.status().results_dir, "hybrid"))]  # fmt: skip
    assert scores[1] < 0.5 * scores[0]

    compared = house.command(
        str(file), "--provider", "local", "--stage", "compare", "--from", hybrid.id, "--yes", timeout_s=180
    )  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    assert f"{scores[0]:.6g} → {scores[1]:.6g}, better by" in compared.stdout
    assert promoted.read_bytes() != linear
    (before,) = (path for path in promoted.parent.glob("*.before-*") if path.suffix != ".json")
    assert before.read_bytes() == linear
    refused = house.command(
        str(file), "--provider", "local", "--stage", "hybrid", "--from", hybrid.id, "--yes"
    )
    assert refused.returncode == 2
    assert "has no stage 'features'" in refused.stderr
