"""``launch --provider vast`` over real HTTP, ssh, tmux and kill -9, on containers that run their ``onstart``."""

from __future__ import annotations

import getpass
from pathlib import Path

from launcher import Job, Run
from tests.provisioning.vast.cloud import KEY, Fault, VastCloud
from tests.system.house import House, expected_outcome
from tests.system.vast.containers import Containers

TAKEN = Fault("create", 404, "invalid_args", "error 404/3603: no_such_ask Instance type 1 is not available.")


def counting(house: House, total: int, **fields: object) -> Job:
    options = {"vast": {"ssh_user": getpass.getuser()}}
    return house.counting(total=total, pace_s=0.1, provider_options=options, **fields)  # type: ignore[arg-type]


def launched(house: House, job: Job, **options: object) -> Run:
    return house.launch(job, provider="vast", gpu="RTX 4090", **options)


def test_rent_kill_without_notice_recover_pull_destroy(
    house: House, cloud: VastCloud, containers: Containers, tmp_path: Path
) -> None:
    cloud.faults.append(TAKEN)
    run = launched(house, counting(house, 60), spot=True, max_price=1.0)
    house.until_step(run, 10)
    (first,) = cloud.instances.values()
    assert first["is_bid"]
    cloud.outbid(first["id"])
    result = run.wait(timeout_s=180)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(60)
    before, after = run.status().attempts
    assert (before.cause, after.cause) == ("instance_stopped", "finished")
    assert before.instances != after.instances
    assert first["id"] in cloud.destroyed, "an outbid instance never comes back beside its successor"
    assert not cloud.instances
    assert not containers.running
    assert all("price" in call.body for call in cloud.named("create")), "a bid never becomes on-demand"
    asked = [call.body["machine_id"]["eq"] for call in cloud.named("search") if "machine_id" in call.body]
    assert len(asked) == len(set(asked)) == 3, "taken, outbid, and the one that did the work: three machines"
    assert not [path for path in _files(tmp_path / "containers") if KEY in path.read_text(errors="replace")]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
