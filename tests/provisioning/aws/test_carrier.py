"""Disks of one-time spot machines that are gone: read by the cheapest machine of their zone, at the same address."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from provisioning import BadOption, InstanceRef, InstanceState, NoCapacity, Query, SshAccess, WhenUnattended
from provisioning.aws import carrier
from provisioning.aws.provider import AwsProvider
from provisioning.models import HostKey, utc_now
from tests.provisioning.aws.cloud import Ec2Cloud, Fault
from tests.provisioning.machines import Clock, spec

Build = Callable[..., AwsProvider]
HOST = HostKey(private="-----KEY-----\n", public="ssh-ed25519 HOST")


def parked(provider: AwsProvider, cloud: Ec2Cloud) -> InstanceRef:
    """A spot machine that was taken away, and its disk."""
    offer = provider.offers(Query(instance_type="g4dn.xlarge", zone="us-east-1b", spot=True))[0]
    told = spec(
        when_unattended=WhenUnattended.PARK, host_key=HOST, ssh_public_keys=("ssh-ed25519 RUN",), disk_gib=90
    )
    ref = provider.create(offer, told).ref
    provider.get(ref)
    cloud.reclaim(ref.id)
    assert provider.get(ref).state is InstanceState.STOPPED
    return ref


def test_a_kept_disk_is_read_at_the_old_machines_address(build: Build, cloud: Ec2Cloud) -> None:
    clock = Clock()
    clock.now = utc_now()
    provider = build(clock=clock)
    ref = parked(provider, cloud)
    (disk,) = cloud.volumes()
    deadline = clock.now + timedelta(hours=2)
    build(clock=clock).read_disk(ref, deadline)
    provider.read_disk(ref, deadline)
    (machine,) = cloud.living()
    assert (machine.instance_type, machine.availability_zone) == ("t3.small", "us-east-1b")
    assert machine.instance_initiated_shutdown_behavior == "terminate"
    assert provider.get(ref).state is InstanceState.PENDING, "the disk is being attached"
    assert disk.attachment.instance.id == machine.id
    assert provider.get(ref).access is None
    clock.forward(60)
    seen = provider.get(ref)
    assert (seen.ref, seen.state, seen.deadline) == (ref, InstanceState.RUNNING, deadline)
    assert isinstance(seen.access, SshAccess)
    assert seen.access.host_keys == (HOST.public,)
    text = cloud.user_data(machine.id)
    assert "ssh-ed25519 RUN" in text
    assert f"nvme-Amazon_Elastic_Block_Store_{disk.id.replace('-', '')}\n" in text
    assert [instance.ref for instance in provider.owned()] == [ref], "one machine, not a machine and a disk"
    provider.park(ref)
    assert not cloud.living()
    assert provider.get(ref).state is InstanceState.STOPPED
    assert [volume.id for volume in cloud.volumes()] == [disk.id], (
        "the disk outlives its carrier, whose own is gone"
    )
    provider.read_disk(ref, deadline + timedelta(hours=1))
    provider.get(ref)
    provider.terminate(ref)
    assert not cloud.living()
    assert not cloud.volumes()
    assert provider.get(ref).state.is_gone
    assert not provider.owned()


def test_a_carrier_that_ends_at_its_deadline_leaves_the_disk(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    ref = parked(provider, cloud)
    provider.read_disk(ref, utc_now() + timedelta(hours=1))
    provider.get(ref)
    (machine,) = cloud.living()
    cloud.power_off(machine.id)
    assert provider.get(ref).state is InstanceState.STOPPED
    assert len(cloud.volumes()) == 1


def test_a_run_does_not_go_on_on_a_small_machine(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    ref = parked(provider, cloud)
    with pytest.raises(NoCapacity) as refused:
        provider.unpark(ref, utc_now() + timedelta(hours=1))
    assert "launch pull" in str(refused.value.hint)
    assert not cloud.living()


def test_a_stopped_machine_is_read_by_itself(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    offer = provider.offers(Query(instance_type="g4dn.xlarge", spot=False))[0]
    ref = provider.create(offer, spec(when_unattended=WhenUnattended.PARK)).ref
    provider.get(ref)
    provider.park(ref)
    provider.read_disk(ref, utc_now() + timedelta(hours=1))
    assert [machine.id for machine in cloud.living()] == [ref.id]
    assert provider.get(ref).state is InstanceState.RUNNING


def test_no_room_for_a_carrier_leaves_the_disk(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    ref = parked(provider, cloud)
    cloud.faults.append(Fault("RunInstances", "InsufficientInstanceCapacity", 500))
    with pytest.raises(NoCapacity):
        provider.read_disk(ref, utc_now() + timedelta(hours=1))
    assert provider.get(ref).state is InstanceState.STOPPED


def test_a_lost_answer_rents_one_carrier(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    ref = parked(provider, cloud)
    cloud.faults.append(Fault("RunInstances", kind="lose"))
    deadline = utc_now() + timedelta(hours=1)
    with pytest.raises(Exception, match="RunInstances"):
        provider.read_disk(ref, deadline)
    provider.read_disk(ref, deadline)
    assert len(cloud.living()) == 1


def test_another_computer_without_the_keys_says_so(build: Build, cloud: Ec2Cloud, tmp_path: Path) -> None:
    provider = build()
    ref = parked(provider, cloud)
    shutil.rmtree(tmp_path / "aws")
    with pytest.raises(BadOption) as refused:
        provider.read_disk(ref, utc_now() + timedelta(hours=1))
    assert "attach the volume" in str(refused.value.hint)
    assert not cloud.living()


def test_the_keys_are_for_this_user_alone_and_go_with_the_disk(
    build: Build, cloud: Ec2Cloud, tmp_path: Path
) -> None:
    provider = build()
    ref = parked(provider, cloud)
    path = tmp_path / "aws" / "kept" / ref.id
    assert path.stat().st_mode & 0o777 == 0o600
    provider.terminate(ref)
    assert not path.exists()


def test_the_carriers_user_data_has_three_parts(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    provider.read_disk(parked(provider, cloud), utc_now() + timedelta(hours=1))
    (machine,) = cloud.living()
    message = email.message_from_string(cloud.user_data(machine.id))
    kinds = [part.get_content_type() for part in message.walk()][1:]
    assert kinds == ["text/cloud-boothook", "text/cloud-boothook", "text/cloud-config"]


def test_the_mount_script_mounts_what_it_finds(tmp_path: Path) -> None:
    """Run with tools that only note what they are asked to do."""
    script = carrier.mount_script("vol-0abc", "ubuntu")
    for real, here in (
        ("/dev/disk/by-id", tmp_path / "dev"),
        ("/mnt/", tmp_path / "mnt/"),
        ("/home/", tmp_path / "home/"),
    ):
        script = script.replace(real, f"{here}/" if real.endswith("/") else str(here))
    script = script.replace("/var/log", str(tmp_path)).replace(" &\n", "\n")
    tools = tmp_path / "bin"
    tools.mkdir()
    notes = tmp_path / "notes"
    for name, code in (("mount", 0), ("mountpoint", 1)):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {notes}\nexit {code}\n')
        (tools / name).chmod(0o755)
    disk = tmp_path / "dev" / "nvme-Amazon_Elastic_Block_Store_vol0abc-part1"
    disk.parent.mkdir()
    disk.touch()
    disk.with_name("nvme-Amazon_Elastic_Block_Store_vol0abc").touch()
    subprocess.run(["/bin/sh", "-c", script], env={"PATH": f"{tools}:/usr/bin:/bin"}, check=True, timeout=20)
    asked = [line for line in notes.read_text().splitlines() if line.startswith("mount ")]
    assert asked[0] == f"mount -o nouuid {disk} {tmp_path}/mnt/launch-disk"
    assert re.fullmatch(
        f"mount --bind {tmp_path}/mnt/launch-disk.*/home/ubuntu/launch {tmp_path}/home/ubuntu/launch",
        asked[1],
    )


@pytest.mark.parametrize(("volume", "user"), [("vol-0abc; rm", "ubuntu"), ("vol-0abc", "u$(id)")])
def test_odd_names_never_reach_the_script(volume: str, user: str) -> None:
    with pytest.raises(BadOption):
        carrier.mount_script(volume, user)
