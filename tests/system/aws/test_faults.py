"""What an EC2 machine and its API do to a run that somebody counts on: over real HTTP, ssh, tmux and kill -9."""

from __future__ import annotations

import getpass
import json
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from launcher import Job, Run, attach
from launcher.supervise import ensure_supervisor
from tests.provisioning.aws.cloud import Ec2Cloud, Fault
from tests.system.aws.machines import Machines
from tests.system.house import House, eventually, expected_outcome
from tests.system.ssh.server import Sshd, keygen

TOTAL = 30


def counting(house: House, total: int = TOTAL, **fields: Any) -> Job:
    options = {"aws": {"ssh_user": getpass.getuser()}}
    return house.counting(total=total, every=2, provider_options=options, **fields)


def launched(house: House, job: Job, **options: Any) -> Run:
    return house.launch(job, provider="aws", instance="t3.small", **options)


def gone_well(house: House, run: Run, cloud: Ec2Cloud, machines: Machines, total: int = TOTAL) -> None:
    """Succeeded, everything home, nothing rented twice and nothing left."""
    assert run.status().state == "succeeded", run.status().reason
    assert house.outcome(run) == expected_outcome(total)
    assert not cloud.living() and not cloud.volumes() and not machines.rented
    tokens = [row.token for row in house.store.instances(run.id)]
    assert len(tokens) == len(set(tokens)) == len(run.status().attempts)
    known = {row.token for row in house.store.tries(run.id)}
    assert {call.form["ClientToken"] for call in cloud.actions("RunInstances")} <= known


@pytest.mark.long  # a connection to a machine whose power is gone is tried for half a minute, several times
def test_an_instance_that_was_restarted_has_another_address_and_the_same_disk(
    house: House, cloud: Ec2Cloud, machines: Machines
) -> None:
    cloud.faults += [
        Fault("DescribeInstances", kind="cut"),
        Fault("DescribeInstances", "InternalError", 503),
    ]
    run = launched(house, counting(house, gate=6, checkpoint={"dir": "saved", "mirror": "none"}))
    house.until_step(run, 6)
    (machine,) = cloud.living()
    before = machine.public_ip

    def boot(started: Any) -> None:
        for name in ("host_key", "host_key.pub", "client_key", "client_key.pub"):
            (machines.folder / started.id / name).unlink()
        machines.start(started)

    cloud.on_start = boot
    cloud.faults.append(Fault("StartInstances", kind="cut"))
    cloud.power_off(machine.id)
    eventually(lambda: machine.id in machines.rented, "the machine to be started again", 120)
    assert machine.public_ip != before
    house.open_gate()
    run.wait(timeout_s=120)
    (attempt,) = run.status().attempts
    assert attempt.instances == (f"aws/us-east-1/{machine.id}",), (
        "the same machine: its disk had the only checkpoint"
    )
    assert any("goes on from checkpoint" in event.message for event in run.events())
    gone_well(house, run, cloud, machines)


def test_a_reboot_while_no_name_is_resolved_at_home(
    house: House, cloud: Ec2Cloud, machines: Machines
) -> None:
    """The machine is unknown and not gone for as long as nobody can be asked; then it goes on from its own disk."""
    run = launched(house, counting(house, gate=6, checkpoint={"dir": "saved", "mirror": "none"}))
    house.until_step(run, 6)
    (machine,) = cloud.living()
    sshd = machines.rented[machine.id].sshd
    assert guards(sshd), "a deadline is armed"
    house.kill_supervisor()
    machines.reboot(machine.id)
    offline = {"AWS_ENDPOINT_URL": "http://ec2.nowhere.invalid", "RES_OPTIONS": "timeout:1 attempts:1"}
    ensure_supervisor(house.home, {**house.environ, **offline})
    eventually(
        lambda: house.store.run(run.id).reason_code == "unreachable", "the record to say that nobody answers"
    )
    assert run.status().is_live
    assert [item.id for item in cloud.living()] == [machine.id]

    house.kill_supervisor()
    ensure_supervisor(house.home, house.environ)
    eventually(lambda: guards(sshd), "the deadline to be armed again", 60)
    house.open_gate()
    run.wait(timeout_s=120)
    (attempt,) = run.status().attempts
    assert attempt.instances == (f"aws/us-east-1/{machine.id}",), "its disk had the only checkpoint"
    told = [event.message for event in run.events()]
    assert any("the machine was restarted" in words for words in told), told
    assert any("goes on from checkpoint" in words for words in told), told
    assert len(cloud.actions("RunInstances")) == 1
    gone_well(house, run, cloud, machines)


@pytest.mark.long
def test_a_spot_machine_that_is_taken_away_while_data_is_on_its_way(
    house: House, cloud: Ec2Cloud, machines: Machines
) -> None:
    data = house.root / "data"
    data.mkdir()
    with (data / "features.bin").open("wb") as file:
        file.truncate(300 << 20)
    mounts = {"data/features": str(data)}
    run = launched(house, counting(house, total=5, file_mounts=mounts), spot=True, max_price=1.0)
    eventually(lambda: run.status().state == "syncing" or not run.status().is_live, "data on its way")
    (first,) = cloud.living()
    cloud.reclaim(first.id)
    run.wait(timeout_s=120)
    assert run.status().attempts[0].cause in ("instance_lost", "instance_stopped")
    assert len(run.status().attempts) == 2
    gone_well(house, run, cloud, machines, total=5)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 17))])
def test_our_processes_are_killed_at_any_moment(
    house: House, cloud: Ec2Cloud, machines: Machines, seed: int
) -> None:
    """Five times, the last of them while outputs come home or the machine is ended; answers are lost and cut too."""
    chance = random.Random(seed)
    cloud.faults += [
        Fault("RunInstances", kind=chance.choice(["lose", "cut", "hang_up"])),
        Fault("TerminateInstances", kind=chance.choice(["lose", "cut", "hang_up"])),
    ]
    checkpoint = {"dir": "saved", "mirror_every": "1s"}
    run = launched(house, counting(house, checkpoint=checkpoint), spot=True, max_price=1.0)
    for _ in range(4):
        kill_behind(house, run, len(run.events()) + chance.randint(1, 9))
    ensure_supervisor(house.home, house.environ)
    house.until(run, "pulling", "succeeded", "failed")
    kill_behind(house, run, len(run.events()) + chance.randint(0, 2))
    run.wait(timeout_s=150)
    gone_well(house, run, cloud, machines)


def guards(machine: Sshd) -> list[int]:
    """The processes on a machine that end it at its deadline."""
    found = []
    for pid in machine.processes():
        with suppress(OSError):
            if b"deadline.json" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def kill_behind(house: House, run: Run, events: int) -> None:
    """Kill the supervisor when the log has so many events, or the run has ended."""
    ensure_supervisor(house.home, house.environ)
    eventually(lambda: len(run.events()) >= events or not run.status().is_live, "something to happen")
    house.kill_supervisor()


def test_a_lost_laptop_comes_back_in_with_its_own_key(
    house: House, cloud: Ec2Cloud, machines: Machines
) -> None:
    """The state folder is gone with everything in it: the run's key, its record, its code."""
    own = Path(house.environ["HOME"]) / ".ssh" / "id_ed25519"
    own.parent.mkdir(mode=0o700)
    keygen(own)
    run = launched(house, counting(house, gate=6))
    house.until_step(run, 6)
    (machine,) = cloud.living()
    house.kill_supervisor()
    shutil.rmtree(house.state)

    config = house.root / "ssh_config"
    config.write_text(f"IdentityFile {own}\n{machines.config.read_text()}")
    house.environ["LAUNCH_SSH_CONFIG"] = str(config)
    found = json.loads(house.command("gc", "--json", "--yes").stdout)
    ((ref, why),) = [(item["ref"], item["why"]) for item in found["leftovers"]]
    assert (ref, "sign of life" in why) == (f"aws/us-east-1/{machine.id}", True), why
    assert [item.id for item in cloud.living()] == [machine.id], "nothing was ended unasked"

    taken = house.command("adopt", ref, "--yes", "--json")
    assert taken.returncode == 0, taken.stderr
    mine = attach(run.id, environ=house.environ)
    house.until_step(mine, 6)
    house.open_gate()
    mine.wait(timeout_s=120)
    gone_well(house, mine, cloud, machines)
