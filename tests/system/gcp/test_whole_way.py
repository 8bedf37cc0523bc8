"""``launch --provider gcp`` from the create call to the last disk, over real HTTP, ssh, tmux and kill -9."""

from __future__ import annotations

import getpass

from launcher import Job, Run
from tests.provisioning.gcp.cloud import Fault, GceCloud
from tests.system.gcp.machines import Machines
from tests.system.house import House, eventually, expected_outcome


def counting(house: House, total: int, **fields: object) -> Job:
    options = {"gcp": {"ssh_user": getpass.getuser()}}
    return house.counting(total=total, pace_s=0.1, provider_options=options, **fields)


def launched(house: House, job: Job, **options: object) -> Run:
    return house.launch(job, provider="gcp", instance="e2-small", max_price=1.0, **options)


def test_rent_notice_kill_recover_pull_terminate(house: House, cloud: GceCloud, machines: Machines) -> None:
    """Sold out, rented with a lost answer, taken away with notice, replaced, brought home, ended."""
    cloud.faults += [
        Fault("instances.insert", "ZONE_RESOURCE_POOL_EXHAUSTED", kind="fail", message="not enough"),
        Fault("instances.insert", kind="lose"),
        Fault("instances.aggregatedList", "rateLimitExceeded", 403),
    ]
    run = launched(house, counting(house, 60, gate=40), spot=True)
    house.until_step(run, 5)
    (first,) = cloud.living()
    assert first["scheduling"]["instanceTerminationAction"] == "STOP"
    rented = machines.rented[first["name"]]
    eventually(lambda: rented.metadata.asked > 0, "the watchdog to ask its metadata service")
    rented.metadata.preempted = True
    eventually(lambda: events_with(run, "notice"), "the notice to be heard")
    cloud.preempt(first["name"])
    house.open_gate()
    result = run.wait(timeout_s=120)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(60)
    before, after = run.status().attempts
    assert (before.cause, before.steps_lost) == ("notice", 0)
    assert before.steps_done + after.steps_done == 60
    assert not cloud.living()
    assert not cloud.disks
    assert not machines.rented


def events_with(run: Run, word: str) -> list[str]:
    return [event.message for event in run.events() if word in event.message]
