"""Which vCPU quota a machine counts against: new accounts have 0 of most. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from provisioning.aws.hardware import family_of

__all__ = ["Quota", "quota_of"]


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of EC2, counted in vCPUs per region."""

    name: str
    code: str

    def page(self, region: str) -> str:
        """Return the page of the console where it can be raised."""
        return (
            f"https://{region}.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/{self.code}"
            f"?region={region}"
        )


_G = (
    Quota("Running On-Demand G and VT instances", "L-DB2E81BA"),
    Quota("All G and VT Spot Instance Requests", "L-3819A6DF"),
)
_P = (
    Quota("Running On-Demand P instances", "L-417A185B"),
    Quota("All P4, P3 and P2 Spot Instance Requests", "L-7212CCBC"),
)
_P5_SPOT = Quota("All P5 Spot Instance Requests", "L-C4BD4855")
_STANDARD = (
    Quota("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "L-1216C47A"),
    Quota("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "L-34B43A08"),
)


def quota_of(instance_type: str, *, spot: bool) -> Quota:
    """Return the quota that a machine of this type uses up."""
    family = family_of(instance_type)
    if family.startswith("p5") and spot:
        return _P5_SPOT
    pair = _G if family.startswith(("g", "vt")) else _P if family.startswith("p") else _STANDARD
    return pair[1 if spot else 0]
