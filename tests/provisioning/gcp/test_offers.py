"""What is sold, where and for how much."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning import BadOption, NoCapacity, NoOffer, Query, QuotaExceeded
from provisioning.dated import dated_offers
from provisioning.gcp import hardware as hw
from provisioning.gcp import prices
from provisioning.gcp.prices import Part
from provisioning.prices import Price
from tests.provisioning.gcp import stock
from tests.provisioning.gcp.cloud import Fault, GceCloud
from tests.provisioning.gcp.conftest import Build
from tests.provisioning.machines import Clock, spec

NOW = datetime(2026, 11, 28, tzinfo=timezone.utc)


def test_a_machine_with_an_attached_gpu_is_the_sum_of_its_parts(build: Build) -> None:
    (spot, demand) = build().offers(Query(instance_type="n1-standard-4", gpu_name="T4", zone="us-central1-b"))
    assert (spot.spot, demand.spot) == (True, False)
    assert demand.usd_per_hour == pytest.approx(4 * 0.031611 + 15 * 0.004237 + 0.35)
    assert (demand.gpu_name, demand.gpu_count, demand.gpu_memory_gib) == ("T4", 1, 16)
    assert "not read again" in demand.price_source
    assert (spot.ipv4_usd_per_hour, demand.ipv4_usd_per_hour) == (0.0025, 0.005)
    assert spot.interruptions_per_hour == pytest.approx(1 / 24)
    assert demand.interruptions_per_hour == 0
    assert demand.location == demand.zone == "us-central1-b"


@pytest.mark.parametrize(
    ("query", "types"),
    [
        (Query(gpu_name="L4"), {"g2-standard-4", "g2-standard-24"}),
        (Query(gpu_name="A100-80GB"), {"a2-ultragpu-1g"}),
        (Query(gpu_name="A100"), {"a2-highgpu-1g", "a2-ultragpu-1g"}),
        (Query(gpu_name="T4", gpu_count=2), {"n1-standard-4", "n1-standard-8"}),
        (Query(gpu_name="T4", gpu_count=3), set()),
        (Query(gpu_name="H100"), set()),
        (Query(instance_type="n1-standard-96"), {"n1-standard-96"}),
        (Query(gpu_name="V100", region="us-east1", min_vcpus=8), {"n1-standard-8"}),
    ],
)
def test_who_has_what(build: Build, query: Query, types: set[str]) -> None:
    found = build().offers(query)
    assert {offer.instance_type for offer in found} == types
    for offer in found:
        assert query.gpu_count is None or offer.gpu_count >= query.gpu_count


def test_a_type_that_is_named_is_offered_bare_and_with_what_can_be_attached(build: Build) -> None:
    found = build().offers(Query(instance_type="n1-standard-8", zone="us-central1-b", spot=False))
    assert {offer.gpu_name for offer in found} == {None, "T4", "V100", "P100"}
    large = build().offers(Query(instance_type="n1-standard-96", zone="us-central1-b", spot=False))
    assert {offer.gpu_name for offer in large} == {None}, "too many vCPUs for one GPU"
    assert {
        offer.gpu_name for offer in build().offers(Query(instance_type="n1-standard-8", zone="us-east1-c"))
    } == {None, "T4"}


def test_gpus_that_would_idle_are_told(build: Build) -> None:
    (offer, *_) = build().offers(Query(instance_type="g2-standard-24", spot=False))
    assert "1 of 2 GPUs would idle" in offer.notes


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query(instance_type="n1-standard-5"), "did you mean 'n1-standard-"),
        (Query(instance_type="g4dn.xlarge"), "no machine type"),
        (Query(region="us-centrall1"), "did you mean 'us-central1'"),
        (Query(zone="us-central1"), "no zone"),
    ],
)
def test_names_that_do_not_exist(build: Build, query: Query, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        build().offers(query)


@pytest.mark.parametrize(
    ("name", "words"),
    [("t2a-standard-4", "Arm"), ("ct5lp-hightpu-1t", "TPU"), ("c3-standard-4", "no price is known")],
)
def test_what_exists_and_cannot_be_used_says_why(build: Build, name: str, words: str) -> None:
    with pytest.raises(NoOffer, match=words):
        build().offers(Query(instance_type=name))


def test_regions_by_job_by_option_by_gcloud_or_all(build: Build, cloud: GceCloud, tmp_path: Path) -> None:
    def regions(build_with: dict[str, Any], region: str | None = None) -> set[str]:
        query = Query(instance_type="e2-small", region=region)
        return {offer.region for offer in build(**build_with).offers(query)}

    assert regions({}) == {"us-central1", "us-east1"}
    assert regions({"regions": ["us-east1"]}) == {"us-east1"}
    assert regions({"regions": ["us-east1"]}, "us-central1") == {"us-central1"}
    (tmp_path / "configurations").mkdir()
    (tmp_path / "configurations" / "config_default").write_text("[compute]\nregion = us-east1\n")
    assert regions({"environ": cloud.environ(CLOUDSDK_CONFIG=str(tmp_path))}) == {"us-east1"}
    assert regions({"environ": cloud.environ(CLOUDSDK_COMPUTE_REGION="us-central1")}) == {"us-central1"}


def test_a_zone_that_does_not_sell_it_is_no_capacity(build: Build) -> None:
    offer = build().offers(Query(instance_type="e2-small"))[0]
    with pytest.raises(NoCapacity):
        build().create(replace(offer, location="us-central1-z", zone="us-central1-z"), spec())
    with pytest.raises(BadOption, match="cannot be attached"):
        build().create(replace(offer, gpu_name="T4", gpu_count=1), spec())


# Prices


def test_the_catalog_of_today_is_read_once_a_day_and_kept(build: Build, cloud: GceCloud) -> None:
    cloud.skus = stock.skus()
    clock = Clock()
    query = Query(instance_type="n1-standard-4", gpu_name="T4", region="europe-west4", spot=True)
    (offer, *_) = build(clock=clock).offers(query)
    assert offer.usd_per_hour == pytest.approx(4 * 0.007 + 15 * 0.001 + 0.2)
    assert offer.price_source == "Cloud Billing catalog"
    cloud.skus = None
    assert build(clock=clock).offers(query)[0].priced_at == offer.priced_at
    clock.forward(48 * 3600)
    assert build(clock=clock).offers(query)[0].priced_at == offer.priced_at, (
        "an old catalog is better than none"
    )


def test_the_table_does_when_the_catalog_may_not_be_asked(build: Build, cloud: GceCloud) -> None:
    assert "table of" in build().offers(Query(instance_type="e2-small"))[0].price_source
    cloud.skus = stock.skus()
    assert "table of" in build(prices="table").offers(Query(instance_type="e2-small"))[0].price_source


def test_a_kept_catalog_that_is_broken_is_read_anew(build: Build, cloud: GceCloud, tmp_path: Path) -> None:
    cloud.skus = stock.skus()
    (tmp_path / "gcp").mkdir()
    (tmp_path / "gcp" / "prices.json").write_text('{"at": "yesterday"}')
    assert build().offers(Query(instance_type="e2-small"))[0].price_source == "Cloud Billing catalog"
    assert json.loads((tmp_path / "gcp" / "prices.json").read_text())["parts"]


def test_what_is_no_price_of_a_machine_is_left_out_of_the_catalog() -> None:
    found = prices.read_skus(stock.skus(), NOW)
    assert Part("n1-core", "nowhere-free1", False) not in found
    assert found[Part("nvidia-tesla-t4", "us-central1", False)].usd_per_hour == pytest.approx(0.35)
    assert {part.name for part in found} == {"n1-core", "n1-ram", "e2-core", "e2-ram", "nvidia-tesla-t4"}
    dearest = stock.sku("Nvidia L4 GPU running in Americas", 0.0)
    dearest["pricingInfo"][0]["pricingExpression"]["tieredRates"].append(
        {"unitPrice": {"units": "1", "nanos": 500_000_000}}
    )
    assert prices.read_skus([dearest, {}], NOW)[Part("nvidia-l4", "us-central1", False)].usd_per_hour == 1.5


@pytest.mark.parametrize(
    ("machine", "usd", "spot_usd"),
    [
        ("a2-highgpu-1g", 3.8411, 2.2444),
        ("a2-ultragpu-1g", 5.0296, 2.5772),
        ("g2-standard-4", 0.7068, 0.2787),
    ],
)
def test_the_table_sums_up_to_the_prices_that_were_read(machine: str, usd: float, spot_usd: float) -> None:
    spot, demand = dated_offers("gcp", Query(instance_type=machine, region="us-central1"))
    assert demand.usd_per_hour == pytest.approx(usd, rel=1e-3)
    assert spot.usd_per_hour == pytest.approx(spot_usd, rel=1e-3)


def test_without_an_account_the_table_answers() -> None:
    found = dated_offers("gcp", Query(gpu_name="T4", gpu_count=1))
    assert found[0].spot
    assert found[0].instance_type == "n1-standard-4"
    assert all(offer.priced_at < NOW for offer in found)


@given(
    core=st.floats(0.001, 10),
    ram=st.floats(0.001, 1),
    gpu=st.floats(0.01, 50),
    count=st.sampled_from([1, 2, 4]),
)
def test_more_gpus_never_cost_less(core: float, ram: float, gpu: float, count: int) -> None:
    def part(name: str, usd: float) -> tuple[Part, Price]:
        return Part(name, "r1", False), Price(usd, NOW, "test")

    known = dict([part("n1-core", core), part("n1-ram", ram), part("nvidia-tesla-t4", gpu)])
    bare = hw.Hardware(machine_type="n1-standard-4", vcpus=4, memory_gib=15)
    one = prices.price_of(hw.with_gpu(bare, "nvidia-tesla-t4", count), "r1", spot=False, parts=known)
    two = prices.price_of(hw.with_gpu(bare, "nvidia-tesla-t4", 2 * count), "r1", spot=False, parts=known)
    assert one and two
    assert one.usd_per_hour < two.usd_per_hour
    assert prices.price_of(bare, "elsewhere", spot=False, parts=known) is None


def test_a_shared_core_is_billed_by_its_share() -> None:
    small = hw.Hardware(machine_type="e2-small", vcpus=2, memory_gib=2)
    price = prices.price_of(small, "us-central1", spot=False, parts=prices.table())
    assert price
    assert price.usd_per_hour == pytest.approx(0.5 * 0.02181159 + 2 * 0.00292353)


def test_a_price_list_that_breaks_off_is_not_taken_for_a_whole_one(build: Build, cloud: GceCloud) -> None:
    cloud.skus = stock.skus()
    cloud.faults.append(Fault("cloudbilling.skus.list", kind="hang_up"))
    assert "table of" in build().offers(Query(instance_type="e2-small"))[0].price_source


@pytest.mark.parametrize(
    ("place", "metric", "limit", "words"),
    [
        ("", "GPUS_ALL_REGIONS", 0.0, "counts in every region, is 0"),
        ("us-central1", "PREEMPTIBLE_NVIDIA_T4_GPUS", 0.0, "PREEMPTIBLE_NVIDIA_T4_GPUS is 0"),
        ("us-central1", "NVIDIA_T4_GPUS", 0.0, None),
        ("us-east1", "PREEMPTIBLE_NVIDIA_T4_GPUS", 0.0, None),
    ],
)
def test_a_quota_that_forbids_it_is_said_before_anything_is_rented(
    build: Build, cloud: GceCloud, place: str, metric: str, limit: float, words: str | None
) -> None:
    cloud.quotas[place, metric] = limit
    query = Query(instance_type="n1-standard-4", gpu_name="T4", region="us-central1", spot=True)
    provider = build()
    offer = provider.offers(query)[0]
    if words is None:
        provider.check_offer(offer)
    else:
        with pytest.raises(QuotaExceeded, match=words):
            provider.check_offer(offer)
    asked = len(cloud.calls)
    with suppress(QuotaExceeded):
        provider.check_offer(offer)
    assert len(cloud.calls) == asked, "one question for all offers of a region"
    cloud.faults.append(Fault("projects.get", "forbidden", 403))
    build().check_offer(offer)
    provider.check_offer(replace(offer, gpu_name=None, gpu_count=0))
    cloud.networks.clear()
    with pytest.raises(BadOption, match="no network 'default'"):
        build().check_offer(offer)
