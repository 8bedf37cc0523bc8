"""A price, with where and when it was read, and what follows when it is no longer the one that was quoted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioning.errors import PriceRose

if TYPE_CHECKING:
    from datetime import datetime

    from provisioning.models import InstanceSpec, Offer

__all__ = ["Price", "refuse_dearer"]


@dataclass(frozen=True, slots=True)
class Price:
    """USD per hour for one machine, or one part of it, and where and when that was read."""

    usd_per_hour: float
    at: datetime
    source: str


def refuse_dearer(offer: Offer, spec: InstanceSpec, now: Price | None) -> None:
    """Raise `PriceRose` where a machine costs more now than was quoted or allowed; None: nobody says."""
    allowed = max(offer.usd_per_hour, spec.max_usd_per_hour or 0.0)
    if now is None or now.usd_per_hour <= allowed * 1.000001:
        return
    raise PriceRose(
        f"{offer.provider} {offer.zone or offer.region}: {offer.instance_type} now costs"
        f" ${now.usd_per_hour:.4g}/h, ${offer.usd_per_hour:.4g}/h was quoted",
        quoted_usd_per_hour=offer.usd_per_hour,
        asked_usd_per_hour=now.usd_per_hour,
    )
