"""Renting, step by step, as Compute Engine sees it."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from provisioning import (
    BadOption,
    Instance,
    InstanceRef,
    InstanceState,
    MayHaveBeenCreated,
    NoCapacity,
    Offer,
    Query,
    QuotaExceeded,
    SshAccess,
    Throttled,
    Transient,
    Unreachable,
    WhenUnattended,
)
from provisioning.gcp.provider import GcpProvider
from provisioning.models import utc_now
from tests.provisioning.gcp.cloud import ADDRESS, HOST_KEY, Fault, GceCloud
from tests.provisioning.gcp.conftest import Build
from tests.provisioning.machines import Clock, eventually, spec

ZONE = "us-central1-b"


def offer_of(provider: GcpProvider, *, gpu: str | None = "T4", spot: bool = False, **more: Any) -> Offer:
    wanted = {"instance_type": "n1-standard-4", "zone": ZONE, **more}
    return provider.offers(Query(gpu_name=gpu, spot=spot, **wanted))[0]


def body_of(cloud: GceCloud) -> dict[str, Any]:
    body = cloud.made("instances.insert")[-1].body
    assert body is not None
    return body


def test_a_machine_is_what_the_spec_says(provider: GcpProvider, cloud: GceCloud) -> None:
    told = spec(
        owner="Ann.B@host",
        disk_gib=200.5,
        ssh_public_keys=("ssh-ed25519 RUN run", "ssh-ed25519 MINE me@home"),
        labels={"team": "speech"},
    )
    instance = provider.create(offer_of(provider, spot=True), told)
    assert (instance.ref.id, instance.owner, instance.spot) == (told.token, "Ann.B@host", True)
    body = body_of(cloud)
    disk = body["disks"][0]["initializeParams"]
    assert disk["diskSizeGb"] == "201"
    assert disk["labels"] == body["labels"]
    assert body["labels"]["launch-owner"] == "ann-b-host"
    assert body["labels"]["team"] == "speech"
    assert body["guestAccelerators"] == [
        {"acceleratorType": f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4", "acceleratorCount": 1}
    ]
    assert "serviceAccounts" not in body, "no credential reaches the machine"
    metadata = cloud.metadata(told.token)
    assert metadata["ssh-keys"] == "ubuntu:ssh-ed25519 RUN run\nubuntu:ssh-ed25519 MINE me@home"
    assert (metadata["enable-oslogin"], metadata["block-project-ssh-keys"]) == ("FALSE", "TRUE")
    assert "startup-script" not in metadata, "the driver is in the image"
    access = provider.get(instance.ref).access
    assert isinstance(access, SshAccess)
    assert access.user == "ubuntu"
    assert access.host_keys == (f"ssh-ed25519 {HOST_KEY}",)


@pytest.mark.parametrize(
    ("spot", "unattended", "action"),
    [
        (False, WhenUnattended.PARK, "STOP"),
        (False, WhenUnattended.LINGER, "DELETE"),
        (True, WhenUnattended.PARK, "STOP"),
        (True, WhenUnattended.PUSH, "DELETE"),
    ],
)
def test_the_deadline_is_a_time_in_the_cloud(
    provider: GcpProvider, cloud: GceCloud, spot: bool, unattended: WhenUnattended, action: str
) -> None:
    told = spec(when_unattended=unattended)
    ref = provider.create(offer_of(provider, spot=spot), told).ref
    scheduling = body_of(cloud)["scheduling"]
    assert scheduling["instanceTerminationAction"] == action
    assert "maxRunDuration" not in scheduling, "it would begin anew at each start"
    assert scheduling["onHostMaintenance"] == "TERMINATE"
    assert scheduling["automaticRestart"] is False
    assert scheduling.get("preemptionNoticeDuration") == ({"seconds": "120"} if spot else None)
    assert provider.get(ref).deadline == told.deadline
    cloud.expire(ref.id)
    parked = action == "STOP"
    assert provider.get(ref).state is (InstanceState.STOPPED if parked else InstanceState.TERMINATED)
    assert bool(cloud.disks) is parked
    assert [instance.ref for instance in provider.owned()] == ([ref] if parked else [])
    provider.terminate(ref)
    assert provider.get(ref).state.is_gone
    assert not cloud.disks


def test_disks_of_the_host_are_given_up_when_it_stops(provider: GcpProvider, cloud: GceCloud) -> None:
    offer = provider.offers(Query(instance_type="a2-ultragpu-1g", zone=ZONE, spot=False))[0]
    provider.create(offer, spec(when_unattended=WhenUnattended.PARK))
    assert body_of(cloud)["scheduling"]["onInstanceStopAction"] == {"discardLocalSsd": True}
    assert "guestAccelerators" not in body_of(cloud), "its GPU is built in"


def test_a_machine_without_a_gpu_is_moved_during_maintenance(provider: GcpProvider, cloud: GceCloud) -> None:
    provider.create(offer_of(provider, gpu=None), spec())
    assert body_of(cloud)["scheduling"]["onHostMaintenance"] == "MIGRATE"
    assert "ubuntu-24" in body_of(cloud)["disks"][0]["initializeParams"]["sourceImage"]


def test_a_deadline_beyond_what_google_keeps_is_refused(provider: GcpProvider, cloud: GceCloud) -> None:
    with pytest.raises(BadOption, match="120 days"):
        provider.create(offer_of(provider), spec(deadline=utc_now() + timedelta(days=121)))
    assert not cloud.made("instances.insert")


@pytest.mark.parametrize(
    ("labels", "words"),
    [({"Team": "a"}, "Team='a'"), ({"team": "A b"}, "team='A b'"), ({f"l{n}": "x" for n in range(61)}, "64")],
)
def test_labels_that_google_does_not_take_are_refused_in_words(
    provider: GcpProvider, cloud: GceCloud, labels: dict[str, str], words: str
) -> None:
    with pytest.raises(BadOption, match=words):
        provider.create(offer_of(provider), spec(labels=labels))
    assert not cloud.made("instances.insert")


# Images


@pytest.mark.parametrize(
    ("gpu", "image"), [("T4", "common-595-24"), ("V100", "common-580-24-b"), ("P100", "common-580-24-b")]
)
def test_the_image_has_a_driver_that_knows_the_gpu(
    provider: GcpProvider, cloud: GceCloud, gpu: str, image: str
) -> None:
    provider.create(offer_of(provider, gpu=gpu), spec(disk_gib=10))
    disk = body_of(cloud)["disks"][0]["initializeParams"]
    assert disk["sourceImage"].endswith(f"/images/{image}")
    assert int(disk["diskSizeGb"]) in (50, 60), "never smaller than its image"


@pytest.mark.parametrize(
    ("image_id", "name"),
    [
        ("projects/deeplearning-platform-release/global/images/common-580-22", "common-580-22"),
        (
            "projects/deeplearning-platform-release/global/images/family/common-cu129-ubuntu-2404-nvidia-580",
            "common-580-24-b",
        ),
    ],
)
def test_a_named_image_wins(provider: GcpProvider, cloud: GceCloud, image_id: str, name: str) -> None:
    provider.create(offer_of(provider), spec(image_id=image_id))
    assert body_of(cloud)["disks"][0]["initializeParams"]["sourceImage"].endswith(f"/images/{name}")


@pytest.mark.parametrize("image_id", ["no-such-image", "projects/x/global/images/y", "An Image!"])
def test_an_image_that_is_none_rents_nothing(provider: GcpProvider, cloud: GceCloud, image_id: str) -> None:
    with pytest.raises(BadOption, match="image"):
        provider.create(offer_of(provider), spec(image_id=image_id))
    assert not cloud.living()


def test_a_driver_that_is_installed_at_boot_is_awaited(build: Build, cloud: GceCloud) -> None:
    clock = Clock()
    clock.now = utc_now()
    provider = build(clock=clock)
    image = "projects/deeplearning-platform-release/global/images/common-old-style"
    told = spec(image_id=image, deadline=clock.now + timedelta(hours=1))
    ref = provider.create(offer_of(provider), told).ref
    metadata = cloud.metadata(ref.id)
    assert metadata["install-nvidia-driver"] == "True"
    assert "guest-attributes/launch/driver" in metadata["startup-script"]
    waiting = provider.get(ref)
    assert (waiting.state, waiting.access) == (InstanceState.PENDING, None)
    assert "driver" in waiting.state_reason
    cloud.guest_attributes[ref.id, "launch/"] = "ready"
    assert provider.get(ref).state is InstanceState.PENDING, "not asked again so soon"
    clock.forward(10)
    assert provider.get(ref).state is InstanceState.RUNNING


# Host keys


def test_nobody_logs_in_before_the_host_keys_are_known(build: Build, cloud: GceCloud) -> None:
    clock = Clock()
    clock.now = utc_now()
    provider = build(clock=clock)
    cloud.tells_host_keys = False
    ref = provider.create(offer_of(provider), spec(deadline=clock.now + timedelta(hours=1))).ref
    for _ in range(3):
        seen = provider.get(ref)
        assert (seen.state, seen.access) == (InstanceState.PENDING, None)
        assert "host keys" in seen.state_reason
    assert len(cloud.made("instances.getGuestAttributes")) == 1, "ten a minute are allowed"
    (listed,) = provider.owned()
    assert listed.access is None
    cloud.tells_host_keys = True
    clock.forward(10)
    access = provider.get(ref).access
    assert isinstance(access, SshAccess)
    assert access.host_keys
    asked = len(cloud.made("instances.getGuestAttributes"))
    clock.forward(60)
    provider.get(ref)
    assert len(cloud.made("instances.getGuestAttributes")) == asked, "what was told is kept"


def test_where_host_keys_may_not_be_read_it_is_said(build: Build, cloud: GceCloud) -> None:
    provider = build()
    cloud.faults.append(Fault("instances.getGuestAttributes", "forbidden", 403))
    ref = provider.create(offer_of(provider), spec()).ref
    seen = provider.get(ref)
    assert isinstance(seen.access, SshAccess)
    assert seen.access.host_keys == ()
    assert "disableGuestAttributesAccess" in seen.state_reason


def test_an_image_that_tells_no_host_keys_is_not_waited_for_for_ever(build: Build, cloud: GceCloud) -> None:
    clock = Clock()
    clock.now = utc_now()
    provider = build(clock=clock)
    cloud.tells_host_keys = False
    ref = provider.create(offer_of(provider), spec(deadline=clock.now + timedelta(hours=1))).ref
    clock.forward(301)
    seen = provider.get(ref)
    assert seen.state is InstanceState.RUNNING
    assert "no host keys" in seen.state_reason


# Who may come in


def test_one_address_is_let_in_and_the_world_kept_out(provider: GcpProvider, cloud: GceCloud) -> None:
    offer = offer_of(provider)
    provider.create(offer, spec("a-0001"))
    provider.create(offer, spec("b-0001"))
    assert len(cloud.made("firewalls.insert")) == 2
    allow, deny = sorted(cloud.firewalls.values(), key=lambda rule: rule["priority"])
    assert (allow["priority"], allow["sourceRanges"]) == (900, [f"{ADDRESS}/32"])
    assert (deny["priority"], deny["sourceRanges"]) == (901, ["0.0.0.0/0"])
    assert allow["allowed"] == deny["denied"] == [{"IPProtocol": "tcp", "ports": ["22"]}]
    assert allow["targetTags"] == deny["targetTags"] == body_of(cloud)["tags"]["items"]
    provider.create(offer, spec("c-0001", allowed_cidr="203.0.113.9"))
    assert len(cloud.made("firewalls.insert")) == 2
    assert allow["sourceRanges"] == ["203.0.113.9/32"]
    provider.create(offer, spec("d-0001", home_id="another home", allowed_cidr="203.0.113.9"))
    assert len(cloud.firewalls) == 4, "homes do not shut each other out"


def test_a_rule_that_another_process_made_meanwhile_is_used(provider: GcpProvider, cloud: GceCloud) -> None:
    offer = offer_of(provider)
    provider.create(offer, spec("a-0001"))
    cloud.faults.append(Fault("firewalls.get", "notFound", 404))
    provider.create(offer, spec("b-0001", allowed_cidr="203.0.113.9"))
    assert sorted(rule["sourceRanges"][0] for rule in cloud.firewalls.values()) == [
        "0.0.0.0/0",
        "203.0.113.9/32",
    ]


def test_the_rules_follow_an_address_that_changed(provider: GcpProvider, cloud: GceCloud) -> None:
    ref = provider.create(offer_of(provider), spec()).ref
    assert not provider.admit(ref, f"{ADDRESS}/32")
    assert provider.admit(ref, "203.0.113.9/32")
    assert {rule["sourceRanges"][0] for rule in cloud.firewalls.values()} == {"203.0.113.9/32", "0.0.0.0/0"}
    cloud.firewalls.clear()
    assert provider.admit(ref, "203.0.113.9/32"), "somebody has deleted them"
    assert len(cloud.firewalls) == 2
    cloud.machine(ref.id)["tags"]["items"].clear()
    with pytest.raises(BadOption, match="network tag"):
        provider.admit(ref, "203.0.113.9/32")
    provider.terminate(ref)
    assert not provider.admit(ref, "203.0.113.9/32")


@pytest.mark.parametrize("cidr", ["2001:db8::7", "nobody"])
def test_an_address_that_cannot_be_let_in_rents_nothing(
    provider: GcpProvider, cloud: GceCloud, cidr: str
) -> None:
    with pytest.raises(BadOption, match="address"):
        provider.create(offer_of(provider), spec(allowed_cidr=cidr))
    assert not cloud.made("instances.insert")


def test_a_project_without_the_network_says_what_helps(build: Build, cloud: GceCloud) -> None:
    cloud.networks.clear()
    provider = build()
    with pytest.raises(BadOption) as refused:
        provider.create(offer_of(provider), spec())
    assert "gcloud compute networks create default" in str(refused.value.hint)


def test_the_address_by_which_machines_are_reached(build: Build, cloud: GceCloud) -> None:
    provider = build(address="private", ssh_user="me")
    ref = provider.create(offer_of(provider), spec()).ref
    access = provider.get(ref).access
    assert isinstance(access, SshAccess)
    assert (access.host.startswith("10.128."), access.user) == (True, "me")
    assert "accessConfigs" not in body_of(cloud)["networkInterfaces"][0]


# What fails late


@pytest.mark.parametrize(
    ("code", "message", "error", "words"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "The zone does not have enough resources", NoCapacity, "enough"),
        (
            "QUOTA_EXCEEDED",
            "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.",
            QuotaExceeded,
            "counts in every region",
        ),
        (
            "QUOTA_EXCEEDED",
            "Quota 'NVIDIA_T4_GPUS' exceeded.  Limit: 0.0 in region us-central1.",
            QuotaExceeded,
            "NVIDIA_T4_GPUS",
        ),
        ("INTERNAL_ERROR", "Internal error.", NoCapacity, "Internal error"),
        ("RESOURCE_OPERATION_RATE_EXCEEDED", "too fast", NoCapacity, "too fast"),
    ],
)
def test_a_create_that_fails_in_its_operation(
    provider: GcpProvider, cloud: GceCloud, code: str, message: str, error: type[Exception], words: str
) -> None:
    cloud.operation_s = 0.1
    cloud.faults.append(Fault("instances.insert", code, kind="fail", message=message))
    with pytest.raises(error, match=words):
        provider.create(offer_of(provider), spec())
    assert not cloud.living()
    assert len(cloud.made("instances.insert")) == 1
    seen = provider.get(InstanceRef("gcp", ZONE, spec().token))
    assert seen.state.is_gone
    assert code in seen.state_reason


def test_sold_out_in_one_zone_is_not_sold_out_in_the_next(provider: GcpProvider, cloud: GceCloud) -> None:
    offers = provider.offers(Query(instance_type="n1-standard-4", gpu_name="T4", spot=False))
    full = Fault("instances.insert", "ZONE_RESOURCE_POOL_EXHAUSTED", kind="fail", zone=offers[0].zone)
    cloud.faults.append(full)
    with pytest.raises(NoCapacity):
        provider.create(offers[0], spec(try_number=1))
    assert provider.create(offers[1], spec(try_number=2)).ref.location != offers[0].zone


def test_an_operation_that_takes_time_is_waited_for(provider: GcpProvider, cloud: GceCloud) -> None:
    cloud.operation_s = 0.3
    assert provider.create(offer_of(provider), spec()).state is InstanceState.RUNNING


def test_a_wait_that_breaks_may_have_made_a_machine(build: Build, cloud: GceCloud) -> None:
    cloud.operation_s = 0.3
    cloud.faults += [Fault("zoneOperations.wait", kind="hang_up")]
    provider = build()
    offer = offer_of(provider)
    with pytest.raises(MayHaveBeenCreated):
        provider.create(offer, spec())
    cloud.operation_s = 0.0
    assert provider.create(offer, spec()).ref.id == spec().token
    assert len(cloud.living()) == 1


def test_a_lost_answer_is_found_by_name_even_when_google_has_forgotten_the_call(
    build: Build, cloud: GceCloud
) -> None:
    provider = build()
    offer = offer_of(provider)
    cloud.faults.append(Fault("instances.insert", kind="lose"))
    with pytest.raises(MayHaveBeenCreated):
        provider.create(offer, spec())
    (found,) = provider.owned(spec().run_id)
    cloud._requests.clear()
    again = build().create(offer, spec(deadline=utc_now() + timedelta(hours=3)))
    assert again.ref == found.ref
    assert len(cloud.living()) == 1


def test_a_machine_of_that_name_that_is_not_ours_is_left_alone(build: Build, cloud: GceCloud) -> None:
    provider = build()
    offer = offer_of(provider)
    provider.create(offer, spec())
    cloud._requests.clear()
    with pytest.raises(BadOption, match="not ours"):
        provider.create(offer, spec(home_id="another-home"))
    assert len(cloud.living()) == 1


def test_too_many_calls_rent_nothing_and_may_be_repeated(provider: GcpProvider, cloud: GceCloud) -> None:
    cloud.faults.append(Fault("instances.insert", "rateLimitExceeded", 403))
    with pytest.raises(Throttled):
        provider.create(offer_of(provider), spec())
    assert provider.create(offer_of(provider), spec()).state is InstanceState.RUNNING


def test_a_machine_that_is_still_being_made_is_not_gone(build: Build, cloud: GceCloud) -> None:
    provider = build()
    offer = offer_of(provider)
    provider.create(offer, spec("a-0001"))  # makes the firewall rules
    cloud.operation_s = 30.0
    cloud.faults.append(Fault("zoneOperations.wait", kind="hang_up"))
    with pytest.raises(MayHaveBeenCreated):
        provider.create(offer, spec())
    ref = InstanceRef("gcp", ZONE, spec().token)
    assert provider.get(ref).state is InstanceState.PENDING
    cloud.faults.append(Fault("instances.get", "notFound", 404))
    with pytest.raises(Unreachable, match="not listed yet"):
        provider.get(ref)


def test_a_list_that_cannot_be_made_whole_is_an_error(provider: GcpProvider, cloud: GceCloud) -> None:
    cloud.page_size = 1
    offer = offer_of(provider)
    refs = {provider.create(offer, spec(f"{name}-0001")).ref for name in "abc"}
    assert {instance.ref for instance in provider.owned()} == refs
    cloud.faults.append(Fault("instances.aggregatedList", "backendError", 503))
    with pytest.raises(Transient):
        provider.owned()


# Taken away, parked, ended


def test_a_preempted_machine_that_parks_says_so_and_comes_back_where_it_was(
    build: Build, cloud: GceCloud
) -> None:
    provider = build()
    told = spec(when_unattended=WhenUnattended.PARK)
    ref = provider.create(offer_of(provider, spot=True), told).ref
    before = provider.get(ref).access
    cloud.preempt(ref.id)
    stopped = provider.get(ref)
    assert (stopped.state, stopped.access) == (InstanceState.STOPPED, None)
    assert "preempted" in stopped.state_reason
    later = told.deadline + timedelta(hours=5)
    build().unpark(ref, later)
    again = provider.get(ref)
    assert (again.state, again.deadline) == (InstanceState.RUNNING, later)
    assert again.access != before
    assert cloud.machine(ref.id)["scheduling"]["preemptionNoticeDuration"] == {"seconds": "120"}


def test_a_preempted_machine_that_does_not_park_leaves_nothing(
    provider: GcpProvider, cloud: GceCloud
) -> None:
    ref = provider.create(offer_of(provider, spot=True), spec()).ref
    cloud.preempt(ref.id)
    seen = provider.get(ref)
    assert seen.state.is_gone
    assert "preempted" in seen.state_reason
    assert not cloud.disks


def test_a_stopped_machine_whose_zone_is_full_stays_stopped(provider: GcpProvider, cloud: GceCloud) -> None:
    ref = provider.create(offer_of(provider), spec()).ref
    provider.park(ref)
    provider.park(ref)
    assert provider.get(ref).state is InstanceState.STOPPED
    cloud.faults.append(Fault("instances.start", "ZONE_RESOURCE_POOL_EXHAUSTED", kind="fail"))
    with pytest.raises(NoCapacity):
        provider.unpark(ref, utc_now() + timedelta(hours=1))
    assert provider.get(ref).state is InstanceState.STOPPED


def test_what_is_gone_cannot_be_started(provider: GcpProvider) -> None:
    with pytest.raises(NoCapacity, match="gone"):
        provider.unpark(InstanceRef("gcp", ZONE, "never-was"), utc_now() + timedelta(hours=1))


def test_a_kept_disk_is_read_by_a_small_machine_and_given_back(build: Build, cloud: GceCloud) -> None:
    provider = build()
    told = spec(when_unattended=WhenUnattended.PARK, ssh_public_keys=("ssh-ed25519 RUN",))
    ref = provider.create(offer_of(provider, spot=True), told).ref
    provider.park(ref)
    deadline = utc_now() + timedelta(hours=1)
    provider.read_disk(ref, deadline)
    provider.read_disk(ref, deadline)
    carried = provider.get(ref)
    assert (carried.ref, carried.state, carried.instance_type) == (ref, InstanceState.RUNNING, "e2-small")
    assert isinstance(carried.access, SshAccess)
    body = body_of(cloud)
    assert body["disks"][0]["source"].endswith(f"/disks/{ref.id}")
    assert cloud.metadata(body["name"])["ssh-keys"] == "ubuntu:ssh-ed25519 RUN"
    assert [instance.ref for instance in provider.owned()] == [ref]
    provider.park(ref)
    assert provider.get(ref).state is InstanceState.STOPPED
    assert list(cloud.disks) == [(ZONE, ref.id)]
    provider.read_disk(ref, deadline + timedelta(minutes=1))
    assert provider.get(ref).state is InstanceState.RUNNING, "read a second time"
    provider.park(ref)
    build().unpark(ref, deadline)
    assert provider.get(ref).instance_type == "n1-standard-4"


@pytest.mark.parametrize("is_read", [True, False], ids=["while it is read", "after it was read"])
def test_ending_a_machine_whose_disk_was_lent_ends_all_of_it(
    provider: GcpProvider, cloud: GceCloud, is_read: bool
) -> None:
    ref = provider.create(offer_of(provider), spec(when_unattended=WhenUnattended.PARK)).ref
    provider.park(ref)
    provider.read_disk(ref, utc_now() + timedelta(hours=1))
    if not is_read:
        provider.park(ref)
    provider.terminate(ref)
    assert provider.get(ref).state.is_gone
    assert not cloud.living()
    assert not cloud.disks


def test_a_disk_that_outlives_its_machine_is_found_and_ended(build: Build, cloud: GceCloud) -> None:
    provider = build()
    ref = provider.create(offer_of(provider), spec()).ref
    cloud.machine(ref.id)["disks"][0]["autoDelete"] = False
    cloud.remove(ref.id)
    assert provider.get(ref).state is InstanceState.STOPPED
    assert [instance.ref for instance in build().owned()] == [ref]
    with pytest.raises(BadOption, match="who may log in"):
        provider.read_disk(ref, utc_now() + timedelta(hours=1))
    provider.terminate(ref)
    assert provider.get(ref).state.is_gone
    assert not provider.owned()


def test_two_machines_are_never_made_by_two_processes(build: Build, cloud: GceCloud) -> None:
    cloud.operation_s = 0.2
    offer = offer_of(build())
    made: list[Instance] = []
    threads = [threading.Thread(target=lambda: made.append(build().create(offer, spec()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(made) == 3)
    for thread in threads:
        thread.join()
    assert {instance.ref.id for instance in made} == {spec().token}
    assert len(cloud.living()) == 1


def test_how_a_machine_hears_of_its_end(provider: GcpProvider) -> None:
    instance = provider.create(offer_of(provider), spec())
    for spot, what, notice_s in ((True, "preempted", 120.0), (False, "maintenance-event", 3600.0)):
        probe = provider.notice(replace(instance, spot=spot))
        assert probe.notice_s == notice_s
        service = "http://${GCE_METADATA_HOST:-metadata.google.internal}"
        assert probe.url == f"{service}/computeMetadata/v1/instance/{what}"
        assert probe.headers == {"Metadata-Flavor": "Google"}
    assert provider.self_destroy(instance) is None
