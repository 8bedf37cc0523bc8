"""Renting, losing and ending instances, against the API's own words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from provisioning import (
    BadOption,
    InstanceRef,
    InstanceState,
    MayHaveBeenCreated,
    NoCapacity,
    Offer,
    PriceRose,
    Query,
    SshAccess,
    Throttled,
    Unreachable,
    WhenUnattended,
)
from provisioning.models import HostKey, HostKeyOrigin, utc_now
from provisioning.vast.label import Label
from provisioning.vast.provider import VastProvider
from tests.provisioning.machines import Clock, spec
from tests.provisioning.vast.cloud import Fault, VastCloud

Build = Callable[..., VastProvider]
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKEiKnYPkSGBh1bi2xzh1XJzHVBbDXaYpLm3bB8AKb0M"


def offer_of(provider: VastProvider, *, spot: bool = False) -> Offer:
    return provider.offers(Query(gpu_name="RTX 4090", spot=spot))[0]


def until_running(provider: VastProvider, ref: InstanceRef) -> None:
    assert [provider.get(ref).state for _ in range(3)][-1] is InstanceState.RUNNING


# Create


def test_a_bid_is_a_bid_and_nothing_else_is(provider: VastProvider, cloud: VastCloud) -> None:
    bid = offer_of(provider, spot=True)
    made = provider.create(bid, spec())
    assert made.spot
    assert made.usd_per_hour == bid.usd_per_hour
    assert cloud.named("create")[-1].body["price"] == bid.usd_per_hour
    steady = provider.create(offer_of(provider), spec(try_number=2))
    assert not steady.spot
    assert "price" not in cloud.named("create")[-1].body


def test_everything_that_get_needs_is_in_the_label(build: Build, cloud: VastCloud, tmp_path: Path) -> None:
    told = spec(max_usd_per_hour=0.9)
    ref = build().create(offer_of(build(), spot=True), told).ref
    assert cloud.named("create")[-1].body["label"] == cloud.row(ref.id)["label"]
    seen = build(home=tmp_path / "another home").get(ref)
    assert (seen.run_id, seen.token, seen.home_id, seen.owner) == (told.run_id, told.token, "home-1", "ann")
    assert seen.deadline == told.deadline
    label = Label.parse(cloud.row(ref.id)["label"])
    assert label is not None
    assert label.max_usd_per_hour == 0.9


def test_a_label_is_looked_up_before_anything_is_rented(
    build: Build, cloud: VastCloud, tmp_path: Path
) -> None:
    offer = offer_of(build())
    for _ in range(30):  # more than one page
        cloud.add(machine_id := 100 + len(cloud.machines))
        cloud._rent(
            cloud.machines[machine_id], cloud.machines[machine_id].ask_ids[0], {"image": "x", "label": "mine"}
        )
    cloud.faults.append(Fault("create", kind="lose"))
    with pytest.raises(MayHaveBeenCreated):
        build().create(offer, spec())
    found = build(home=tmp_path / "after a crash").create(offer, spec())
    assert len(cloud.named("create")) == 1
    assert [instance.ref for instance in build().owned()] == [found.ref]


def test_what_rose_is_not_rented(provider: VastProvider, cloud: VastCloud) -> None:
    offer, bid = offer_of(provider), offer_of(provider, spot=True)
    cloud.machines[11].dph_base, cloud.machines[11].min_bid = 0.9, 0.8
    for quoted, asked in ((offer, 0.9), (bid, 0.8)):
        with pytest.raises(PriceRose) as refused:
            provider.create(quoted, spec())
        assert refused.value.asked_usd_per_hour == asked
    assert not cloud.named("create")
    assert provider.create(offer, spec(max_usd_per_hour=1.0)).usd_per_hour == 0.9


def test_what_costs_more_than_agreed_is_ended_again(provider: VastProvider, cloud: VastCloud) -> None:
    offer = offer_of(provider)
    cloud.rises_by = 1.6
    with pytest.raises(PriceRose):
        provider.create(offer, spec())
    assert not cloud.instances


def test_an_offer_under_another_id_is_the_same_offer(provider: VastProvider, cloud: VastCloud) -> None:
    offer = offer_of(provider)
    first = provider.create(offer, spec()).ref
    with pytest.raises(NoCapacity, match="is gone"):
        provider.create(offer, spec(try_number=2))
    provider.terminate(first)
    assert str(cloud.machines[11].ask_ids[0]) != offer.offer_id
    assert provider.create(offer, spec(try_number=3)).ref.location == offer.location


def test_too_small_a_disk_is_refused_before_renting(provider: VastProvider, cloud: VastCloud) -> None:
    with pytest.raises(NoCapacity, match="500 GB of disk free, 800 are needed"):
        provider.create(offer_of(provider), spec(disk_gib=800.0))
    provider.create(offer_of(provider), spec(disk_gib=3.2))
    assert cloud.named("create")[-1].body["disk"] == 8, "Vast rents no less"


def test_what_was_half_made_is_ended(provider: VastProvider, cloud: VastCloud) -> None:
    cloud.faults.append(Fault("create", kind="half"))
    with pytest.raises(NoCapacity, match="was ended"):
        provider.create(offer_of(provider, spot=True), spec())
    assert not cloud.instances
    cloud.faults += [Fault("create", kind="half"), Fault("destroy", 502, kind="text")]
    with pytest.raises(MayHaveBeenCreated, match="could not be ended"):
        provider.create(offer_of(provider, spot=True), spec(try_number=2))
    assert [instance.token for instance in provider.owned()] == [spec(try_number=2).token]


def test_an_image_of_the_jobs_own_and_more_keys_than_fit(provider: VastProvider, cloud: VastCloud) -> None:
    keys = ("ssh-ed25519 RUN", *(f"ssh-rsa {'A' * 700} {n}" for n in range(5)))
    provider.create(offer_of(provider), spec(ssh_public_keys=keys, image_id="docker:pytorch/pytorch:2.9.0"))
    body = cloud.named("create")[-1].body
    assert body["image"] == "pytorch/pytorch:2.9.0"
    assert len(body["onstart"]) <= 4096
    assert "ssh-ed25519 RUN\n" in body["onstart"]
    with pytest.raises(BadOption, match="4096"):
        provider.create(offer_of(provider), spec(try_number=2, ssh_public_keys=("ssh-rsa " + "A" * 5000,)))


def test_vasts_limits_are_answered_with_a_pause(provider: VastProvider, cloud: VastCloud) -> None:
    cloud.limited = True
    now = [1000.0]
    cloud.clock = lambda: now[0]
    offer = offer_of(provider)
    ref = provider.create(offer, spec()).ref
    assert provider.get(ref).state is InstanceState.PENDING, "the first look is not refused"
    with pytest.raises(Throttled) as limited:
        provider.get(ref)
    assert limited.value.retry_after_s == 2.5
    now[0] += limited.value.retry_after_s
    provider.get(ref)
    now[0] += 60.0
    for _ in range(10):
        provider.offers(Query(spot=False))
    with pytest.raises(Throttled) as limited:
        provider.offers(Query(spot=False))
    assert limited.value.retry_after_s


def test_a_look_up_just_before_is_not_made_twice(provider: VastProvider, cloud: VastCloud) -> None:
    offer = offer_of(provider)
    cloud.limited = True
    now = [1000.0]
    cloud.clock = lambda: now[0]
    assert not provider.owned()
    cloud.faults.append(Fault("create", kind="lose"))
    with pytest.raises(MayHaveBeenCreated):
        provider.create(offer, spec())
    now[0] += 1.5
    made = provider.create(offer, spec()).ref
    assert [call.name for call in cloud.calls if call.name in ("list", "create")] == [
        "list",
        "create",
        "list",
    ]
    now[0] += 1.5
    assert [instance.ref for instance in provider.owned()] == [made]


# Looking


def test_how_a_running_one_is_reached(build: Build, cloud: VastCloud) -> None:
    told = spec(host_key=HostKey(private="private", public=PUBLIC))
    cloud.boots = False
    ref = build().create(offer_of(build()), told).ref
    assert build().get(ref).access is None
    cloud.boots = True
    until_running(build(), ref)
    row = cloud.row(ref.id)
    direct = build().get(ref).access
    assert isinstance(direct, SshAccess)
    assert (direct.host, direct.port, direct.user) == ("127.78.0.11", row["ssh_port"] + 1000, "root")
    assert direct.host_keys == (PUBLIC,)
    proxied = build(connect="proxy").get(ref).access
    assert isinstance(proxied, SshAccess)
    assert (proxied.host, proxied.port, proxied.host_keys) == (row["ssh_host"], row["ssh_port"], ())
    assert proxied.host_key_origin is HostKeyOrigin.FIRST_CONTACT
    row["ports"] = None
    assert build().get(ref).access == proxied
    assert build(connect="direct").get(ref).access is None


def test_what_is_not_listed_yet_is_not_gone(build: Build, cloud: VastCloud) -> None:
    clock = Clock()
    provider = build(clock=clock)
    ref = provider.create(offer_of(provider), spec()).ref
    cloud.faults.append(lag := Fault("show", kind="lag"))
    with pytest.raises(Unreachable, match="not listed yet"):
        build(clock=clock).get(ref)
    clock.forward(180)
    lag.times = 1
    assert provider.get(ref).state.is_gone


@pytest.mark.parametrize(
    ("fields", "state", "words"),
    [
        ({"actual_status": None}, InstanceState.PENDING, "being made"),
        ({"actual_status": "loading", "status_msg": "pulling 40%"}, InstanceState.PENDING, "pulling 40%"),
        ({"actual_status": "running"}, InstanceState.RUNNING, ""),
        ({"actual_status": "frozen"}, InstanceState.RUNNING, "frozen"),
        ({"actual_status": "rebooting"}, InstanceState.PENDING, "rebooting"),
        ({"actual_status": "running", "intended_status": "stopped"}, InstanceState.STOPPING, ""),
        ({"actual_status": "exited", "intended_status": "stopped"}, InstanceState.STOPPED, ""),
        ({"actual_status": "exited"}, InstanceState.STOPPED, "its container has ended"),
        ({"actual_status": "offline"}, InstanceState.STOPPED, "its host was lost before the container ran"),
        ({"actual_status": "offline", "ports": {"22/tcp": []}}, InstanceState.RUNNING, "lost the host"),
        (
            {
                "actual_status": "created",
                "status_msg": "Error response from daemon: OCI runtime create failed",
            },
            InstanceState.STOPPED,
            "cannot start the container",
        ),
        ({"actual_status": "something new"}, InstanceState.PENDING, "something new"),
    ],
)
def test_states(
    build: Build, cloud: VastCloud, fields: dict[str, object], state: InstanceState, words: str
) -> None:
    clock = Clock()
    provider = build(clock=clock)
    cloud.boots = False
    ref = provider.create(offer_of(provider), spec()).ref
    clock.forward(5)
    cloud.stands_still = True
    cloud.row(ref.id).update({"status_msg": None, **fields})
    seen = provider.get(ref)
    assert seen.state is state
    assert words in seen.state_reason


def test_a_machine_that_cannot_start_containers_is_avoided(build: Build, cloud: VastCloud) -> None:
    clock = Clock()
    provider = build(clock=clock)
    offer = offer_of(provider)
    cloud.boots, cloud.start_message = False, "OCI runtime create failed"
    ref = provider.create(offer, spec()).ref
    assert [provider.get(ref).state for _ in range(2)][-1] is InstanceState.STOPPED
    with pytest.raises(NoCapacity, match="cannot be started"):
        provider.unpark(ref, utc_now() + timedelta(hours=1))
    provider.terminate(ref)
    with pytest.raises(NoCapacity, match=r"avoided.*OCI runtime"):
        build(clock=clock).create(offer, spec(try_number=2))
    assert "m11" not in {item.location for item in build(clock=clock).offers(Query(gpu_name="RTX 4090"))}
    clock.forward(13 * 3600)
    assert "m11" in {item.location for item in build(clock=clock).offers(Query(gpu_name="RTX 4090"))}


def test_a_machine_that_loads_for_ever_is_avoided_one_that_was_called_off_is_not(
    build: Build, cloud: VastCloud
) -> None:
    clock = Clock()
    provider = build(clock=clock)
    cloud.boots = False
    for location, minutes in (("m11", 1), ("m11", 20)):
        ref = provider.create(offer_of(provider), spec(try_number=minutes)).ref
        assert ref.location == location
        clock.forward(60 * minutes)
        provider.terminate(ref)
    assert offer_of(provider).location == "m12"


# Losing and ending


def test_an_outbid_instance_says_so_and_may_come_back(provider: VastProvider, cloud: VastCloud) -> None:
    ref = provider.create(offer_of(provider, spot=True), spec()).ref
    until_running(provider, ref)
    cloud.outbid(ref.id)
    seen = provider.get(ref)
    assert seen.state is InstanceState.STOPPED
    assert "outbid" in seen.state_reason
    assert seen.resumes_by_itself
    with pytest.raises(NoCapacity, match="was outbid"):
        provider.unpark(ref, utc_now() + timedelta(hours=1))
    assert not cloud.named("bid")


def test_a_bid_is_raised_only_as_far_as_was_allowed(build: Build, cloud: VastCloud) -> None:
    provider = build(outbid="raise")
    for number, limit in ((1, None), (2, 0.6)):
        ref = provider.create(
            offer_of(provider, spot=True), spec(try_number=number, max_usd_per_hour=limit)
        ).ref
        until_running(provider, ref)
        cloud.outbid(ref.id)
        later = utc_now() + timedelta(hours=5)
        if limit is None:
            with pytest.raises(NoCapacity, match="needs a bid of"):
                provider.unpark(ref, later)
            provider.terminate(ref)
            cloud.machines[11].min_bid = 0.26
            continue
        lowest = cloud.row(ref.id)["min_bid"]
        provider.unpark(ref, later)
        until_running(provider, ref)
        assert lowest <= cloud.row(ref.id)["dph_base"] <= limit
        assert provider.get(ref).deadline == later


def test_a_parked_bid_is_told_to_stop_again(build: Build, cloud: VastCloud) -> None:
    clock = Clock()
    provider = build(clock=clock)
    ref = provider.create(offer_of(provider, spot=True), spec(when_unattended=WhenUnattended.PARK)).ref
    until_running(provider, ref)
    cloud.outbid(ref.id)
    provider.park(ref)
    parked = provider.get(ref)
    assert (parked.state, parked.resumes_by_itself, parked.access) == (InstanceState.STOPPED, False, None)
    label = Label.parse(cloud.row(ref.id)["label"])
    assert label is not None
    assert label.parked
    seen = len(cloud.calls)
    provider.park(ref)
    assert [call.name for call in cloud.calls[seen:]] == ["show"], "once is enough"
    cloud.row(ref.id)["min_bid"] = 0.01
    clock.forward(5)
    provider.read_disk(ref, utc_now() + timedelta(hours=1))
    until_running(provider, ref)
    label = Label.parse(cloud.row(ref.id)["label"])
    assert label is not None
    assert not label.parked


def test_parking_goes_on_where_a_limit_has_cut_it(provider: VastProvider, cloud: VastCloud) -> None:
    ref = provider.create(offer_of(provider, spot=True), spec()).ref
    until_running(provider, ref)
    cloud.limited = True
    now = [1000.0]
    cloud.clock = lambda: now[0]
    with pytest.raises(Throttled):
        provider.park(ref)
    now[0] += 2.5
    provider.park(ref)
    cloud.limited = False
    assert provider.get(ref).state is InstanceState.STOPPED


def test_a_stopped_on_demand_instance_starts_again_with_a_new_deadline(
    provider: VastProvider, cloud: VastCloud
) -> None:
    ref = provider.create(offer_of(provider), spec()).ref
    until_running(provider, ref)
    provider.park(ref)
    assert not provider.get(ref).resumes_by_itself
    later = utc_now() + timedelta(hours=9)
    provider.unpark(ref, later)
    until_running(provider, ref)
    assert provider.get(ref).deadline == later
    provider.terminate(ref)
    with pytest.raises(NoCapacity, match="is gone"):
        provider.unpark(ref, later)
    provider.park(ref)


def test_ending_forgets_nothing_and_needs_no_answer(provider: VastProvider, cloud: VastCloud) -> None:
    told = spec()
    ref = provider.create(offer_of(provider), told).ref
    provider.terminate(ref)
    provider.terminate(ref)
    assert provider.get(ref).state.is_gone
    assert provider.create(offer_of(provider), told).ref == ref, "a token never rents again what has ended"
    assert len(cloud.named("create")) == 1
    assert provider.notice(provider.get(ref)) is None
