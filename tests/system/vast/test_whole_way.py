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
    slow = {"probe_up_mbit_s": 0.01, "probe_down_mbit_s": 0.01, "probe_disk_mb_s": 0.01}
    options = {"vast": {"ssh_user": getpass.getuser(), **slow}}
    return house.counting(total=total, pace_s=0.1, provider_options=options, **fields)  # type: ignore[arg-type]


def launched(house: House, job: Job, **options: object) -> Run:
    return house.launch(job, provider="vast", gpu="RTX 4090", **options)


def test_rent_kill_without_notice_recover_pull_destroy(
    house: House, cloud: VastCloud, containers: Containers, tmp_path: Path
) -> None:
    containers.without_driver.add(11)
    cloud.faults.append(TAKEN)
    cloud.machines[12].dph_base, cloud.machines[12].min_bid = 0.4, 0.1  # the cheapest, and somebody is faster
    run = launched(house, counting(house, 60), spot=True, max_price=1.0)
    house.until_step(run, 10)
    (first,) = cloud.instances.values()
    assert (first["is_bid"], first["machine_id"]) == (True, 13)
    cloud.machines[12].ask_ids.clear()  # of the plan's offers nothing is left, but the market has another one
    cloud.add(14, min_bid=0.2)
    cloud.outbid(first["id"])
    result = run.wait(timeout_s=180)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(60)
    unfit, outbid, last = run.status().attempts
    assert (unfit.cause, outbid.cause, last.cause) == ("placement", "instance_stopped", "finished")
    assert unfit.usd > 0.0
    said = [event.message for event in run.events()]
    assert any("it has no GPU driver" in words and "finding that out has cost" in words for words in said)
    assert any(
        words.startswith("all offers of the plan are gone; others on the market, within what was agreed: 2")
        for words in said
    )
    assert last.instances[0].startswith("vast/m14/")
    assert any(words.startswith("the machine was tried: GPU 0") for words in said)
    assert first["id"] in cloud.destroyed, "an outbid instance never comes back beside its successor"
    assert not cloud.instances
    assert not containers.running
    assert all("price" in call.body for call in cloud.named("create")), "a bid never becomes on-demand"
    assert not [path for path in _files(tmp_path / "containers") if KEY in path.read_text(errors="replace")]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
