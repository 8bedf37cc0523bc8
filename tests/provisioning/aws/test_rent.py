"""Renting, step by step, as EC2 sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from provisioning import (
    BadOption,
    InstanceState,
    MayHaveBeenCreated,
    NoCapacity,
    Offer,
    PriceRose,
    Query,
    SshAccess,
    Unreachable,
    WhenUnattended,
)
from provisioning.aws.provider import AwsProvider
from provisioning.models import HostKey, utc_now
from tests.provisioning.aws.cloud import ADDRESS, CUDA_LINE, GPU_LINE, OLDER_GPU_LINE, Ec2Cloud, Fault
from tests.provisioning.machines import Clock, spec

Build = Callable[..., AwsProvider]


def offer_of(provider: AwsProvider, instance_type: str = "g4dn.xlarge", *, spot: bool = False) -> Offer:
    return provider.offers(Query(instance_type=instance_type, spot=spot))[0]


def test_a_machine_is_what_the_spec_says(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    told = spec(
        disk_gib=200.5,
        ssh_public_keys=("ssh-ed25519 RUN", "ssh-ed25519 MINE"),
        host_key=HostKey(private="-----KEY-----\nsecret\n", public="ssh-ed25519 HOST"),
        labels={"team": "speech"},
    )
    instance = provider.create(offer_of(provider), told)
    machine = cloud.machine(instance.ref.id)
    assert machine.instance_type == "g4dn.xlarge"
    assert machine.image_id == cloud.parameters["us-east-1"][GPU_LINE]
    assert machine.metadata_options.http_tokens == "required"
    assert machine.instance_initiated_shutdown_behavior == "terminate"
    (volume,) = cloud.volumes()
    assert (volume.size, volume.volume_type) == (201, "gp3")
    tags = {tag["key"]: tag["value"] for tag in machine.get_tags()}
    assert tags == {tag["key"]: tag["value"] for tag in volume.get_tags()}
    assert {"launch-run", "launch-token", "launch-home", "launch-owner", "team", "Name"} <= set(tags)
    text = cloud.user_data(machine.id)
    assert '"ssh-ed25519 MINE"' in text
    assert '"ed25519_private": "-----KEY-----\\nsecret\\n"' in text
    assert f"deadline={int(told.deadline.timestamp())}\n" in text
    assert "AKIA" not in text
    access = provider.get(instance.ref).access
    assert isinstance(access, SshAccess)
    assert access.user == "ubuntu"
    assert access.host.startswith("127.")
    assert access.host_keys == ("ssh-ed25519 HOST",)


def test_a_disk_is_never_smaller_than_its_image(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    provider.create(offer_of(provider), spec(disk_gib=10))
    assert cloud.volumes()[0].size == 75


@pytest.mark.parametrize(
    ("spot", "unattended", "options", "behaviour", "root_goes"),
    [
        (False, WhenUnattended.PARK, {}, "stop", True),
        (False, WhenUnattended.LINGER, {}, "terminate", True),
        (False, WhenUnattended.PUSH, {}, "terminate", True),
        (True, WhenUnattended.PARK, {}, "terminate", False),
        (True, WhenUnattended.LINGER, {}, "terminate", True),
        (True, WhenUnattended.PARK, {"spot_request": "persistent"}, "stop", True),
    ],
)
def test_how_a_machine_ends_itself(
    build: Build,
    cloud: Ec2Cloud,
    spot: bool,
    unattended: WhenUnattended,
    options: dict[str, str],
    behaviour: str,
    root_goes: bool,
) -> None:
    provider = build(**options)
    told = spec(when_unattended=unattended)
    ref = provider.create(offer_of(provider, spot=spot), told).ref
    machine = cloud.machine(ref.id)
    assert machine.instance_initiated_shutdown_behavior == behaviour
    assert machine.block_device_mapping["/dev/sda1"].delete_on_termination is root_goes
    provider.get(ref)
    cloud.power_off(ref.id)
    parked = unattended is WhenUnattended.PARK
    assert provider.get(ref).state is (InstanceState.STOPPED if parked else InstanceState.TERMINATED)
    assert bool(cloud.volumes()) is parked
    assert [instance.ref for instance in provider.owned()] == ([ref] if parked else [])
    provider.terminate(ref)
    assert provider.get(ref).state.is_gone
    assert not cloud.volumes()
    assert not provider.owned()


def test_an_image_follows_the_gpu_and_falls_back(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    known = cloud.parameters["us-east-1"]
    newest = known.pop(GPU_LINE)
    first = provider.create(offer_of(provider), spec("a-0001")).ref
    assert cloud.machine(first.id).image_id == known[OLDER_GPU_LINE]
    known.pop(OLDER_GPU_LINE)
    provider = build()
    second = provider.create(offer_of(provider), spec("b-0001")).ref
    assert cloud.machine(second.id).image_id == known[CUDA_LINE]
    known.clear()
    provider = build()
    third = provider.create(offer_of(provider), spec("c-0001")).ref
    assert cloud.machine(third.id).image_id == newest, "by name"


def test_a_cpu_machine_boots_plain_ubuntu(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    ref = provider.create(offer_of(provider, "t3.small"), spec()).ref
    assert "ubuntu-noble" in cloud.backend().amis[cloud.machine(ref.id).image_id].name


def test_a_named_image_wins(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    mine = cloud.add_image("us-east-1", "my own al2023 image", root_gib=30)
    ref = provider.create(offer_of(provider), spec(image_id=mine)).ref
    assert cloud.machine(ref.id).image_id == mine
    access = provider.get(ref).access
    assert isinstance(access, SshAccess)
    assert access.user == "ec2-user"
    ref = provider.create(offer_of(provider), spec("b-0001", image_id=f"ssm:{CUDA_LINE}")).ref
    assert cloud.machine(ref.id).image_id == cloud.parameters["us-east-1"][CUDA_LINE]


@pytest.mark.parametrize("image_id", ["ami-0000000000000dead", "ubuntu", "ssm:/no/such"])
def test_an_image_that_is_none_rents_nothing(provider: AwsProvider, cloud: Ec2Cloud, image_id: str) -> None:
    with pytest.raises(BadOption):
        provider.create(offer_of(provider), spec(image_id=image_id))
    assert not cloud.living()


def test_the_group_is_made_once_and_follows_the_address(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    offer = offer_of(provider)
    provider.create(offer, spec("a-0001"))
    provider.create(offer, spec("b-0001"))
    assert len(cloud.actions("CreateSecurityGroup")) == 1
    assert admitted(cloud) == {f"{ADDRESS}/32"}
    provider.create(offer, spec("c-0001", allowed_cidr="203.0.113.9"))
    assert len(cloud.actions("CreateSecurityGroup")) == 1
    assert admitted(cloud) == {"203.0.113.9/32"}
    provider.create(offer, spec("d-0001", allowed_cidr="2001:db8::7/128"))
    assert admitted(cloud) == {"2001:db8::7/128"}


def test_a_machine_lets_in_whoever_moved_and_nobody_else(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    ref = provider.create(offer_of(provider), spec()).ref
    assert not provider.admit(ref, f"{ADDRESS}/32")
    assert provider.admit(ref, "203.0.113.9/32")
    assert admitted(cloud) == {"203.0.113.9/32"}
    assert not provider.admit(ref, "203.0.113.9/32")
    assert provider.admit(ref, "2001:db8::7/128")
    assert admitted(cloud) == {"2001:db8::7/128"}
    provider.terminate(ref)
    assert not provider.admit(ref, f"{ADDRESS}/32"), "nothing to do for what is gone"


def test_a_group_that_is_not_ours_is_left_alone(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    ref = provider.create(offer_of(provider), spec()).ref
    (group,) = [group.id for group in cloud.machine(ref.id).nics[0].group_set]
    cloud.backend().delete_tags([group], {"launch-home": None})
    with pytest.raises(BadOption, match="was not made by launch") as refused:
        provider.admit(ref, "203.0.113.9/32")
    assert "203.0.113.9/32" in str(refused.value.hint)
    assert admitted(cloud) == {f"{ADDRESS}/32"}


def admitted(cloud: Ec2Cloud) -> set[str]:
    groups = [group for by_id in cloud.backend().groups.values() for group in by_id.values()]
    (group,) = [group for group in groups if group.name.startswith("launch-")]
    rules = group.ingress_rules
    assert all((rule.from_port, rule.to_port) == (22, 22) for rule in rules)
    return {str(rule.cidr_ipv4 or rule.cidr_ipv6) for rule in rules}


def test_no_address_means_no_machine(build: Build, cloud: Ec2Cloud) -> None:
    provider = build(environ=cloud.environ(LAUNCH_ADDRESS_URL=f"{cloud.url}/nowhere"))
    with pytest.raises(Unreachable, match="does not tell this computer's address"):
        provider.create(offer_of(provider), spec())
    assert not cloud.living()


def test_a_region_without_a_default_vpc_says_what_helps(build: Build, cloud: Ec2Cloud) -> None:
    cloud.faults.append(Fault("DescribeVpcs", kind="lag", times=2))
    provider = build()
    with pytest.raises(BadOption) as refused:
        provider.create(offer_of(provider), spec())
    assert "create-default-vpc" in str(refused.value.hint)
    with pytest.raises(BadOption, match="no VPC vpc-0abc"):
        build(vpc="vpc-0abc").create(offer_of(provider), spec())


def test_the_address_by_which_machines_are_reached(build: Build, cloud: Ec2Cloud) -> None:
    provider = build(address="private")
    ref = provider.create(offer_of(provider), spec()).ref
    access = provider.get(ref).access
    assert isinstance(access, SshAccess)
    assert access.host == cloud.machine(ref.id).private_ip
    assert cloud.machine(ref.id).public_ip is None
    assert admitted(cloud) == {"172.31.0.0/16"}, "who comes through a jump host has an address of the VPC"
    assert not provider.admit(ref, "203.0.113.9/32"), "and no other, wherever home is"


def test_ipv6_needs_it_at_both_ends(build: Build, cloud: Ec2Cloud) -> None:
    provider = build(address="ipv6")
    with pytest.raises(BadOption, match="has IPv6 addresses"):
        provider.create(offer_of(provider), spec())
    for subnet in cloud.backend().describe_subnets():
        cloud.backend().associate_subnet_cidr_block(subnet.id, "2001:db8:1:1::/64")
    with pytest.raises(Unreachable, match="reached by IPv6 alone"):
        build(address="ipv6").create(offer_of(provider), spec("b-0001"))
    cloud.address = "2001:db8::7"
    provider = build(address="ipv6")
    ref = provider.create(offer_of(provider), spec("c-0001")).ref
    assert admitted(cloud) == {"2001:db8::7/128"}
    form = cloud.actions("RunInstances")[-1].form
    assert form["NetworkInterface.1.Ipv6AddressCount"] == "1"
    assert form["NetworkInterface.1.AssociatePublicIpAddress"] == "false"
    assert provider.get(ref).ref == ref
    for subnet in cloud.backend().describe_subnets():
        subnet.ipv6_cidr_block_associations.clear()


def test_a_spot_price_that_rose_is_not_paid(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    offer = offer_of(provider, spot=True)
    assert offer.zone is not None
    cloud.spot_usd["g4dn.xlarge", offer.zone] = 0.5
    with pytest.raises(PriceRose) as refused:
        provider.create(offer, spec())
    assert refused.value.asked_usd_per_hour == 0.5
    assert not cloud.living()
    assert provider.create(offer, spec(max_usd_per_hour=0.5)).spot


def test_sold_out_is_told_after_one_call(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    offers = provider.offers(Query(instance_type="g4dn.xlarge", spot=False))
    full = Fault("RunInstances", "InsufficientInstanceCapacity", 500, times=9, zone=offers[0].zone)
    cloud.faults.append(full)
    with pytest.raises(NoCapacity):
        provider.create(offers[0], spec(try_number=1))
    assert len(cloud.actions("RunInstances")) == 1
    assert provider.create(offers[1], spec(try_number=2)).state is InstanceState.PENDING


def test_a_lost_answer_is_found_by_token_even_with_another_image(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    offer = offer_of(provider)
    cloud.faults.append(Fault("RunInstances", kind="lose"))
    with pytest.raises(MayHaveBeenCreated):
        provider.create(offer, spec())
    (rented,) = cloud.living()
    cloud.parameters["us-east-1"][GPU_LINE] = cloud.parameters["us-east-1"][CUDA_LINE]
    told = spec(deadline=utc_now() + timedelta(hours=3))
    assert build().create(offer, told).ref.id == rented.id
    assert len(cloud.living()) == 1


def test_a_machine_that_is_not_listed_yet_is_not_gone(build: Build, cloud: Ec2Cloud) -> None:
    clock = Clock()
    provider = build(clock=clock)
    ref = provider.create(offer_of(provider), spec()).ref
    missing = Fault("DescribeInstances", "InvalidInstanceID.NotFound", 400, times=2)
    cloud.faults.append(missing)
    for _ in range(2):
        with pytest.raises(Unreachable, match="not listed yet"):
            provider.get(ref)
    missing.times = 1
    with pytest.raises(Unreachable):
        build(clock=clock).get(ref)  # another process knows it too
    assert provider.get(ref).state is InstanceState.RUNNING
    clock.forward(180)
    missing.times = 1
    assert provider.get(ref).state.is_gone


def test_too_many_labels_or_keys_are_refused_before_anything_is_rented(
    provider: AwsProvider, cloud: Ec2Cloud
) -> None:
    with pytest.raises(BadOption, match="labels"):
        provider.create(offer_of(provider), spec(labels={f"l{n}": "x" for n in range(60)}))
    with pytest.raises(BadOption, match="16384 are allowed"):
        provider.create(offer_of(provider), spec(ssh_public_keys=("ssh-rsa " + "A" * 17000,)))
    assert not cloud.living()


# Taken away, parked, ended


def test_a_reclaimed_spot_machine_says_so(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    ref = provider.create(offer_of(provider, spot=True), spec()).ref
    cloud.reclaim(ref.id)
    seen = provider.get(ref)
    assert seen.state.is_gone
    assert "Server.SpotInstanceTermination" in seen.state_reason


def test_the_disk_of_a_reclaimed_machine_is_kept_and_found(build: Build, cloud: Ec2Cloud) -> None:
    clock = Clock()
    provider = build(clock=clock)
    told = spec(when_unattended=WhenUnattended.PARK)
    ref = provider.create(offer_of(provider, spot=True), told).ref
    provider.get(ref)
    cloud.reclaim(ref.id)
    seen = provider.get(ref)
    assert seen.state is InstanceState.STOPPED
    assert "is kept" in seen.state_reason
    assert (seen.run_id, seen.token, seen.deadline) == (told.run_id, told.token, told.deadline)
    clock.forward(3600)
    cloud.backend().reservations.clear()  # an hour later EC2 has forgotten the machine
    assert build(clock=clock).get(ref).state is InstanceState.STOPPED
    assert [instance.ref for instance in build(clock=clock).owned(told.run_id)] == [ref]
    build(clock=clock).terminate(ref)
    assert not cloud.volumes()
    assert build(clock=clock).get(ref).state.is_gone


def test_a_disk_that_never_learned_its_machine_is_found_by_its_own_id(build: Build, cloud: Ec2Cloud) -> None:
    clock = Clock()
    provider = build(clock=clock)
    ref = provider.create(offer_of(provider, spot=True), spec(when_unattended=WhenUnattended.PARK)).ref
    cloud.reclaim(ref.id)
    clock.forward(3600)
    cloud.backend().reservations.clear()
    (orphan,) = provider.owned()
    assert orphan.ref.id.startswith("vol-")
    assert provider.get(orphan.ref).state is InstanceState.STOPPED
    provider.terminate(orphan.ref)
    assert not provider.owned()
    assert not cloud.volumes()


def test_parking_and_starting_again_with_a_new_deadline(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    told = spec(when_unattended=WhenUnattended.PARK)
    ref = provider.create(offer_of(provider), told).ref
    assert provider.get(ref).state is InstanceState.RUNNING
    before = provider.get(ref).access
    provider.park(ref)
    provider.park(ref)
    parked = provider.get(ref)
    assert (parked.state, parked.access) == (InstanceState.STOPPED, None)
    later = told.deadline + timedelta(hours=5)
    build().unpark(ref, later)
    again = provider.get(ref)
    assert again.state is InstanceState.RUNNING
    assert again.deadline == later
    assert again.access != before
    text = cloud.user_data(ref.id)
    assert f"deadline={int(later.timestamp())}\n" in text
    assert f"deadline={int(told.deadline.timestamp())}\n" not in text


def test_a_parked_machine_whose_zone_is_full_stays_parked(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    ref = provider.create(offer_of(provider), spec(when_unattended=WhenUnattended.PARK)).ref
    provider.get(ref)
    provider.park(ref)
    cloud.faults.append(Fault("StartInstances", "InsufficientInstanceCapacity", 500))
    with pytest.raises(NoCapacity):
        provider.unpark(ref, utc_now() + timedelta(hours=1))
    assert provider.get(ref).state is InstanceState.STOPPED


def test_a_one_time_spot_machine_is_parked_as_its_disk(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    ref = provider.create(offer_of(provider, spot=True), spec(when_unattended=WhenUnattended.LINGER)).ref
    assert provider.get(ref).state is InstanceState.RUNNING
    provider.park(ref)
    assert cloud.machine(ref.id).state == "terminated"
    assert provider.get(ref).state is InstanceState.STOPPED
    provider.terminate(ref)
    assert not cloud.volumes()


def test_spot_requests_are_cancelled_before_their_machine_ends(build: Build, cloud: Ec2Cloud) -> None:
    provider = build(spot_request="persistent")
    ref = provider.create(offer_of(provider, spot=True), spec()).ref
    provider.terminate(ref)
    assert not cloud.refilled, "EC2 would have rented another"
    assert [request["state"] for request in cloud.requests.values()] == ["cancelled"]


def test_a_persistent_spot_machine_is_stopped_and_started(build: Build, cloud: Ec2Cloud) -> None:
    provider = build(spot_request="persistent")
    told = spec(when_unattended=WhenUnattended.PARK)
    ref = provider.create(offer_of(provider, spot=True), told).ref
    provider.get(ref)
    provider.park(ref)
    assert cloud.machine(ref.id).state == "stopped"
    provider.unpark(ref, told.deadline + timedelta(hours=1))
    assert provider.get(ref).state is InstanceState.RUNNING


def test_machines_in_every_region_are_found(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    offers = [
        provider.offers(Query(instance_type="g4dn.xlarge", region=r, spot=False))[0]
        for r in ("us-east-1", "us-west-2")
    ]
    refs = {provider.create(offer, spec(try_number=n + 1)).ref for n, offer in enumerate(offers)}
    assert {instance.ref for instance in provider.owned()} == refs
    assert {ref.location for ref in refs} == {"us-east-1", "us-west-2"}


def test_a_stranger_is_not_ours(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    ref = provider.create(offer_of(provider), spec()).ref
    cloud.backend().delete_tags([ref.id], {"launch-run": None})
    assert not provider.owned()


def test_only_spot_machines_are_taken_away(provider: AwsProvider) -> None:
    offer = offer_of(provider)
    instance = provider.create(offer, spec())
    assert provider.notice(instance) is None
    probe = provider.notice(replace(instance, spot=True))
    assert probe is not None
    assert probe.url.endswith("/latest/meta-data/spot/instance-action")
    assert probe.token_request is not None
    assert probe.token_request.method == "PUT"
    assert probe.notice_s == 120.0
