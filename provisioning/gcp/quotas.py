"""How many GPUs a project may have: new ones may have none. Pure: what the API tells of its quotas goes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioning.errors import QuotaExceeded
from provisioning.models import Remark

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioning.gcp.hardware import Hardware

__all__ = ["PAGE", "gpu_quota", "metric_of", "refuse_over_quota"]

PAGE = "https://console.cloud.google.com/iam-admin/quotas"
EVERYWHERE = "GPUS_ALL_REGIONS"
_METRICS = {
    "nvidia-tesla-t4": "NVIDIA_T4_GPUS",
    "nvidia-tesla-v100": "NVIDIA_V100_GPUS",
    "nvidia-tesla-p100": "NVIDIA_P100_GPUS",
    "nvidia-tesla-p4": "NVIDIA_P4_GPUS",
    "nvidia-l4": "NVIDIA_L4_GPUS",
    "nvidia-tesla-a100": "NVIDIA_A100_GPUS",
    "nvidia-a100-80gb": "NVIDIA_A100_80GB_GPUS",
}
"""Those of the newest GPUs are not among what a region tells of its quotas."""


def metric_of(accelerator: str, *, spot: bool) -> str | None:
    """Return the regional quota that a GPU counts against; None where no region tells it."""
    metric = _METRICS.get(accelerator)
    return f"PREEMPTIBLE_{metric}" if metric and spot else metric


def limit_of(quotas: Iterable[Mapping[str, Any]], metric: str) -> tuple[float, float] | None:
    """Return limit and usage of a quota; None where it is not told."""
    for quota in quotas:
        if quota.get("metric") == metric:
            return float(quota.get("limit") or 0.0), float(quota.get("usage") or 0.0)
    return None


def refuse_over_quota(
    hardware: Hardware,
    region: str,
    *,
    spot: bool,
    of_project: Iterable[Mapping[str, Any]],
    of_region: Iterable[Mapping[str, Any]],
) -> None:
    """Raise `QuotaExceeded` where a limit is smaller than the machine, whatever else runs; silent where none is told."""
    known = limit_of(of_project, EVERYWHERE)
    if known is not None and known[0] < hardware.gpu_count:
        raise QuotaExceeded(
            f"gcp: the quota {EVERYWHERE}, which counts in every region, is {known[0]:g}, and"
            f" {hardware.machine_type} has {hardware.gpu_count} GPUs",
            hint=f"no other region helps: raise {EVERYWHERE} at {PAGE} (new projects have 0)",
        )
    metric = metric_of(hardware.accelerator or "", spot=spot)
    known = limit_of(of_region, metric) if metric else None
    if known is not None and known[0] < hardware.gpu_count:
        raise QuotaExceeded(
            f"gcp {region}: the quota {metric} is {known[0]:g}, and {hardware.machine_type} has"
            f" {hardware.gpu_count} GPUs",
            hint=f"another region has its own; raise {metric} at {PAGE}",
        )


def gpu_quota(project: Mapping[str, Any]) -> Remark:
    """Say what ``projects.get`` tells of the quota that counts in every region."""
    known = limit_of(project.get("quotas") or (), EVERYWHERE)
    if known is None:
        return Remark(text=f"the project does not say its quota {EVERYWHERE}")
    words = f"the quota {EVERYWHERE} is {known[0]:g}, {known[1]:g} in use"
    if known[0] >= 1.0:
        return Remark(text=words)
    return Remark(text=f"{words}: no GPU can be rented in any region", fix=f"raise it at {PAGE}")
