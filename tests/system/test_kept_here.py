"""What runs have left on this computer, and what is rented elsewhere: shown as it is, removed when it may go."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from launcher import WrongState
from provisioning.models import utc_now
from tests.system.house import House


def test_files_of_ended_runs_are_shown_with_their_size_and_go_when_nobody_needs_them(house: House) -> None:
    house.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    done = house.launch(house.counting(total=4, every=2, name="done"), provider="local")
    done.wait(timeout_s=60)
    stopped = house.launch(house.counting(gate=3, name="stopped"), provider="fake")
    house.until_step(stopped, 3)
    stopped.stop()
    stopped.wait(timeout_s=60)

    told = json.loads(house.command("gc", "--json", "--yes").stdout)["kept_here"]
    found = {item["run_id"]: (item["judgement"], item["action"]) for item in told}
    assert found == {done.id: ("leave", "kept"), stopped.id: ("ask", "kept")}
    assert all(item["size_bytes"] > 0 for item in told)
    refused = house.command("gc", done.id, "--yes")
    assert (refused.returncode, "kept until" in refused.stderr) == (2, True)

    unclear = house.command("gc", "stop", "--yes")
    assert (unclear.returncode, f"takes the whole id: {stopped.id}" in unclear.stderr) == (2, True)

    house.store.update_run(done.id, ended_at=utc_now() - timedelta(days=15))
    told = json.loads(house.command("gc", "--json", "--yes").stdout)["kept_here"]
    assert {item["run_id"]: item["action"] for item in told} == {done.id: "removed", stopped.id: "kept"}
    assert not (house.state / "local/launch" / done.id).exists()
    assert (Path(done.status().results_dir) / "outputs/weights.txt").is_file(), "results are never touched"
    assert done.events() and any(done.logs())

    gone = house.command("gc", stopped.id, "--yes")
    assert gone.returncode == 0, gone.stderr
    with pytest.raises(WrongState, match="no longer kept here"):
        stopped.resume()
    assert json.loads(house.command("gc", "--json").stdout)["kept_here"] == []


def test_refresh_asks_the_cloud_and_ls_shows_every_kept_disk(house: House) -> None:
    run = house.launch(house.counting(gate=3), provider="fake")
    house.until_step(run, 3)
    run.stop(keep_disk=True)
    run.wait(timeout_s=60)
    for n in range(25):  # newer than the kept disk, and more than are listed
        old = house.store.run(run.id)
        later = old.created_at + timedelta(seconds=n + 1)
        house.store.add_run(
            dataclasses.replace(old, run_id=f"other-{n:04d}", name=f"other-{n}", created_at=later)
        )
    listed = json.loads(house.command("ls", "--json").stdout)
    assert run.id in [item["run_id"] for item in listed["runs"]]
    assert listed["usd_per_hour_now"] > 0

    ref = house.store.instances(run.id)[0].ref
    argv = [sys.executable, "-m", "provisioning.fake", "terminate", ref]
    subprocess.run(argv, env=house.environ, check=True)
    assert json.loads(house.command("status", run.id, "--json").stdout)["instance_state"] == "stopped"
    now = json.loads(house.command("status", run.id, "--json", "--refresh").stdout)
    assert (now["instance_state"], now["usd_per_hour_now"]) == ("terminated", 0)
    assert json.loads(house.command("ls", "--json", "--refresh").stdout)["usd_per_hour_now"] == 0
    house.audit(run)
