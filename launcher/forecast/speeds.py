"""How fast training is on one kind of hardware compared with another: facts, one formula, and its doubts. Pure.

The facts are the vendors' data sheets: dense half-precision tensor TFLOPS with 32-bit accumulation (plain half or
single precision where there are no tensor cores) and memory bandwidth. Peaks alone mislead: recurrent and small-batch
training is bound by bandwidth and launch overhead more than by tensor peak, so a step's time is taken as a mix of
both, and the answer is a range. A measured rate always wins over this table (`launcher.forecast.throughput`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from launcher.forecast.ranges import Range
from provisioning.catalog import parse_gpu

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = ["Speed", "cpu_speed", "gpu_speed", "hardware_words", "speed_of", "speed_ratio"]


@dataclass(frozen=True, slots=True)
class Speed:
    """What bounds training on one device."""

    tflops: float
    bandwidth_gb_s: float


_GPUS = MappingProxyType(
    {
        # A T4 is held back by its 70 W: about half of its 65 TFLOPS is sustained.
        "T4": Speed(32.0, 320.0),
        "P100": Speed(19.0, 732.0),
        "V100": Speed(120.0, 900.0),
        "A10G": Speed(70.0, 600.0),
        "A10": Speed(125.0, 600.0),
        "L4": Speed(121.0, 300.0),
        "L40": Speed(181.0, 864.0),
        "L40S": Speed(362.0, 864.0),
        "A6000": Speed(155.0, 768.0),
        "A40": Speed(150.0, 696.0),
        "A100": Speed(312.0, 1555.0),
        "A100 80GB": Speed(312.0, 1985.0),
        "H100": Speed(989.0, 3350.0),
        "H100 PCIE": Speed(756.0, 2000.0),
        "H100 NVL": Speed(835.0, 3900.0),
        "GH200": Speed(989.0, 4000.0),
        "H200": Speed(989.0, 4800.0),
        "RTX 6000": Speed(130.0, 672.0),
        "RTX 3090": Speed(71.0, 936.0),
        "RTX 4090": Speed(165.0, 1008.0),
        "RTX 5090": Speed(210.0, 1792.0),
        "B200": Speed(2250.0, 8000.0),
    }
)

_BANDWIDTH_WEIGHTS = (0.5, 0.65, 0.8)
"""Share of a step that scales with memory bandwidth rather than with compute: fewest, likely, most."""
_DOUBT_LOW, _DOUBT_HIGH = 0.65, 1.45
"""What the formula leaves out (launch overhead, data loading, clocks), as factors on the ratio of speeds."""

_CPU_TFLOPS_PER_CORE = 0.05
_CPU_GB_S_PER_CORE = 10.0
_CPU_GB_S_MOST = 200.0


def gpu_speed(name: str, memory_gib: float = 0.0) -> Speed | None:
    """Look a GPU up, however it is spelt; None when the table does not have it."""
    gpu = parse_gpu(name)
    memory = memory_gib or gpu.memory_gib or 0.0
    if gpu.model == "A100" and memory > 60:
        return _GPUS["A100 80GB"]
    if gpu.form and f"{gpu.model} {gpu.form}" in _GPUS:
        return _GPUS[f"{gpu.model} {gpu.form}"]
    return _GPUS.get(gpu.model)


def cpu_speed(cores: float) -> Speed:
    """Estimate a CPU by its cores; the widest guess of all."""
    cores = max(cores, 1.0)
    return Speed(_CPU_TFLOPS_PER_CORE * cores, min(_CPU_GB_S_PER_CORE * cores, _CPU_GB_S_MOST))


def speed_of(offer: Offer) -> Speed | None:
    """Return the speed of an offer's GPU (one of them), or of its CPU when it has none."""
    if offer.gpu_name is None:
        return cpu_speed(offer.vcpus)
    return gpu_speed(offer.gpu_name, offer.gpu_memory_gib)


def speed_ratio(wanted: Speed, known: Speed) -> Range:
    """How many times as fast as on ``known`` training is expected to be on ``wanted``; exactly 1 for the same."""
    if wanted == known:
        return Range.exactly(1.0)
    ratios = sorted(
        1.0
        / (
            weight * known.bandwidth_gb_s / wanted.bandwidth_gb_s
            + (1.0 - weight) * known.tflops / wanted.tflops
        )
        for weight in _BANDWIDTH_WEIGHTS
    )
    return Range(*ratios).spread(_DOUBT_LOW, _DOUBT_HIGH)


def hardware_words(offer: Offer) -> str:
    """Name what trains: ``T4``, or ``4 CPU cores``."""
    if offer.gpu_name is not None:
        return str(parse_gpu(offer.gpu_name))
    return f"{offer.vcpus:g} CPU cores"
