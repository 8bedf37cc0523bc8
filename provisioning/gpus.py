"""Facts about GPUs, for estimates: what the makers say they can do at most.

Dense peaks in TFLOPS as stated (no sparsity); tensor figures have 16-bit inputs and 32-bit accumulation, which
on GeForce cards is half of the headline. Real training reaches a part of them, and a small recurrent network
a small part: use them to scale a measured speed from one GPU to another, never as a speed.
"""

from __future__ import annotations

from dataclasses import dataclass

from provisioning.catalog import parse_gpu, same_gpu

__all__ = ["GPUS", "GpuFacts", "gpu_facts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """One model of GPU; None where the hardware has no such unit."""

    name: str
    """As people write it, with form or memory where the model comes in several."""
    memory_gib: float
    bandwidth_gb_per_s: float
    """Of its memory, in 10^9 bytes."""
    fp32_tflops: float
    tf32_tflops: float | None
    fp16_tflops: float | None
    bf16_tflops: float | None
    compute_capability: tuple[int, int]
    source: str


def gpu_facts(name: str, memory_gib: float = 0.0) -> GpuFacts | None:
    """Return the facts of a GPU, however its name is spelt; None for one that is not in the table.

    ``memory_gib`` (of one GPU, 0 when unknown) tells variants apart where the name does not. Where several
    are still possible, the slowest is returned: an estimate should not promise the better one.
    """
    wanted = parse_gpu(name)
    variants = [facts for facts in GPUS if parse_gpu(facts.name).model == wanted.model]
    if wanted.form:
        same_form = [facts for facts in variants if same_gpu(f"{wanted.model} {wanted.form}", facts.name)]
        variants = same_form or variants
    size_gib = memory_gib or wanted.memory_gib
    if size_gib and variants:
        closest = min(abs(facts.memory_gib - size_gib) for facts in variants)
        variants = [facts for facts in variants if abs(facts.memory_gib - size_gib) == closest]
    return min(variants, key=lambda facts: (facts.fp16_tflops or 0.0, facts.bandwidth_gb_per_s), default=None)


def _gpu(
    name: str,
    memory_gib: float,
    bandwidth_gb_per_s: float,
    tflops: tuple[float, float | None, float | None, float | None],
    compute_capability: tuple[int, int],
    source: str,
) -> GpuFacts:
    """Return one row; ``tflops`` are FP32, TF32, FP16 tensor, BF16 tensor."""
    fp32, tf32, fp16, bf16 = tflops
    return GpuFacts(
        name=name,
        memory_gib=memory_gib,
        bandwidth_gb_per_s=bandwidth_gb_per_s,
        fp32_tflops=fp32,
        tf32_tflops=tf32,
        fp16_tflops=fp16,
        bf16_tflops=bf16,
        compute_capability=compute_capability,
        source=source,
    )


GPUS = (
    _gpu("P100 PCIE", 16, 732, (9.3, None, None, None), (6, 0), "NVIDIA data sheet, Tesla P100 for PCIe"),
    _gpu("V100 PCIE 16GB", 16, 900, (14.0, None, 112, None), (7, 0), "NVIDIA data sheet, V100"),
    _gpu("V100 SXM 16GB", 16, 900, (15.7, None, 125, None), (7, 0), "NVIDIA data sheet, V100"),
    _gpu("V100 PCIE 32GB", 32, 900, (14.0, None, 112, None), (7, 0), "NVIDIA data sheet, V100"),
    _gpu("V100 SXM 32GB", 32, 900, (15.7, None, 125, None), (7, 0), "NVIDIA data sheet, V100"),
    _gpu("T4", 16, 320, (8.1, None, 65, None), (7, 5), "NVIDIA data sheet, T4; 70 W, sustains about half"),
    _gpu(
        "RTX 6000", 24, 672, (16.3, None, 130.5, None), (7, 5), "NVIDIA data sheet, Quadro RTX 6000 (Turing)"
    ),
    _gpu("A10G", 24, 600, (31.5, 35, 70, 70), (8, 6), "NVIDIA figures for the A10G as AWS rents it"),
    _gpu("A10", 24, 600, (31.2, 62.5, 125, 125), (8, 6), "NVIDIA data sheet, A10; 150 W"),
    _gpu("A40", 48, 696, (37.4, 75, 150, 150), (8, 6), "NVIDIA data sheet, A40"),
    _gpu("A6000", 48, 768, (38.7, 77, 155, 155), (8, 6), "NVIDIA data sheet, RTX A6000"),
    _gpu("RTX 3090", 24, 936, (35.6, 36, 71, 71), (8, 6), "NVIDIA white paper, Ampere GA102"),
    _gpu("A100 40GB", 40, 1555, (19.5, 156, 312, 312), (8, 0), "NVIDIA data sheet, A100"),
    _gpu("A100 PCIE 80GB", 80, 1935, (19.5, 156, 312, 312), (8, 0), "NVIDIA data sheet, A100"),
    _gpu("A100 SXM 80GB", 80, 2039, (19.5, 156, 312, 312), (8, 0), "NVIDIA data sheet, A100"),
    _gpu("L4", 24, 300, (30.3, 60, 121, 121), (8, 9), "NVIDIA data sheet, L4; 72 W"),
    _gpu("L40S", 48, 864, (91.6, 183, 362, 362), (8, 9), "NVIDIA data sheet, L40S"),
    _gpu("RTX 4090", 24, 1008, (82.6, 83, 165, 165), (8, 9), "NVIDIA white paper, Ada"),
    _gpu("H100 PCIE", 80, 2000, (51.0, 378, 756, 756), (9, 0), "NVIDIA data sheet, H100"),
    _gpu("H100 SXM", 80, 3350, (67.0, 495, 989, 989), (9, 0), "NVIDIA data sheet, H100"),
    _gpu("H100 NVL", 94, 3900, (60.0, 418, 835, 835), (9, 0), "NVIDIA data sheet, H100 NVL"),
    _gpu("GH200", 96, 4000, (67.0, 495, 989, 989), (9, 0), "NVIDIA data sheet, GH200 with HBM3; ARM host"),
    _gpu("H200", 141, 4800, (67.0, 495, 989, 989), (9, 0), "NVIDIA data sheet, H200"),
    _gpu("RTX 5090", 32, 1792, (105.0, 105, 210, 210), (12, 0), "NVIDIA white paper, Blackwell RTX"),
    _gpu("B200", 180, 8000, (75.0, 1100, 2250, 2250), (10, 0), "NVIDIA data sheet, B200"),
)
"""Oldest generation first."""
