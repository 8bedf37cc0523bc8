"""What the fake cloud sells: instance types, places and prices, close to those of real clouds in 2026."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.models import Offer
from provisioning.options import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

__all__ = ["NOTICE_S", "REGIONS", "TYPES", "InstanceType", "all_zones", "everything", "find", "first_zone"]

PROVIDER = "fake"
NOTICE_S = 120.0
"""Promised between the announcement of an interruption and the end."""
DISK_USD_PER_GIB_MONTH = 0.08
IPV4_USD_PER_HOUR = 0.005
EGRESS_USD_PER_GIB = 0.09
LARGEST_DISK_GIB = 16384.0


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One row of the price list; prices are those of the first region."""

    gpu_name: str | None
    gpu_count: int
    gpu_memory_gib: float
    vcpus: float
    memory_gib: float
    usd_per_hour: float
    spot_usd_per_hour: float
    interruptions_per_hour: float
    """Of the spot form; the on-demand form is never taken away."""


TYPES = {
    "cpu.4x": InstanceType(None, 0, 0.0, 4, 16, 0.20, 0.07, 0.01),
    "t4.1x": InstanceType("T4", 1, 16.0, 4, 16, 0.53, 0.21, 0.02),
    "t4.4x": InstanceType("T4", 4, 16.0, 48, 192, 3.91, 1.60, 0.05),
    "l4.1x": InstanceType("L4", 1, 24.0, 4, 16, 0.80, 0.35, 0.05),
    "a10g.1x": InstanceType("A10G", 1, 24.0, 4, 16, 1.01, 0.46, 0.05),
    "rtx4090.1x": InstanceType("RTX 4090", 1, 24.0, 16, 64, 0.42, 0.24, 0.08),
    "a100.1x": InstanceType("A100", 1, 40.0, 12, 85, 3.84, 2.24, 0.04),
    "a100.8x": InstanceType("A100", 8, 40.0, 96, 1152, 21.96, 11.50, 0.08),
    "h100.1x": InstanceType("H100", 1, 80.0, 16, 256, 6.88, 2.95, 0.12),
}

REGIONS: dict[str, tuple[float, tuple[str, ...]]] = {
    "us-east": (1.00, ("us-east-a", "us-east-b", "us-east-c")),
    "eu-west": (1.10, ("eu-west-a", "eu-west-b")),
    "asia-north": (1.25, ("asia-north-a",)),
}
"""Region → price level against the first, and its zones."""

_ZONE_SPOT_LEVEL = {"a": 1.00, "b": 0.95, "c": 1.08}
"""Spot prices differ from zone to zone, on-demand prices only between regions."""


def everything(priced_at: datetime) -> Iterator[Offer]:
    """Yield every instance type in every zone, on demand and as spot, at its list price."""
    for instance_type in TYPES:
        for region, (_, zones) in REGIONS.items():
            for zone in zones:
                for spot in (False, True):
                    yield _offer(instance_type, region, zone, spot, priced_at)


def find(instance_type: str, zone: str, spot: bool, priced_at: datetime) -> Offer:
    """Return one offer at its list price; `BadOption` for a type or zone that does not exist."""
    if instance_type not in TYPES:
        raise did_you_mean("fake: instance type", instance_type, TYPES)
    for region, (_, zones) in REGIONS.items():
        if zone in zones:
            return _offer(instance_type, region, zone, spot, priced_at)
    raise did_you_mean("fake: zone", zone, all_zones())


def first_zone(region: str) -> str:
    """Return where a machine goes when no zone is named; `BadOption` for a region that does not exist."""
    if region not in REGIONS:
        raise did_you_mean("fake: region", region, REGIONS)
    return REGIONS[region][1][0]


def all_zones() -> tuple[str, ...]:
    """Return the zones of all regions."""
    return tuple(zone for _, zones in REGIONS.values() for zone in zones)


def _offer(instance_type: str, region: str, zone: str, spot: bool, priced_at: datetime) -> Offer:
    kind, (level, _) = TYPES[instance_type], REGIONS[region]
    if spot:
        usd_per_hour = kind.spot_usd_per_hour * level * _ZONE_SPOT_LEVEL[zone[-1]]
    else:
        usd_per_hour = kind.usd_per_hour * level
    return Offer(
        provider=PROVIDER,
        instance_type=instance_type,
        location=region,
        region=region,
        zone=zone,
        spot=spot,
        usd_per_hour=round(usd_per_hour, 4),
        priced_at=priced_at,
        price_source="fake cloud",
        gpu_name=kind.gpu_name,
        gpu_count=kind.gpu_count,
        gpu_memory_gib=kind.gpu_memory_gib,
        vcpus=kind.vcpus,
        memory_gib=kind.memory_gib,
        disk_gib=LARGEST_DISK_GIB,
        disk_usd_per_gib_month=DISK_USD_PER_GIB_MONTH,
        ipv4_usd_per_hour=IPV4_USD_PER_HOUR,
        egress_usd_per_gib=EGRESS_USD_PER_GIB,
        interruptions_per_hour=kind.interruptions_per_hour if spot else 0.0,
        notes=("a rehearsal: nothing is billed",),
    )
