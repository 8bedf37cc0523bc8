"""How many GPUs a project may have: new ones may have none. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioning.models import Remark

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PAGE", "gpu_quota"]

PAGE = "https://console.cloud.google.com/iam-admin/quotas"
_METRIC = "GPUS_ALL_REGIONS"


def gpu_quota(project: Mapping[str, Any]) -> Remark:
    """Say what ``projects.get`` tells of the quota that counts in every region."""
    for quota in project.get("quotas") or ():
        if quota.get("metric") == _METRIC:
            limit, usage = float(quota.get("limit") or 0.0), float(quota.get("usage") or 0.0)
            words = f"the quota {_METRIC} is {limit:g}, {usage:g} in use"
            if limit >= 1.0:
                return Remark(text=words)
            return Remark(text=f"{words}: no GPU can be rented in any region", fix=f"raise it at {PAGE}")
    return Remark(text=f"the project does not say its quota {_METRIC}")
