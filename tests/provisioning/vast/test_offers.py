"""What is looked for on the market, and what the answers become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from launcher.forecast.money import Usage, bill
from provisioning import BadCredentials, BadOption, Query
from provisioning.vast.convert import to_offer
from provisioning.vast.gpus import NAMES, names_for, read_type, type_name
from provisioning.vast.provider import VastProvider
from tests.provisioning.machines import START
from tests.provisioning.vast.cloud import KEY, Machine, VastCloud

Build = Callable[..., VastProvider]


def searched(cloud: VastCloud) -> dict[str, Any]:
    found: dict[str, Any] = cloud.named("search")[-1].body
    return found


def test_the_defaults_leave_bad_hosts_out(provider: VastProvider, cloud: VastCloud) -> None:
    cloud.add(31, dph_base=0.01, more={"verified": False, "verification": "unverified"})
    cloud.add(32, dph_base=0.01, more={"reliability": 0.9})
    cloud.add(33, dph_base=0.01, more={"cuda_max_good": 12.4})
    cloud.add(34, dph_base=0.01, more={"direct_port_count": 0})
    cloud.add(35, dph_base=0.01, more={"inet_down": 20.0})
    cloud.add(36, dph_base=0.01, more={"duration": 3600.0})
    cloud.add(37, dph_base=0.01, more={"disk_space": 10.0})
    found = provider.offers(Query(gpu_name="RTX 4090"))
    assert {offer.location for offer in found} == {"m11", "m12", "m13"}
    assert searched(cloud)["gpu_name"] == {"in": ["RTX 4090"]}


def test_every_default_can_be_changed(build: Build, cloud: VastCloud) -> None:
    cloud.add(
        31, dph_base=0.01, more={"verified": False, "reliability": 0.9, "inet_down": 20.0, "inet_up": 1.0}
    )
    cloud.add(32, dph_base=0.02, more={"cuda_max_good": 12.4, "direct_port_count": 0, "duration": 3600.0})
    loose = build(
        verified=False,
        min_reliability=0.5,
        min_cuda=12.0,
        min_download_mbit_s=1.0,
        min_upload_mbit_s=1.0,
        min_hours=0.5,
        connect="proxy",
    )
    assert [offer.location for offer in loose.offers(Query(gpu_name="RTX 4090", spot=False))][:2] == [
        "m31",
        "m32",
    ]
    cloud.machines[11].more = {"geolocation": "Stockholm, SE", "datacenter": True}
    assert {o.location for o in build(countries=["SE"]).offers(Query(gpu_name="4090"))} == {"m11"}
    assert {o.location for o in build(datacenter=True).offers(Query(gpu_name="4090"))} == {"m11"}
    assert "m11" not in {o.location for o in build(not_countries=["SE"]).offers(Query(gpu_name="4090"))}
    assert "m12" not in {o.location for o in build(not_machines=[12]).offers(Query(gpu_name="4090"))}
    assert {o.location for o in build().offers(Query(gpu_name="4090", region="SE"))} == {"m11"}


@pytest.mark.parametrize(
    "options",
    [{"countries": ["Sweden"]}, {"min_reliability": 98}, {"bid_usd_per_hour": 0}, {"bid_over_minimum": 0.5}],
)
def test_options_that_cannot_be_are_refused(build: Build, options: dict[str, Any]) -> None:
    with pytest.raises(BadOption, match=r"provider_options\.vast"):
        build(**options)


def test_bids_are_offered_at_what_we_would_bid(build: Build, cloud: VastCloud) -> None:
    cloud.machines[11].min_bid = 0.2
    first = build().offers(Query(instance_type="1x-RTX-4090", spot=True))[0]
    assert (first.usd_per_hour, first.interruptions_per_hour > 0) == (0.24, True)
    assert build(bid_usd_per_hour=0.3).offers(Query(gpu_name="4090", spot=True))[0].usd_per_hour == 0.3
    assert not build(bid_usd_per_hour=0.01).offers(Query(gpu_name="4090", spot=True)), "it would never run"


def test_prices_are_those_of_the_bill() -> None:
    machine = Machine(11, dph_base=0.4, storage_cost=0.15, inet_down_cost=0.01, inet_up_cost=0.02)
    ask = machine.ask(1, kind="on-demand", disk_gb=100.0)
    offer = to_offer(ask, spot=False, usd_per_hour=ask["dph_base"], now=START)
    told = bill(
        offer,
        Usage(compute_s=3600, disk_gib=100, disk_s=3600, ingress_bytes=10 * 10**9, egress_bytes=5 * 10**9),
    )
    assert told.compute + told.disk == pytest.approx(ask["dph_total"])
    assert told.ingress == pytest.approx(0.10)
    assert told.egress == pytest.approx(0.10)
    assert (offer.memory_gib, offer.vcpus) == (64.0, 16.0), "our share of the machine, not all of it"
    assert "verified host in California, US, machine 11" in offer.notes[0]
    assert "traffic $0.01 in and $0.02 out per GB" in offer.notes[0]


@pytest.mark.parametrize(
    "missing", ["geolocation", "cpu_cores", "reliability2", "inet_up_cost", "duration", "gpu_ram"]
)
def test_a_missing_field_is_no_reason_to_fail(missing: str) -> None:
    ask = Machine(11).ask(1, kind="bid", disk_gb=10.0)
    del ask[missing]
    assert to_offer(ask, spot=True, usd_per_hour=0.1, now=START).region in ("US", "unknown")


def test_asks_without_a_price_a_gpu_or_a_machine_are_left_out(
    provider: VastProvider, cloud: VastCloud
) -> None:
    for number, more in enumerate(({"dph_base": 0.0, "min_bid": None}, {"gpu_name": None}, {"num_gpus": 0})):
        cloud.add(41 + number, more=more)
    assert not {o.location for o in provider.offers(Query())} & {"m41", "m42", "m43"}


def test_one_machine_is_offered_once_per_market(provider: VastProvider, cloud: VastCloud) -> None:
    found = provider.offers(Query(gpu_name="T4"))
    assert [(o.location, o.spot) for o in found] == [("m21", True), ("m21", False)]
    assert len(cloud.machines[21].ask_ids) == 2


def test_gpus_are_found_by_the_names_that_people_use() -> None:
    assert names_for("T4") == ["Tesla T4"]
    assert names_for("rtx4090") == ["RTX 4090"]
    assert names_for("A100-80GB") == ["A100 PCIE", "A100 SXM4"]
    assert names_for("H100 SXM") == ["H100 SXM"]
    assert names_for("TNT2") == []
    for name in NAMES:
        assert read_type(type_name(name, 4)) == (4, name)


def test_a_type_that_is_not_in_our_table_is_found_on_the_market(
    provider: VastProvider, cloud: VastCloud
) -> None:
    cloud.add(51, gpu_name="RTX 9090 Ultra", num_gpus=2)
    assert {o.location for o in provider.offers(Query(instance_type="2x-RTX-9090-Ultra"))} == {"m51"}
    with pytest.raises(BadOption, match="1x-RTX-4090"):
        provider.offers(Query(instance_type="1x-RTX-4O90"))
    with pytest.raises(BadOption, match="country"):
        provider.offers(Query(region="us-east-1"))


def test_a_key_is_found_where_vasts_own_tool_keeps_it(build: Build, cloud: VastCloud, tmp_path: Any) -> None:
    environ = {"VAST_URL": cloud.url, "HOME": str(tmp_path)}
    with pytest.raises(BadCredentials, match="VAST_API_KEY"):
        build(environ=environ).check()
    (tmp_path / ".vast_api_key").write_text(f"{KEY}\n")
    build(environ=environ).check()
    (tmp_path / ".config/vastai").mkdir(parents=True)
    (tmp_path / ".config/vastai/vast_api_key").write_text("another")
    with pytest.raises(BadCredentials, match="Invalid user key"):
        build(environ=environ).check()


def test_little_credit_is_said_with_the_offer(provider: VastProvider, cloud: VastCloud) -> None:
    cloud.credit = 1.0
    provider.check()
    (offer,) = provider.offers(Query(gpu_name="A100", spot=False))
    assert "Vast has $1.00 of yours, 0.5 h at this price" in offer.notes[-1]
    cloud.credit = 500.0
    provider.check()
    assert len(provider.offers(Query(gpu_name="A100", spot=False))[0].notes) == 1
