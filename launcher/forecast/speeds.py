"""How fast training is on one kind of hardware compared with another: facts, one formula, and its doubts. Pure.

The facts are the vendors' data sheets: dense half-precision tensor TFLOPS with 32-bit accumulation (plain half or
single precision where there are no tensor cores), memory bandwidth, and the boost clock. Peaks alone mislead: a step of
a recurrent network is a chain of small operations that wait for each other, and what each of them takes follows the
clock and not the width of the chip. So a step is taken as a mix of three parts, and the answer is a range. A measured
rate always wins over this table (`launcher.forecast.throughput`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from launcher.forecast.ranges import Range
from provisioning.catalog import parse_gpu

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = [
    "Speed",
    "cpu_speed",
    "gpu_speed",
    "hardware_words",
    "known_gpus",
    "speed_of",
    "speed_on",
    "speed_ratio",
]


@dataclass(frozen=True, slots=True)
class Speed:
    """What bounds training on one device."""

    tflops: float
    bandwidth_gb_s: float
    clock_ghz: float
    """Boost clock: what bounds operations that wait for each other."""


_GPUS = MappingProxyType(
    {
        # TFLOPS, GB/s, GHz. A T4 is held back by its 70 W: about half of its 65 TFLOPS is sustained.
        "T4": Speed(32.0, 320.0, 1.59),
        "P100": Speed(19.0, 732.0, 1.33),
        "V100": Speed(120.0, 900.0, 1.53),
        "A10G": Speed(70.0, 600.0, 1.71),
        "A10": Speed(125.0, 600.0, 1.7),
        "L4": Speed(121.0, 300.0, 2.04),
        "L40": Speed(181.0, 864.0, 2.49),
        "L40S": Speed(362.0, 864.0, 2.52),
        "A6000": Speed(155.0, 768.0, 1.8),
        "A40": Speed(150.0, 696.0, 1.74),
        "A100": Speed(312.0, 1555.0, 1.41),
        "A100 80GB": Speed(312.0, 1985.0, 1.41),
        "H100": Speed(989.0, 3350.0, 1.98),
        "H100 PCIE": Speed(756.0, 2000.0, 1.76),
        "H100 NVL": Speed(835.0, 3900.0, 1.79),
        "GH200": Speed(989.0, 4000.0, 1.98),
        "H200": Speed(989.0, 4800.0, 1.98),
        "RTX 6000": Speed(130.0, 672.0, 1.77),
        "RTX 3090": Speed(71.0, 936.0, 1.7),
        "RTX 4090": Speed(165.0, 1008.0, 2.52),
        "RTX 5090": Speed(210.0, 1792.0, 2.41),
        "B200": Speed(2250.0, 8000.0, 1.97),
        "P4": Speed(5.5, 192.0, 1.06),
        "RTX PRO 6000": Speed(500.0, 1597.0, 2.4),
        "RTX 6000 ADA": Speed(364.0, 960.0, 2.51),
        "A5000": Speed(111.0, 768.0, 1.7),
        "A4000": Speed(77.0, 448.0, 1.56),
        "RTX 3060": Speed(25.0, 360.0, 1.78),
        "RTX 3070": Speed(41.0, 448.0, 1.73),
        "RTX 3080": Speed(60.0, 760.0, 1.71),
        "RTX 3080 TI": Speed(68.0, 912.0, 1.67),
        "RTX 3090 TI": Speed(80.0, 1008.0, 1.86),
        "RTX 4060 TI": Speed(44.0, 288.0, 2.54),
        "RTX 4070": Speed(58.0, 504.0, 2.48),
        "RTX 4070 TI": Speed(80.0, 504.0, 2.61),
        "RTX 4080": Speed(97.0, 717.0, 2.51),
    }
)

_SHARES = ((0.1, 0.4, 0.5), (0.2, 0.5, 0.3), (0.35, 0.5, 0.15), (0.1, 0.65, 0.25))
"""Parts of a step that wait for each other, for memory, and for compute, from wide batches to recurrent networks."""
_LIKELY_SHARES = (0.2, 0.5, 0.3)
_DOUBT_LOW, _DOUBT_HIGH = 0.65, 1.45
"""What the formula leaves out (drivers, data loading, heat), as factors on the ratio of speeds."""

_CPU_TFLOPS_PER_CORE = 0.05
_CPU_GB_S_PER_CORE = 10.0
_CPU_GB_S_MOST = 200.0
_CPU_GHZ = 0.25
"""As a GPU's clock that does as well: a chain of small operations is no faster on a CPU, which has fewer units for each."""


def gpu_speed(name: str, memory_gib: float = 0.0) -> Speed | None:
    """Look a GPU up, however it is spelt; None when the table does not have it."""
    gpu = parse_gpu(name)
    memory = memory_gib or gpu.memory_gib or 0.0
    if gpu.model == "A100" and memory > 60:
        return _GPUS["A100 80GB"]
    if gpu.form and f"{gpu.model} {gpu.form}" in _GPUS:
        return _GPUS[f"{gpu.model} {gpu.form}"]
    return _GPUS.get(gpu.model)


def known_gpus() -> tuple[str, ...]:
    """Return the names of the table."""
    return tuple(_GPUS)


def cpu_speed(cores: float) -> Speed:
    """Estimate a CPU by its cores; the widest guess of all."""
    cores = max(cores, 1.0)
    return Speed(_CPU_TFLOPS_PER_CORE * cores, min(_CPU_GB_S_PER_CORE * cores, _CPU_GB_S_MOST), _CPU_GHZ)


def speed_of(offer: Offer) -> Speed | None:
    """Return the speed of an offer's GPU (one of them), or of its CPU when it has none."""
    return speed_on(offer.gpu_name, offer.vcpus, offer.gpu_memory_gib)


def speed_on(gpu_name: str | None, vcpus: float, gpu_memory_gib: float = 0.0) -> Speed | None:
    """Return the speed of hardware by what is on record of it: of its GPU, or of its CPU when it has none."""
    return cpu_speed(vcpus) if gpu_name is None else gpu_speed(gpu_name, gpu_memory_gib)


def speed_ratio(wanted: Speed, known: Speed) -> Range:
    """How many times as fast as on ``known`` training is expected to be on ``wanted``; exactly 1 for the same."""
    if wanted == known:
        return Range.exactly(1.0)
    ratios = [_ratio(wanted, known, shares) for shares in _SHARES]
    likely = _ratio(wanted, known, _LIKELY_SHARES)
    return Range(min(ratios), likely, max(ratios)).spread(_DOUBT_LOW, _DOUBT_HIGH)


def _ratio(wanted: Speed, known: Speed, shares: tuple[float, float, float]) -> float:
    waits, memory, compute = shares
    return 1.0 / (
        waits * known.clock_ghz / wanted.clock_ghz
        + memory * known.bandwidth_gb_s / wanted.bandwidth_gb_s
        + compute * known.tflops / wanted.tflops
    )


def hardware_words(offer: Offer) -> str:
    """Name what trains: ``T4``, or ``4 CPU cores``."""
    if offer.gpu_name is not None:
        return str(parse_gpu(offer.gpu_name))
    return f"{offer.vcpus:g} CPU cores"
