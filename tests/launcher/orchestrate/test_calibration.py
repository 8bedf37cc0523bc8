"""The first minutes of a run correct its estimate, and end it where it now breaks its limit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from launcher import Run
from launcher.errors import WrongState
from launcher.orchestrate.orchestrator import Orchestrator
from launcher.render.facts import how_to_go_on
from launcher.supervise import hold_lock
from provisioning.models import utc_now
from tests.system.house import House

STEPS = """
trap "exit 75" TERM
step=0
while [ "$step" -lt {steps} ]; do
    step=$((step + 1))
    echo "{{\\"step\\": $step, \\"total\\": {total}}}" >> "$LAUNCH_METRICS_FILE"
    if [ "$step" = 3 ]; then echo saved > "$LAUNCH_OUTPUT_DIR/saved.txt"; fi
    while [ "$step" = 40 ] && [ ! -e "{gate}" ]; do sleep 0.1; done
    sleep 0.05
done
"""


def follow(house: House, run: Run, clock: Callable[[], datetime], until: Callable[[], bool]) -> None:
    """Be the supervisor, by a clock of our own."""
    orchestrator = Orchestrator(house.home, house.store, house.environ, clock=clock)
    give_up_at = time.monotonic() + 120
    next_look_s: float | None = 0.0
    while next_look_s is not None and not until():
        assert time.monotonic() < give_up_at, run.status()
        time.sleep(min(next_look_s, 0.1))
        next_look_s = orchestrator.advance(run.id)


def has_a_pace(run: Run) -> bool:
    status = run.status()
    return status.step is not None and status.step > 30 and bool(status.steps_per_s)


def test_a_run_that_breaks_its_limit_by_its_own_pace_is_saved_and_stopped(house: House) -> None:
    """Ten million steps were said to take minutes on a T4; at some twenty a second they take a week."""
    job = house.job(
        STEPS.format(steps=100_000, total=10_000_000, gate="/dev/null"),
        work={"hours": 0.1, "on": "T4"},
        max_cost=2.0,
    )
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(job, provider="fake", instance="t4.1x")
        follow(house, run, utc_now, until=lambda: has_a_pace(run))
        assert not run.status().forecast, "some seconds are not enough to say anything"
        follow(house, run, lambda: utc_now() + timedelta(minutes=4), until=lambda: False)
    status = run.status()
    assert (status.state, status.reason_code) == ("stopped", "budget")
    assert status.forecast["usd"]["low"] > 2.0 > status.cost_usd
    told = [event.message for event in run.events() if event.data.get("action") == "calibrated"]
    assert status.attempts[0].cause == "budget"
    assert len(told) == 1 and "saved and stopped now" in told[0] and f"`{how_to_go_on(status)}`" in told[0]
    assert (house.results / run.id / "outputs/saved.txt").read_text() == "saved\n"
    kept = house.results / run.id / "outputs/saved.txt"
    (copied,) = (file for file in run.pull(house.root).files if file.path.name == kept.name)
    assert (copied.path, copied.was_home) == (house.root / run.id / "outputs/saved.txt", False)
    house.audit(run)
    kept.write_text("changed\n")
    ((name, why),) = run.pull(house.root / "again").refused
    assert name == "outputs/saved.txt" and why == f"it came home before, and {kept} was changed since"
    with pytest.raises(WrongState, match="has no machine") as caught:
        run.pull()
    assert (
        caught.value.hint
        == f"its outputs are in {house.results / run.id}; `launch pull {run.id} DIR` copies them"
    )


def test_a_run_within_its_limit_is_told_what_it_will_come_to(house: House) -> None:
    job = house.job(
        STEPS.format(steps=60, total=60, gate=house.gate), work={"hours": 0.1, "on": "T4"}, max_cost=2.0
    )
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(job, provider="fake", instance="t4.1x")
        follow(house, run, utc_now, until=lambda: has_a_pace(run))
        follow(
            house, run, lambda: utc_now() + timedelta(minutes=4), until=lambda: bool(run.status().forecast)
        )
        house.open_gate()
        follow(house, run, utc_now, until=lambda: False)
    status = run.status()
    assert status.state == "succeeded"
    assert 0.0 < status.forecast["usd"]["low"] <= status.forecast["usd"]["high"] < 2.0
    # The account is kept, by line, and the next estimate of this job knows its pace.
    row = house.store.accounts()[0]
    assert row.run_id == run.id
    assert sum(line["usd"] for line in row.account["lines"]) == pytest.approx(status.cost_usd, abs=1e-5)
    assert house.store.speeds(row.job_digest)[0].steps_per_s > 0
    house.audit(run)
    the_report_holds_everything_in_one_page(house, run, status.cost_usd)


def the_report_holds_everything_in_one_page(house: House, run: Run, cost_usd: float) -> None:
    told = house.command("report", run.id, "--json")
    assert told.returncode == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["account"]["usd"] == pytest.approx(cost_usd, abs=1e-5)
    page = (house.results / run.id / "report.html").read_text(encoding="utf-8")
    assert document["path"] == str(house.results / run.id / "report.html")
    assert "Estimate and bill" in page and "<polyline" in page and "inside the range" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    items = {line["item"] for line in document["account"]["lines"]}
    assert {"boot", "training", "disk", "IPv4", "output pull"} <= items
    history = json.loads(house.command("report", "--json").stdout)
    assert history["calibration"]["runs"] == 1
    assert [item["run_id"] for item in history["runs"]] == [run.id]
    assert "finished runs inside the range" in house.command("report").stdout


def test_a_few_seconds_on_the_machine_price_the_whole_run(house: House) -> None:
    """Long enough for a pace; nothing comes home, and nothing is left behind."""
    command = ("--", "bash", "-c", STEPS.format(steps=100_000, total=100_000, gate="/dev/null"))
    where = ("--provider", "fake", "--instance", "t4.1x", "--name", "paced")
    told = house.command("calibrate", "--minutes", "0.05", *where, "--yes", "--json", *command)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    training = next(line for line in found["estimate"]["lines"] if line["item"] == "training")
    assert found["run_id"] in training["basis"] and "measured" in training["basis"]
    hours = 100_000 / found["steps_per_s"] / 3600
    assert found["estimate"]["hours"]["low"] < hours < found["estimate"]["hours"]["high"]
    ended = house.store.run(found["run_id"])
    assert ended.ended_at is not None and not house.store.outputs(found["run_id"])
    assert all(machine["state"] == "terminated" for machine in house.machines())
