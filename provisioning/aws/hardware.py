"""What an instance type has, and whether we can serve it. Pure: DescribeInstanceTypes answers go in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CPU_TYPES", "GPU_FAMILIES", "Hardware", "family_of", "read_hardware", "refusal", "wanted_types"]

GPU_FAMILIES = (
    "g4dn",
    "g5",
    "g6",
    "g6e",
    "gr6",
    "g7",
    "g7e",
    "p4d",
    "p4de",
    "p5",
    "p5e",
    "p5en",
    "p6-b200",
    "p6-b300",
)
"""What the open NVIDIA driver of today's deep-learning images serves, on x86_64."""
CPU_TYPES = (
    "t3.small",
    "t3.medium",
    "t3.large",
    "t3.xlarge",
    "t3.2xlarge",
    "m6i.xlarge",
    "m6i.2xlarge",
    "m6i.4xlarge",
    "c6i.4xlarge",
    "c6i.8xlarge",
)
"""Offered when no GPU is asked for; any other type can be named."""

_V100 = "its V100 needs a driver (R580 or older) that no current AWS image carries"
_OLD = "no current AWS image carries a driver for its GPU"
_REFUSED = {
    "p3": _V100,
    "p3dn": _V100,
    "p2": _OLD,
    "g2": _OLD,
    "g3": _OLD,
    "g3s": _OLD,
    "g4ad": "its AMD GPU has no deep-learning image with a ROCm driver",
    "dl1": "its accelerators are no GPUs",
    "dl2q": "its accelerators are no GPUs",
    "inf1": "its accelerators are no GPUs",
    "inf2": "its accelerators are no GPUs",
    "trn1": "its accelerators are no GPUs",
    "trn1n": "its accelerators are no GPUs",
    "trn2": "its accelerators are no GPUs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One instance type, the same in all regions that have it."""

    instance_type: str
    vcpus: int
    memory_gib: float
    architectures: tuple[str, ...]
    markets: tuple[str, ...]
    """``on-demand``, ``spot``, ``capacity-block``."""
    gpu_name: str | None = None
    gpu_count: int = 0
    gpu_memory_gib: float = 0.0
    gpu_maker: str = ""
    is_gpu_part: bool = False
    """It has less than one whole GPU."""


def family_of(instance_type: str) -> str:
    """Return ``g4dn`` for ``g4dn.xlarge``."""
    return instance_type.partition(".")[0]


def read_hardware(answer: Mapping[str, Any]) -> Hardware:
    """Turn one entry of ``InstanceTypes`` into our words; sizes come in MiB."""
    gpus = (answer.get("GpuInfo") or {}).get("Gpus") or []
    gpu = gpus[0] if gpus else {}
    count = int(gpu.get("Count") or 0)
    return Hardware(
        instance_type=answer["InstanceType"],
        vcpus=int(answer["VCpuInfo"]["DefaultVCpus"]),
        memory_gib=answer["MemoryInfo"]["SizeInMiB"] / 1024.0,
        architectures=tuple((answer.get("ProcessorInfo") or {}).get("SupportedArchitectures") or ("x86_64",)),
        markets=tuple(answer.get("SupportedUsageClasses") or ("on-demand", "spot")),
        gpu_name=gpu.get("Name") if count else None,
        gpu_count=count,
        gpu_memory_gib=(gpu.get("MemoryInfo") or {}).get("SizeInMiB", 0) / 1024.0 if count else 0.0,
        gpu_maker=str(gpu.get("Manufacturer") or ""),
        is_gpu_part=bool(gpu) and count == 0,
    )


def refusal(instance_type: str, hardware: Hardware | None = None) -> str | None:
    """Say why a type is not offered, or None when it is. Families that are gone are known by their name alone."""
    family = family_of(instance_type)
    if reason := _REFUSED.get(family):
        return reason
    if hardware is None:
        return None
    if "x86_64" not in hardware.architectures:
        return f"its processor is {' or '.join(hardware.architectures)}, and only x86_64 machines are offered"
    if hardware.is_gpu_part:
        return "it has a part of a GPU only"
    if hardware.gpu_name and hardware.gpu_maker.upper() != "NVIDIA":
        return f"its {hardware.gpu_maker} GPU has no deep-learning image"
    if hardware.gpu_name and family not in GPU_FAMILIES:
        return _OLD
    return None


def wanted_types(gpu_wanted: bool) -> tuple[str, ...]:
    """Return the patterns of the types to look for when none is named."""
    gpus = tuple(f"{family}.*" for family in GPU_FAMILIES)
    return gpus if gpu_wanted else (*gpus, *CPU_TYPES)


def is_type_name(text: str) -> bool:
    """Whether a text has the form of an instance type."""
    return re.fullmatch(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", text) is not None
