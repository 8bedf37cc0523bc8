"""``launch --provider aws`` from the create call to the last volume, over real HTTP, ssh, tmux and kill -9."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from launcher import Job, Run
from tests.provisioning.aws.cloud import Ec2Cloud, Fault
from tests.system.aws.machines import Machines
from tests.system.house import House, eventually, expected_outcome


def counting(house: House, total: int, **fields: object) -> Job:
    options = {"aws": {"ssh_user": getpass.getuser()}}
    return house.counting(total=total, pace_s=0.1, provider_options=options, **fields)


def launched(house: House, job: Job, **options: object) -> Run:
    return house.launch(job, provider="aws", instance="t3.small", **options)


def test_rent_notice_kill_recover_pull_terminate(house: House, cloud: Ec2Cloud, machines: Machines) -> None:
    full = Fault("RunInstances", "InsufficientInstanceCapacity", 500, times=1)
    cloud.faults.append(full)
    run = launched(house, counting(house, 150), spot=True, max_price=1.0)
    house.until_step(run, 5)
    (first,) = cloud.living()
    rented = machines.rented[first.id]
    eventually(lambda: rented.metadata.asked > 0, "the watchdog to ask its metadata service")
    rented.metadata.notice = '{"action": "terminate", "time": "2030-01-01T00:00:00Z"}'
    eventually(
        lambda: len(run.status().attempts) == 2 or not run.status().is_live, "the notice to be acted upon"
    )
    if first.state != "terminated":
        cloud.reclaim(first.id)
    result = run.wait(timeout_s=120)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(150)
    before, after = run.status().attempts
    assert (before.cause, before.steps_lost) == ("notice", 0)
    assert before.steps_done + after.steps_done == 150
    assert not cloud.living()
    assert not cloud.volumes()
    assert {request["state"] for request in cloud.requests.values()} == {"cancelled"}
    assert not cloud.refilled
    assert not machines.rented


def test_an_answer_that_was_lost_rents_nothing_twice_for_either_of_two_stages(
    house: House, cloud: Ec2Cloud, machines: Machines
) -> None:
    """Two types of machine: what the first stage has left is on the second, where that one did not run."""
    cloud.sold = (*cloud.sold, "t3.medium")
    cloud.faults += [
        Fault("RunInstances", kind="lose"),
        Fault("DescribeInstances", "RequestLimitExceeded", 503, times=2),
    ]
    make = "mkdir -p 'f/dee p'; echo made > 'f/dee p/x'; echo $LAUNCH_STAGE > f/by"
    count = f"cat 'f/dee p/x' f/by > outputs/seen; {sys.executable} counter.py 5 0.1 3"
    stages = [
        {"name": "features", "run": make, "outputs": "f/", "resources": {"instance_type": "t3.medium"}},
        {"name": "train", "run": count, "needs": "features", "resources": {"instance_type": "t3.small"}},
    ]
    options = {"aws": {"ssh_user": getpass.getuser()}}
    run = house.launch(house.job(None, stages=stages, provider_options=options), provider="aws")
    result = run.wait(timeout_s=120)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(5)
    results = Path(result.results_dir)
    assert (results / "outputs/seen").read_text() == "made\nfeatures\n"
    assert (results / "f/dee p/x").read_text() == "made\n"
    rented = cloud.actions("RunInstances")
    assert len({call.form["ClientToken"] for call in rented}) == 2
    assert {call.form["InstanceType"] for call in rented} == {"t3.medium", "t3.small"}
    assert not cloud.living()
    assert not cloud.volumes()


def test_a_machine_with_another_host_key_gets_nothing(
    house: House, cloud: Ec2Cloud, machines: Machines
) -> None:
    start = machines.start

    def impostor(machine: object) -> None:
        start(machine)
        for rented in machines.rented.values():
            rented.sshd.new_host_key()

    cloud.on_start = impostor
    run = launched(house, counting(house, 5))
    eventually(lambda: machines.rented, "a machine")
    seen = len(cloud.actions("DescribeInstances"))
    eventually(lambda: len(cloud.actions("DescribeInstances")) >= seen + 4, "four looks at the machine")
    (rented,) = machines.rented.values()
    assert not list(rented.sshd.home.iterdir()), "nothing was sent"
    run.down(discard=True)
    run.wait(timeout_s=60)
    assert not cloud.living()


def test_a_machine_whose_gpu_does_not_work_is_replaced(
    house: House, cloud: Ec2Cloud, machines: Machines
) -> None:
    machines.with_a_broken_gpu = 1
    run = launched(house, counting(house, 5), max_price=1.0)
    result = run.wait(timeout_s=120)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(5)
    before, after = run.status().attempts
    assert (before.cause, after.cause) == ("machine_fault", "finished")
    assert any("the GPU's driver does not answer" in event.message for event in run.events())
    assert before.offer != after.offer, "the next one is tried elsewhere"
    assert not cloud.living()
    assert not machines.rented
