"""What a machine type has, which GPUs can be attached to it, and whether we can serve it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from provisioning import catalog

__all__ = [
    "CPU_TYPES",
    "GPUS",
    "GPU_FAMILIES",
    "Gpu",
    "Hardware",
    "attachable",
    "disk_type",
    "family_of",
    "fits",
    "gpu_of",
    "read_hardware",
    "refusal",
    "type_filter",
    "with_gpu",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One kind of accelerator. The API does not say how much memory it has."""

    name: str
    memory_gib: float
    limits: Mapping[int, tuple[int, float]] | None = None
    """For those that are attached to N1: number of GPUs → the most vCPUs and GB of memory beside them."""


def _limits(**counts: tuple[int, float]) -> Mapping[int, tuple[int, float]]:
    return MappingProxyType({int(name[1:]): most for name, most in counts.items()})


GPUS = MappingProxyType(
    {
        "nvidia-tesla-t4": Gpu(
            name="T4", memory_gib=16, limits=_limits(n1=(48, 312), n2=(48, 312), n4=(96, 624))
        ),
        "nvidia-tesla-v100": Gpu(
            name="V100",
            memory_gib=16,
            limits=_limits(n1=(12, 78), n2=(24, 156), n4=(48, 312), n8=(96, 624)),
        ),
        "nvidia-tesla-p100": Gpu(
            name="P100", memory_gib=16, limits=_limits(n1=(16, 104), n2=(32, 208), n4=(64, 208))
        ),
        "nvidia-tesla-p4": Gpu(
            name="P4", memory_gib=8, limits=_limits(n1=(24, 156), n2=(48, 312), n4=(96, 624))
        ),
        "nvidia-l4": Gpu(name="L4", memory_gib=24),
        "nvidia-tesla-a100": Gpu(name="A100", memory_gib=40),
        "nvidia-a100-80gb": Gpu(name="A100", memory_gib=80),
        "nvidia-h100-80gb": Gpu(name="H100", memory_gib=80),
        "nvidia-h100-mega-80gb": Gpu(name="H100", memory_gib=80),
        "nvidia-h200-141gb": Gpu(name="H200", memory_gib=141),
        "nvidia-b200": Gpu(name="B200", memory_gib=180),
        "nvidia-rtx-pro-6000": Gpu(name="RTX PRO 6000", memory_gib=96),
    }
)
"""By accelerator type."""

GPU_FAMILIES = ("g2", "a2", "a3", "a4", "g4")
"""Machine types with GPUs built in, on x86_64."""
CPU_TYPES = (
    "e2-small",
    "e2-medium",
    "e2-standard-2",
    "e2-standard-4",
    "e2-standard-8",
    "e2-standard-16",
    "n1-standard-4",
    "n1-standard-8",
    "n1-standard-16",
    "n1-standard-32",
)
"""Offered when none is named. GPUs are attached to the N1 among them; any other type can be named."""
_HYPERDISK_ONLY = re.compile(r"a4-|g4-|a3-ultragpu-|n4-|c4-")
_REFUSED = (
    (
        re.compile(r"a4x-|c4a-|t2a-|n4a-"),
        "its processor is Arm, and only x86_64 machines are offered",
    ),
    (re.compile(r"ct\d"), "its accelerators are TPUs"),
    (re.compile(r"f1-|g1-"), "it is too small to run anything"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One machine type, perhaps with GPUs attached; the same in all zones that have it."""

    machine_type: str
    vcpus: int
    memory_gib: float
    accelerator: str | None = None
    """``nvidia-tesla-t4``."""
    gpu_count: int = 0
    is_attached: bool = False
    """The GPUs are asked for beside the type; else they are part of it."""
    has_local_ssd: bool = False
    """Disks of the host, which cannot outlive a stop."""
    architecture: str = "X86_64"

    @property
    def gpu(self) -> Gpu | None:
        """The kind of its GPUs, where we know it."""
        return GPUS.get(self.accelerator) if self.accelerator else None


def family_of(machine_type: str) -> str:
    """Return ``n1`` for ``n1-standard-4``."""
    return machine_type.partition("-")[0]


def read_hardware(answer: Mapping[str, Any]) -> Hardware:
    """Turn one machine type of the API into our words; memory comes in MiB."""
    built_in = (answer.get("accelerators") or [{}])[0]
    return Hardware(
        machine_type=str(answer["name"]),
        vcpus=int(answer["guestCpus"]),
        memory_gib=float(answer["memoryMb"]) / 1024.0,
        accelerator=built_in.get("guestAcceleratorType"),
        gpu_count=int(built_in.get("guestAcceleratorCount") or 0),
        has_local_ssd=bool(answer.get("bundledLocalSsds")),
        architecture=str(answer.get("architecture") or "X86_64"),
    )


def refusal(machine_type: str, hardware: Hardware | None = None) -> str | None:
    """Say why a type is not offered, or None when it is."""
    for pattern, reason in _REFUSED:
        if pattern.match(machine_type):
            return reason
    if hardware is None:
        return None
    if hardware.architecture != "X86_64":
        return f"its processor is {hardware.architecture}, and only x86_64 machines are offered"
    if hardware.accelerator and hardware.gpu is None:
        return f"its accelerator {hardware.accelerator} is not known to this version"
    return None


def fits(hardware: Hardware, accelerator: str, count: int) -> bool:
    """Whether so many GPUs can be attached to a machine of this size."""
    limits = GPUS[accelerator].limits
    if limits is None or count not in limits or family_of(hardware.machine_type) != "n1":
        return False
    most_vcpus, most_gb = limits[count]
    return hardware.vcpus <= most_vcpus and hardware.memory_gib <= most_gb


def with_gpu(hardware: Hardware, accelerator: str, count: int) -> Hardware:
    """Return the machine with GPUs attached."""
    return replace(hardware, accelerator=accelerator, gpu_count=count, is_attached=True)


def attachable(gpu_name: str | None) -> tuple[str, ...]:
    """Return the accelerator types that a GPU's name may mean and that are attached to N1; all for None."""
    return tuple(
        accelerator
        for accelerator, gpu in GPUS.items()
        if gpu.limits is not None
        and (gpu_name is None or catalog.same_gpu(gpu_name, gpu.name, gpu.memory_gib))
    )


def gpu_of(hardware: Hardware, gpu_name: str | None, count: int) -> Hardware:
    """Return the machine that an offer speaks of: the type, with the offer's GPUs where they are not built in.

    Raises:
        ValueError: this type does not come with such GPUs.
    """
    if gpu_name is None or hardware.accelerator:
        return hardware
    for accelerator in attachable(gpu_name):
        if fits(hardware, accelerator, count):
            return with_gpu(hardware, accelerator, count)
    raise ValueError(f"{count} × {gpu_name} cannot be attached to {hardware.machine_type}")


def disk_type(machine_type: str) -> str:
    """Return the kind of boot disk: the newest machines take no other than Hyperdisk."""
    return "hyperdisk-balanced" if _HYPERDISK_ONLY.match(machine_type) else "pd-balanced"


def type_filter(machine_type: str | None = None) -> str:
    """Return the filter of machine types to look for: the one that is named, or what is offered."""
    wanted = re.escape(machine_type) if machine_type else "|".join((*CPU_TYPES, "(g2|a2|a3|a4|g4)-.*"))
    return f'name eq "{wanted}"'
