"""A run from launch to results, with nothing going wrong."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from launcher import Kind
from tests.system.house import House, eventually, expected_outcome


@pytest.mark.parametrize("provider", ["local", "fake"])
def test_a_job_runs_and_everything_is_home(house: House, provider: str) -> None:
    run = house.launch(house.counting(total=12), provider=provider)
    result = run.wait(timeout_s=60)

    assert (result.state, result.exit_code) == ("succeeded", 0)
    assert house.outcome(run) == expected_outcome(12)
    house.audit(run)
    results = Path(result.results_dir)
    assert results == house.results / run.id
    assert (house.results / "latest").resolve() == results
    assert {path.name for path in result.files} >= {"weights.txt", "metrics.csv", "metrics.jsonl"}
    assert run.result().metrics["loss"] == pytest.approx(1 / 12)
    log = b"".join(run.follow_log())
    said = [line for line in log.decode().splitlines() if not line.startswith("[launch]")]
    assert said == ["from step 0", "counted"]
    assert len(log) == run.log_bytes()


def test_the_document_of_a_run_has_the_promised_fields(house: House) -> None:
    run = house.launch(house.counting(total=3), provider="fake", instance="t4.1x")
    run.wait(timeout_s=60)
    document = json.loads(json.dumps(run.status().to_json()))
    promised = {
        "run_id", "name", "state", "reason", "provider", "instance", "attempts", "step", "total",
        "metrics", "cost_usd", "usd_per_hour_now", "outputs",
    }  # fmt: skip
    assert promised <= set(document)
    (attempt,) = document["attempts"]
    promised_of_attempt = {
        "n", "stage", "instances", "offer", "started", "ended", "cause", "steps_done", "steps_lost", "seconds_lost", "usd",
    }  # fmt: skip
    assert promised_of_attempt <= set(attempt)
    assert (document["step"], document["total"], attempt["steps_done"]) == (3, 3, 3)
    assert document["usd_per_hour_now"] == 0
    assert document["cost_usd"] == pytest.approx(attempt["usd"])
    books = house.machines()[0]
    assert document["cost_usd"] == pytest.approx(books["usd"], abs=1e-3), "our bill is the cloud's bill"


def test_states_follow_each_other_in_the_log(house: House) -> None:
    run = house.launch(house.counting(total=4, pace_s=0.5, setup="echo made"), provider="fake")
    heard: list[str] = []
    run.wait(
        timeout_s=60,
        on_event=lambda event: heard.append(event.data["state"]) if event.kind is Kind.STATE else None,
    )
    without_repeats = [state for number, state in enumerate(heard) if heard[number - 1 : number] != [state]]
    assert without_repeats[:2] == ["provisioning", "syncing"]
    assert without_repeats[-2:] == ["pulling", "succeeded"]
    assert "running" in without_repeats


def test_what_runs_is_the_code_as_it_was_at_launch(house: House) -> None:
    (house.project / "say.sh").write_text("sleep 2; cat words.txt > $LAUNCH_OUTPUT_DIR/said.txt\n")
    (house.project / "words.txt").write_text("before\n")
    run = house.launch(house.job("bash say.sh"))
    (house.project / "words.txt").write_text("after\n")
    run.wait(timeout_s=60)
    assert (Path(run.status().results_dir) / "outputs/said.txt").read_text() == "before\n"


def test_a_secret_reaches_the_job_and_its_private_file_goes_with_the_run(house: House) -> None:
    house.environ["TOKEN"] = "s3cr3t-value"
    job = house.job('echo "${#TOKEN}" > $LAUNCH_OUTPUT_DIR/length.txt', secrets={"TOKEN": None})
    run = house.launch(job)
    kept = house.home.run(run.id).secrets
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    run.wait(timeout_s=60)
    assert (Path(run.status().results_dir) / "outputs/length.txt").read_text() == "12\n"
    assert not kept.exists(), "deleted at the end"


def test_the_supervisor_ends_when_nothing_is_live(house: House) -> None:
    run = house.launch(house.counting(total=2))
    pid = house.supervisor()
    run.wait(timeout_s=60)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the supervisor's end")
    assert house.home.supervisor_log.read_text() == ""
