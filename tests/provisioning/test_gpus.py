"""Facts about GPUs are found by any spelling, and hang together."""

from __future__ import annotations

import pytest

from provisioning.catalog import parse_gpu
from provisioning.fake.catalogue import TYPES
from provisioning.gpus import GPUS, GpuFacts, gpu_facts


@pytest.mark.parametrize(
    ("spelt", "memory_gib", "found"),
    [
        ("NVIDIA Tesla T4", 15.0, "T4"),
        ("rtx4090", 0, "RTX 4090"),
        ("NVIDIA A100-SXM4-80GB", 79.2, "A100 SXM 80GB"),
        ("A100-80GB", 0, "A100 PCIE 80GB"),
        ("A100", 40, "A100 40GB"),
        ("A100 SXM4", 40, "A100 40GB"),
        ("H100", 80, "H100 PCIE"),
        ("NVIDIA H100 80GB HBM3", 79.6, "H100 SXM"),
        ("H100 SXM", 80, "H100 SXM"),
        ("H100 NVL", 93.1, "H100 NVL"),
        ("H100", 94, "H100 NVL"),
        ("Tesla V100-SXM2-16GB", 16, "V100 SXM 16GB"),
        ("NVIDIA RTX A6000", 48, "A6000"),
    ],
)
def test_facts_are_found_by_any_spelling(spelt: str, memory_gib: float, found: str) -> None:
    facts = gpu_facts(spelt, memory_gib)
    assert facts is not None
    assert facts.name == found


@pytest.mark.parametrize("name", ["TNT2", "RTX 6000 Ada", "A10X", ""])
def test_what_is_not_known_is_not_guessed(name: str) -> None:
    assert gpu_facts(name) is None


def test_without_a_variant_the_slowest_is_assumed() -> None:
    assert gpu_facts("V100") == gpu_facts("V100-PCIE-16GB")


@pytest.mark.parametrize("facts", GPUS, ids=lambda facts: facts.name)
def test_the_figures_hang_together(facts: GpuFacts) -> None:
    assert facts.memory_gib >= 16
    assert 100 < facts.bandwidth_gb_per_s < 10_000
    assert facts.source
    # Tensor units came with Volta (7.0); bfloat16 and TF32 in them with Ampere (8.0).
    assert (facts.fp16_tflops is not None) == (facts.compute_capability >= (7, 0))
    assert (facts.bf16_tflops is not None) == (facts.compute_capability >= (8, 0))
    assert (facts.tf32_tflops is not None) == (facts.compute_capability >= (8, 0))
    if facts.fp16_tflops and facts.tf32_tflops:
        assert facts.fp16_tflops == facts.bf16_tflops
        assert facts.fp16_tflops / facts.tf32_tflops == pytest.approx(2.0, rel=0.03)


def test_every_row_finds_itself() -> None:
    assert len({facts.name for facts in GPUS}) == len(GPUS)
    for facts in GPUS:
        assert gpu_facts(facts.name, facts.memory_gib) == facts
        assert parse_gpu(facts.name).model


def test_all_that_the_fake_cloud_sells_is_known() -> None:
    for kind in TYPES.values():
        if kind.gpu_name:
            facts = gpu_facts(kind.gpu_name, kind.gpu_memory_gib)
            assert facts is not None
            assert facts.memory_gib == kind.gpu_memory_gib
