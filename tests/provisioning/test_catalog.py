"""Choosing among offers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning import InstanceRef, Offer, Query
from provisioning.catalog import GpuName, matches, mismatches, nearest, parse_gpu, rank, same_gpu, select

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)

T4 = Offer(
    provider="aws",
    instance_type="g4dn.xlarge",
    location="us-east-1",
    region="us-east-1",
    zone="us-east-1a",
    usd_per_hour=0.526,
    priced_at=NOON,
    price_source="table",
    gpu_name="T4",
    gpu_count=1,
    gpu_memory_gib=16.0,
    vcpus=4,
    memory_gib=16,
    disk_gib=500,
)

offers = st.builds(
    replace,
    st.just(T4),
    provider=st.sampled_from(["aws", "vast"]),
    instance_type=st.sampled_from(["a", "b"]),
    zone=st.sampled_from([None, "z1", "z2"]),
    usd_per_hour=st.sampled_from([0.0, 0.5, 0.526, 3.0]),
    spot=st.booleans(),
    gpu_count=st.integers(1, 8),
    gpu_memory_gib=st.sampled_from([16.0, 40.0, 80.0]),
    vcpus=st.floats(0.5, 128),
    memory_gib=st.floats(1, 2048),
    disk_gib=st.none() | st.floats(1, 1000),
    offer_id=st.none() | st.sampled_from(["1", "2"]),
)
queries = st.builds(
    Query,
    instance_type=st.none() | st.sampled_from(["a", "b"]),
    gpu_name=st.none() | st.sampled_from(["T4", "L4"]),
    gpu_count=st.none() | st.integers(0, 8),
    min_gpu_memory_gib=st.none() | st.floats(1, 100),
    zone=st.none() | st.sampled_from(["z1", "z2"]),
    spot=st.none() | st.booleans(),
    max_usd_per_hour=st.none() | st.floats(0, 5),
    min_vcpus=st.none() | st.floats(0.5, 128),
    min_memory_gib=st.none() | st.floats(1, 2048),
    disk_gib=st.none() | st.floats(1, 1000),
)


@pytest.mark.parametrize(
    ("spelt", "parsed"),
    [
        ("t4", GpuName("T4")),
        ("NVIDIA Tesla T4", GpuName("T4")),
        ("RTX 4090", GpuName("RTX 4090")),
        ("rtx4090", GpuName("RTX 4090")),
        ("RTX_4090", GpuName("RTX 4090")),
        ("4090", GpuName("RTX 4090")),
        ("NVIDIA GeForce RTX 4090", GpuName("RTX 4090")),
        ("rtx4070ti", GpuName("RTX 4070 TI")),
        ("RTX A6000", GpuName("A6000")),
        ("NVIDIA RTX 6000 Ada Generation", GpuName("RTX 6000 ADA")),
        ("Quadro RTX 6000", GpuName("RTX 6000")),
        ("A100-80GB", GpuName("A100", 80)),
        ("NVIDIA A100-SXM4-80GB", GpuName("A100", 80, "SXM")),
        ("A100 PCIE", GpuName("A100", None, "PCIE")),
        ("Tesla V100-SXM2-16GB", GpuName("V100", 16, "SXM")),
        ("NVIDIA H100 80GB HBM3", GpuName("H100", 80, "SXM")),
        ("NVIDIA H100 NVL", GpuName("H100", None, "NVL")),
        ("AMD Instinct MI300X OAM", GpuName("MI300X", None, "OAM")),
    ],
)
def test_gpu_names_are_read_however_they_are_spelt(spelt: str, parsed: GpuName) -> None:
    assert parse_gpu(spelt) == parsed


@given(
    st.builds(
        GpuName,
        st.sampled_from(["T4", "A10G", "L40S", "RTX 4090", "RTX 6000 ADA", "GTX 1080 TI", "MI300X"]),
        st.none() | st.sampled_from([16.0, 80.0, 141.0]),
        st.none() | st.sampled_from(["SXM", "PCIE", "NVL"]),
    )
)
def test_a_gpu_name_survives_printing(name: GpuName) -> None:
    assert parse_gpu(str(name)) == name


def test_what_a_wish_leaves_open_may_be_anything() -> None:
    assert same_gpu("A100", "NVIDIA A100-SXM4-80GB", 80)
    assert same_gpu("a100", "A100 PCIE", 40)


def test_memory_in_a_name_tells_two_gpus_apart() -> None:
    assert same_gpu("A100-80GB", "A100 SXM4", 79.2)
    assert same_gpu("A100-40GB", "A100", 39.4)
    assert not same_gpu("A100-80GB", "A100", 40)
    assert not same_gpu("A100-80GB", "A100")


def test_near_names_are_other_gpus() -> None:
    assert not same_gpu("A10", "A10G", 24)
    assert not same_gpu("RTX 4080", "RTX 4080 SUPER", 16)
    assert not same_gpu("H100 SXM", "H100 PCIe", 80)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (Query(instance_type="p3.2xlarge"), "instance type is g4dn.xlarge, not p3.2xlarge"),
        (Query(region="eu-west-1"), "region is us-east-1, not eu-west-1"),
        (Query(spot=True), "is not spot"),
        (Query(gpu_name="L4"), "GPU is T4 with 16 GiB, not L4"),
        (Query(gpu_count=2), "1 GPUs, 2 wanted"),
        (Query(disk_gib=501), "500 GiB of disk, 501 wanted"),
        (Query(min_memory_gib=4656.6129), "16 GiB of memory, 4,656.61 wanted"),
        (Query(max_usd_per_hour=0.5), "$0.526/h is above $0.5/h"),
    ],
)
def test_a_mismatch_is_explained(query: Query, reason: str) -> None:
    assert mismatches(T4, query) == (reason,)
    assert not matches(T4, query)


def test_every_reason_is_given() -> None:
    assert len(mismatches(T4, Query(gpu_name="H100", min_vcpus=16, spot=True))) == 3


def test_a_machine_without_a_gpu_is_not_one_with() -> None:
    cpu = replace(T4, gpu_name=None, gpu_count=0, gpu_memory_gib=0.0)
    assert mismatches(cpu, Query(gpu_name="T4")) == ("has no GPU, T4 is wanted",)
    assert matches(cpu, Query(gpu_count=0))


@given(offers)
def test_an_empty_query_matches_everything(offer: Offer) -> None:
    assert matches(offer, Query())


@given(offers, queries, st.sampled_from(sorted(Query.__dataclass_fields__)))
def test_asking_for_less_never_loses_an_offer(offer: Offer, query: Query, field: str) -> None:
    if matches(offer, query):
        assert matches(offer, replace(query, **{field: None}))


@given(offers, queries, st.floats(1, 10))
def test_a_larger_machine_matches_whatever_a_smaller_one_did(
    offer: Offer, query: Query, factor: float
) -> None:
    larger = replace(
        offer, vcpus=offer.vcpus * factor, memory_gib=offer.memory_gib * factor, gpu_count=offer.gpu_count + 1
    )
    cheaper = replace(larger, usd_per_hour=offer.usd_per_hour / factor)
    if matches(offer, query):
        assert matches(cheaper, query)


@given(st.lists(offers), st.randoms(use_true_random=False))
def test_rank_is_one_order_by_price_whatever_came_first(found: list[Offer], random: Random) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)
    ranked = rank(shuffled)

    def known(offer: Offer) -> tuple[object, ...]:
        return (
            offer.usd_per_hour,
            offer.provider,
            offer.instance_type,
            offer.zone,
            offer.spot,
            offer.offer_id,
        )

    assert [known(offer) for offer in ranked] == [known(offer) for offer in rank(found)]
    assert [offer.usd_per_hour for offer in ranked] == sorted(offer.usd_per_hour for offer in found)


@given(st.lists(offers), queries)
def test_select_keeps_what_matches(found: list[Offer], query: Query) -> None:
    assert select(found, query) == rank(offer for offer in found if matches(offer, query))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("g4dn.xlage", "g4dn.xlarge"), ("RTX4090", "RTX 4090"), ("us_east_1", "us-east-1"), ("qq", None)],
)
def test_nearest(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["g4dn.xlarge", "RTX 4090", "us-east-1"]) == meant


@given(
    st.builds(
        InstanceRef,
        st.from_regex(r"[a-z]+", fullmatch=True),
        st.from_regex(r"[a-z0-9-]+", fullmatch=True),
        st.from_regex(r"[a-zA-Z0-9/_.-]+", fullmatch=True),
    )
)
def test_an_address_survives_printing(ref: InstanceRef) -> None:
    assert InstanceRef.parse(str(ref)) == ref


@pytest.mark.parametrize("text", ["", "aws", "aws/us-east-1", "aws/us-east-1/", "/us-east-1/i-1", "aws//i-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        InstanceRef.parse(text)
