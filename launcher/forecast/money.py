"""What an instance costs over an interval, by the rates it was offered at. Pure.

Bills are additive: cutting an interval into pieces, at any moment, changes the sum by rounding alone. Prices come
from the offer that was stored at launch and are never looked up again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = [
    "GIB",
    "HOURS_PER_MONTH",
    "Bill",
    "Usage",
    "bill",
    "burn_usd_per_hour",
    "interval_s",
    "spent_usd",
    "total",
]

GIB = 1 << 30
HOURS_PER_MONTH = 730.0
"""The month that clouds divide their monthly prices by (365 × 24 / 12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used of one instance, by the quantities that providers charge for."""

    compute_s: float = 0.0
    """Seconds in which it ran; a stopped machine is not charged for compute."""
    disk_gib: float = 0.0
    disk_s: float = 0.0
    """Seconds in which its disk existed, running or not."""
    ipv4_s: float = 0.0
    ingress_bytes: int = 0
    egress_bytes: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0.0 <= getattr(self, field.name) < math.inf:
                raise ValueError(f"usage: {field.name} is {getattr(self, field.name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """US dollars, by what they were spent on."""

    compute: float = 0.0
    disk: float = 0.0
    ipv4: float = 0.0
    ingress: float = 0.0
    egress: float = 0.0

    @property
    def usd(self) -> float:
        """The sum of the lines."""
        return math.fsum((self.compute, self.disk, self.ipv4, self.ingress, self.egress))

    def __add__(self, other: Bill) -> Bill:
        return total((self, other))


def bill(offer: Offer, usage: Usage) -> Bill:
    """Price ``usage`` at the rates of ``offer``."""
    return Bill(
        compute=offer.usd_per_hour * usage.compute_s / 3600.0,
        disk=offer.disk_usd_per_gib_month * usage.disk_gib * usage.disk_s / 3600.0 / HOURS_PER_MONTH,
        ipv4=offer.ipv4_usd_per_hour * usage.ipv4_s / 3600.0,
        ingress=offer.ingress_usd_per_gib * usage.ingress_bytes / GIB,
        egress=offer.egress_usd_per_gib * usage.egress_bytes / GIB,
    )


def total(bills: Iterable[Bill]) -> Bill:
    """Add bills up: the pieces of an attempt, or the attempts of a run."""
    items = list(bills)
    return Bill(
        **{field.name: math.fsum(getattr(item, field.name) for item in items) for field in fields(Bill)}
    )


def burn_usd_per_hour(offer: Offer, *, disk_gib: float, running: bool = True) -> float:
    """What one more hour costs, traffic aside. A machine that is not ``running`` still pays for its disk."""
    hour = 3600.0 if running else 0.0
    return bill(offer, Usage(compute_s=hour, ipv4_s=hour, disk_gib=disk_gib, disk_s=3600.0)).usd


def interval_s(start: datetime, end: datetime) -> float:
    """Seconds from ``start`` to ``end``; 0 when a clock was set back in between, never a negative bill."""
    return max(0.0, (end - start).total_seconds())


def spent_usd(
    offer: Offer,
    start: datetime,
    end: datetime,
    *,
    disk_gib: float = 0.0,
    ingress_bytes: int = 0,
    egress_bytes: int = 0,
) -> float:
    """What a machine that ran from ``start`` to ``end`` has cost, in US dollars."""
    seconds = interval_s(start, end)
    usage = Usage(
        compute_s=seconds,
        ipv4_s=seconds,
        disk_gib=disk_gib,
        disk_s=seconds,
        ingress_bytes=ingress_bytes,
        egress_bytes=egress_bytes,
    )
    return bill(offer, usage).usd
