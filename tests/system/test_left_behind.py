"""What a run leaves at its provider: never lost unasked, never out of reach."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher import Run, WrongState, attach
from launcher.gc import Collector
from provisioning import InstanceRef, InstanceSpec, Provider, ProviderContext, Query
from provisioning.models import utc_now
from provisioning.registry import provider
from tests.system.house import House, eventually, expected_outcome


@pytest.fixture(autouse=True)
def _no_cloud_but_the_fake_one(house: House) -> None:
    house.environ["AWS_EC2_METADATA_DISABLED"] = "true"


EARLY = "echo early > $LAUNCH_OUTPUT_DIR/early.txt; sleep 600"


def cloud(house: House) -> Provider:
    return provider("fake", ProviderContext(home=house.state, environ=house.environ))


def rent(house: House, run_id: str, **changes: Any) -> InstanceRef:
    """Rent a machine that no record knows."""
    offer = next(iter(cloud(house).offers(Query(instance_type="t4.1x", spot=False, zone="us-east-a"))))
    values: dict[str, Any] = {
        "run_id": run_id,
        "attempt": 9,
        "try_number": 1,
        "home_id": house.home.home_id,
        "owner": house.home.owner,
        "deadline": utc_now() + timedelta(hours=1),
    }
    return cloud(house).create(offer, InstanceSpec(**{**values, **changes})).ref


def parked_by_itself(house: House, script: str = EARLY, **fields: Any) -> Run:
    """A run whose machine parked itself at its deadline, with outputs on its disk that nobody has fetched."""
    job = house.job(script, when_unattended="park", **fields)
    run = house.launch(job, provider="fake", instance="t4.1x", max_duration_s=12)
    house.until(run, "running")
    house.kill_supervisor()
    eventually(lambda: house.machines()[0]["state"] == "stopped", "the machine to park itself", 40)
    assert run.wait(timeout_s=60).state == "stopped"
    return run


def stopped_with_its_disk(house: House) -> Run:
    run = house.launch(house.counting(total=1000, pace_s=0.1), provider="fake")
    house.until_step(run, 2)
    run.stop(keep_disk=True)
    assert run.wait(timeout_s=60).state == "stopped"
    return run


def early(run: Run) -> Path:
    return Path(run.status().results_dir) / "outputs/early.txt"


def test_pull_reads_a_parked_disk_and_down_ends_it(house: House) -> None:
    run = parked_by_itself(house)
    assert not early(run).exists()
    pulled = house.command("pull", run.id, "--json")
    assert pulled.returncode == 0, pulled.stderr
    assert early(run).read_text() == "early\n"
    assert house.machines()[0]["state"] == "stopped", "parked again"
    assert house.store.attempts(run.id)[0].fetched
    house.audit(run, kept=True)

    ended = house.command("down", run.id)
    assert ended.returncode == 0, ended.stderr
    house.audit(run)
    again = house.command("down", run.id)
    assert (again.returncode, "has ended already" in again.stderr) == (2, True)


def test_down_without_pull_ends_a_kept_disk(house: House) -> None:
    run = stopped_with_its_disk(house)
    ended = house.command("down", run.id, "--no-pull", "--yes")
    assert ended.returncode == 0, ended.stderr
    house.audit(run)


def test_a_parked_disk_that_cannot_be_started_outlives_the_resumed_run(house: House) -> None:
    full = {"capacity": [{"instance_type": "t4.1x", "zone": "us-east-a", "machines": 1}]}
    run = parked_by_itself(
        house,
        "echo early > $LAUNCH_OUTPUT_DIR/early.txt; [ $LAUNCH_ATTEMPT = 2 ] || sleep 600",
        provider_options={"fake": full},
    )
    (machine,) = house.machines()
    other = rent(house, "other-0001", attempt=1)
    assert machine["zone"] == "us-east-a", machine

    run.resume(max_duration_s=600)
    assert run.wait(timeout_s=90).state == "succeeded"
    cloud(house).terminate(other)
    states = {
        machine["attempt"]: machine["state"] for machine in house.machines() if machine["run_id"] == run.id
    }
    assert states == {1: "stopped", 2: "terminated"}
    assert any("never came home" in event.message for event in run.events())
    assert run.status().usd_per_hour_now > 0, "the disk is on the bill, and is shown there"

    early(run).write_text("newer\n")
    run.down()
    assert early(run).read_text() == "newer\n", "what came later is not overwritten"
    results = Path(run.status().results_dir)
    aside = results.with_name(f"{results.name}-attempt-1") / run.id / "outputs/early.txt"
    assert aside.read_text() == "early\n"
    eventually(lambda: run.status().usd_per_hour_now == 0, "the end of the disk")


def test_a_pull_that_was_killed_is_taken_up_again(house: House) -> None:
    run = parked_by_itself(house)
    ref = InstanceRef.parse(house.store.instances(run.id)[0].ref)
    machines = cloud(house)
    machines.unpark(ref, utc_now() + timedelta(hours=1))  # type: ignore[attr-defined]
    eventually(lambda: machines.get(ref).access, "the machine to run")
    run.pull()
    assert early(run).is_file()
    assert machines.get(ref).state.value == "stopped"
    run.down()
    house.audit(run)


# gc


def collected(house: House, *argv: str) -> dict[str, dict[str, Any]]:
    done = house.command("gc", "--json", *argv)
    assert done.returncode == 0, done.stderr
    return {item["ref"]: item for item in json.loads(done.stdout)["leftovers"]}


def test_gc_leaves_a_live_run_alone(house: House) -> None:
    run = house.launch(house.counting(total=1000, pace_s=0.1), provider="fake")
    house.until_step(run, 2)
    ((ref, item),) = collected(house, "--yes").items()
    assert (item["judgement"], item["action"], item["run_id"]) == ("leave", "kept", run.id)
    named = house.command("gc", ref, "--yes")
    assert (named.returncode, "its run is live" in named.stderr) == (2, True)
    run.down(discard=True)
    run.wait(timeout_s=60)
    assert not collected(house)


def test_gc_ends_what_nobody_can_miss_and_tells_ours_from_a_colleagues(house: House) -> None:
    run = house.launch(house.counting(total=2), provider="fake")
    run.wait(timeout_s=60)
    orphan = rent(house, run.id)
    colleagues = rent(house, "theirs-0001", home_id="feedfeedfeedfeed", owner="eve@elsewhere")
    from_another_home = rent(house, "mine-0001", home_id="feedfeedfeedfeed")
    listed = collected(house)
    assert {item["action"] for item in listed.values()} == {"kept"}, "--json without --yes is a list"
    done = collected(house, "--yes")
    told = {ref: (item["judgement"], item["action"]) for ref, item in done.items()}
    assert told == {
        str(orphan): ("end", "ended"),
        str(colleagues): ("leave", "kept"),
        str(from_another_home): ("ask", "kept"),
    }
    assert cloud(house).get(orphan).state.is_gone
    refused = house.command("gc", str(colleagues), "--yes")
    assert (refused.returncode, "eve@elsewhere" in refused.stderr) == (2, True)
    assert collected(house, "--yes", str(from_another_home))[str(from_another_home)]["action"] == "ended"
    assert not cloud(house).get(colleagues).state.is_gone


def test_gc_finds_everything_when_the_record_is_lost(house: House) -> None:
    run = house.launch(house.counting(total=1000, pace_s=0.1), provider="fake")
    house.until_step(run, 2)
    house.kill_supervisor()
    for path in (*house.state.glob("launch.db*"), house.state / "home-id"):
        path.unlink()
    ((ref, item),) = collected(house, "--yes").items()
    assert (item["judgement"], item["action"]) == ("ask", "kept"), "a job at work is not ended unasked"
    assert "sign of life" in item["why"]
    silent = house.command("gc")
    assert (silent.returncode, ref in silent.stdout) == (2, True), "nobody is there to answer"
    assert collected(house, "--yes", ref)[ref]["action"] == "ended"
    assert house.machines()[0]["state"] == "terminated"


def lose_the_record(house: House) -> None:
    """All that this home knows is gone; what remains of the folder is the cloud that lives in it."""
    house.kill_supervisor()
    for path in house.state.iterdir():
        if path.name != "fake":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_run_is_taken_over_from_its_machine_when_the_record_is_lost(house: House) -> None:
    small = {"instance_type": "cpu.4x"}
    count = f"{sys.executable} counter.py 12 0.02 2 5 {house.gate}"
    stages = [
        {"name": "features", "run": "mkdir f; echo made > f/x", "outputs": "f/", "resources": small},
        {"name": "train", "needs": "features", "run": f"cat f/x; {count}"},
        {
            "name": "words",
            "needs": ["features", "train"],
            "run": "cat f/x > outputs/seen",
            "resources": small,
        },
    ]
    job = house.job(None, stages=stages, secrets={"TOKEN": None}, resources={"instance_type": "t4.1x"})
    house.environ["TOKEN"] = "told again"
    run = house.launch(job, provider="fake")
    house.until_step(run, 5)
    lose_the_record(house)
    shutil.rmtree(house.results)
    listed = json.loads(house.command("adopt", "--json").stdout)["orphans"]
    assert [(item["run_id"], "sign of life" in item["why"]) for item in listed] == [(run.id, True)]
    asked = house.command("adopt", run.id)
    assert (asked.returncode, "at work, step 5 of 12" in asked.stdout) == (2, True), asked.stderr
    assert not (house.state / "runs" / run.id).exists(), "nobody is there to answer: nothing was changed"

    taken = house.command("adopt", run.id, "--yes", "--json")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["run_id"] == run.id
    ((_, item),) = collected(house, "--yes").items()
    assert (item["judgement"], item["action"]) == ("leave", "kept"), "live, whatever home its tag names"
    again = house.command("adopt", run.id, "--yes")
    assert (again.returncode, "is on record here" in again.stderr) == (2, True)

    mine = attach(run.id, environ=house.environ)
    house.until_step(mine, 5)
    results = Path(mine.status().results_dir)
    eventually(
        (results / "f/x").is_file, "what an earlier stage has left, from the machine that was given it"
    )
    mine.interrupt(notice_s=45)
    eventually(lambda: len(mine.status().attempts) == 3, "the next attempt: the code was brought home too")
    house.open_gate()
    assert mine.wait(timeout_s=120).state == "succeeded", mine.status().reason
    assert house.outcome(mine) == expected_outcome(12)
    assert (results / "outputs/seen").read_text() == "made\n", "on a machine that had nothing of it"
    assert mine.status().attempts[0].usd > 0
    house.audit(mine)


def test_gc_asks_about_outputs_that_never_came_home_and_down_brings_them(house: House) -> None:
    run = parked_by_itself(house)
    ((_, item),) = collected(house, "--yes").items()
    assert (item["judgement"], item["action"]) == ("ask", "kept")
    assert "never came home" in item["why"]
    assert 0 < item["usd_per_hour"] < 0.1
    run.down()
    assert early(run).read_text() == "early\n"
    house.audit(run)
    assert not collected(house)


def test_gc_ends_a_kept_disk_that_is_named_and_notes_it(house: House) -> None:
    run = stopped_with_its_disk(house)
    ((ref, item),) = collected(house, "--yes").items()
    assert (item["judgement"], item["action"]) == ("ask", "kept")
    assert collected(house, "--yes", ref)[ref]["action"] == "ended"
    house.audit(run)


def test_gc_looks_again_before_it_ends_anything(house: House) -> None:
    run = stopped_with_its_disk(house)
    collector = Collector.open(house.environ)
    (found,) = collector.survey().leftovers
    run.resume()
    house.until_step(run, (run.status().step or 0) + 1)
    with pytest.raises(WrongState, match="its run is live"):
        collector.end(found)
    assert run.status().is_live
    run.down(discard=True)
    run.wait(timeout_s=60)
    house.audit(run)
