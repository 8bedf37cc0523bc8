"""What is offered, at which price, and what is not and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import resources

import pytest

from provisioning import BadCredentials, BadOption, NoOffer, Query, Throttled
from provisioning.aws import prices
from provisioning.aws.hardware import read_hardware, refusal
from provisioning.aws.provider import AwsProvider
from tests.provisioning.aws.cloud import Ec2Cloud, Fault
from tests.provisioning.machines import Clock

Build = Callable[..., AwsProvider]


def test_every_zone_and_both_markets_of_a_type(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    offers = provider.offers(Query(instance_type="g4dn.xlarge"))
    assert {offer.zone for offer in offers} == {"us-east-1a", "us-east-1b", "us-east-1c"}
    assert {offer.spot for offer in offers} == {True, False}
    spot = next(offer for offer in offers if offer.spot and offer.zone == "us-east-1b")
    assert (spot.usd_per_hour, spot.price_source) == (0.211, "spot price history")
    assert spot.interruptions_per_hour > 0
    demand = next(offer for offer in offers if not offer.spot)
    assert (demand.usd_per_hour, demand.price_source) == (0.526, "AWS price list")
    assert (demand.gpu_name, demand.gpu_count, demand.gpu_memory_gib) == ("T4", 1, 16.0)
    assert (demand.vcpus, demand.memory_gib) == (4, 16)
    assert demand.ipv4_usd_per_hour == 0.005
    assert demand.disk_usd_per_gib_month == 0.08
    assert demand.egress_usd_per_gib == pytest.approx(0.0966, abs=1e-3)


def test_a_gpu_by_name_is_found_in_all_regions_asked_for(build: Build) -> None:
    offers = build(regions=["us-east-1", "us-west-2"]).offers(Query(gpu_name="L4", spot=True))
    assert {offer.instance_type for offer in offers} == {"g6.xlarge"}
    assert {offer.region for offer in offers} == {"us-east-1", "us-west-2"}


def test_the_table_serves_where_the_pricing_api_may_not_be_asked(build: Build, cloud: Ec2Cloud) -> None:
    cloud.faults.append(Fault("GetProducts", "AccessDeniedException", 400, times=9))
    (first, *_) = build().offers(Query(instance_type="g4dn.xlarge", spot=False))
    assert first.usd_per_hour == 0.526
    assert first.price_source.startswith("table of 2026-")
    assert first.priced_at < datetime(2026, 11, 1, tzinfo=timezone.utc)


def test_the_table_alone_asks_nobody(build: Build, cloud: Ec2Cloud) -> None:
    build(prices="table").offers(Query(instance_type="g4dn.xlarge", spot=False))
    assert not cloud.actions("GetProducts")


def test_without_any_price_it_is_said_so(build: Build, cloud: Ec2Cloud) -> None:
    cloud.faults.append(Fault("GetProducts", "AccessDeniedException", 400, times=9))
    cloud.sold += ("g7e.2xlarge",)
    with pytest.raises(NoOffer, match=r"no on-demand price is known for g7e\.2xlarge"):
        build().offers(Query(instance_type="g7e.2xlarge", spot=False))


@pytest.mark.parametrize(
    ("instance_type", "why"),
    [("p3.2xlarge", "V100"), ("g4ad.xlarge", "AMD"), ("g5g.xlarge", "arm64"), ("g6f.large", "part of a GPU")],
)
def test_what_cannot_be_served_is_refused_in_words(
    provider: AwsProvider, instance_type: str, why: str
) -> None:
    with pytest.raises(NoOffer, match=why):
        provider.offers(Query(instance_type=instance_type))


def test_a_v100_is_refused_in_words(provider: AwsProvider) -> None:
    with pytest.raises(NoOffer, match="R580"):
        provider.offers(Query(gpu_name="V100"))


def test_what_cannot_be_served_is_not_listed(provider: AwsProvider) -> None:
    assert not {offer.instance_type for offer in provider.offers(Query())} & {"g5g.xlarge", "g6f.large"}


@pytest.mark.parametrize(
    ("query", "nearest"),
    [
        (Query(region="us-est-1"), "us-east-1"),
        (Query(zone="us-east-1q"), "us-east-1"),
        (Query(instance_type="g4dn.xlrge"), "g4dn.xlarge"),
        (Query(instance_type="T4"), "g4dn.xlarge"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest(
    provider: AwsProvider, query: Query, nearest: str
) -> None:
    with pytest.raises(BadOption) as refused:
        provider.offers(query)
    assert nearest in f"{refused.value} {refused.value.hint}"


def test_idle_gpus_are_noted(provider: AwsProvider) -> None:
    (first, *_) = provider.offers(Query(gpu_name="A100", gpu_count=1, spot=True))
    assert "7 of 8 GPUs would idle" in first.notes
    (first, *_) = provider.offers(Query(gpu_name="A100", gpu_count=8, spot=True))
    assert not any("idle" in note for note in first.notes)


def test_the_basis_of_the_interruption_rate_is_said(provider: AwsProvider) -> None:
    (known, *_) = provider.offers(Query(instance_type="g4dn.xlarge", spot=True))
    assert any("15-20 % a month" in note for note in known.notes)
    assert known.interruptions_per_hour == 1 / 20


def test_spot_prices_are_asked_again_after_a_minute(build: Build, cloud: Ec2Cloud) -> None:
    clock = Clock()
    provider = build(clock=clock)
    query = Query(instance_type="g4dn.xlarge", spot=True)
    provider.offers(query)
    provider.offers(query)
    assert len(cloud.actions("DescribeSpotPriceHistory")) == 1
    clock.forward(61)
    cloud.spot_usd["g4dn.xlarge", "us-east-1a"] = 0.4
    assert max(offer.usd_per_hour for offer in provider.offers(query)) == 0.4


def test_machines_without_a_public_address_pay_for_none(build: Build) -> None:
    (first, *_) = build(address="private").offers(Query(instance_type="t3.small"))
    assert first.ipv4_usd_per_hour == 0.0


def test_throttled_lookups_are_repeated_by_the_sdk_and_then_told(
    provider: AwsProvider, cloud: Ec2Cloud
) -> None:
    cloud.faults.append(Fault("DescribeSpotPriceHistory", "RequestLimitExceeded", 503, times=1))
    assert provider.offers(Query(instance_type="g4dn.xlarge"))
    cloud.faults.append(Fault("DescribeSpotPriceHistory", "RequestLimitExceeded", 503, times=3))
    with pytest.raises(Throttled):
        provider.offers(Query(instance_type="g5.xlarge"))


def test_nobody_logged_in(build: Build, cloud: Ec2Cloud) -> None:
    environ = {key: value for key, value in cloud.environ().items() if "KEY" not in key}
    with pytest.raises(BadCredentials) as refused:
        build(environ=environ).check()
    assert "aws configure" in str(refused.value.hint)
    with pytest.raises(BadCredentials, match="nobody-has-this"):
        build(environ=environ, profile="nobody-has-this").check()


def test_a_profile_is_read_from_the_usual_files(build: Build, cloud: Ec2Cloud, tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path)) / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text("[lab]\naws_access_key_id = A\naws_secret_access_key = B\n")
    (folder / "config").write_text("[profile lab]\nregion = us-west-2\n")
    environ = {
        key: value for key, value in cloud.environ().items() if "KEY" not in key and "REGION" not in key
    }
    provider = build(environ={**environ, "HOME": str(tmp_path)}, profile="lab")
    provider.check()
    (first, *_) = provider.offers(Query(instance_type="t3.small"))
    assert first.region == "us-west-2"


def test_a_login_in_the_meantime_is_noticed(build: Build, cloud: Ec2Cloud, tmp_path: object) -> None:
    from pathlib import Path

    environ = {key: value for key, value in cloud.environ().items() if "KEY" not in key}
    provider = build(environ={**environ, "HOME": str(tmp_path)})
    with pytest.raises(BadCredentials):
        provider.check()
    folder = Path(str(tmp_path)) / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B\n")
    provider.check()


# Pure reading


def test_odd_answers_about_hardware() -> None:
    bare = {"InstanceType": "x9.big", "VCpuInfo": {"DefaultVCpus": 2}, "MemoryInfo": {"SizeInMiB": 1536}}
    assert read_hardware(bare).memory_gib == 1.5
    assert read_hardware(bare).gpu_name is None
    part = {**bare, "GpuInfo": {"Gpus": [{"Name": "L4", "Count": 0, "Manufacturer": "NVIDIA"}]}}
    assert refusal("g6f.large", read_hardware(part)) == "it has a part of a GPU only"
    other = {**bare, "GpuInfo": {"Gpus": [{"Name": "B300", "Count": 1, "Manufacturer": "NVIDIA"}]}}
    assert refusal("x9.big", read_hardware(other))


def test_spot_history_takes_the_newest_and_skips_what_is_free() -> None:
    at = datetime(2026, 11, 21, tzinfo=timezone.utc)
    entry = {"InstanceType": "t", "AvailabilityZone": "z"}
    history = [
        {**entry, "SpotPrice": "0.2", "Timestamp": at.replace(hour=1)},
        {**entry, "SpotPrice": "0.3", "Timestamp": at.replace(hour=2)},
        {**entry, "SpotPrice": "0.0", "Timestamp": at.replace(hour=3)},
    ]
    assert prices.read_spot_history(history)["t", "z"].usd_per_hour == 0.3


def test_price_lists_with_reservations_and_gaps() -> None:
    now = datetime(2026, 11, 21, tzinfo=timezone.utc)
    odd = [json.dumps({}), json.dumps({"product": {"attributes": {"instanceType": "a.b"}}, "terms": {}})]
    assert prices.listed_prices(odd, now) == {}


def test_the_table_is_whole_and_travels_with_the_package() -> None:
    table = prices.table()
    assert table["g4dn.xlarge", "us-east-1"].usd_per_hour == 0.526
    assert all(0 < price.usd_per_hour < 200 for price in table.values())
    assert all(
        resources.files("provisioning.aws").joinpath(name).is_file()
        for name in ("prices.csv", "interruptions.csv")
    )
