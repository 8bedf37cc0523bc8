"""What Google Cloud costs: parts of machines, summed up. From the Cloud Billing catalog, or from the dated table that
ships with the product. Pure but for reading that table.

A machine has no price of its own: it is so many vCPUs, so much memory and so many GPUs of a family in a region, each
with a price on demand and another for Spot.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from provisioning.gcp.hardware import family_of
from provisioning.prices import Price

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioning.gcp.hardware import Hardware

__all__ = [
    "COMPUTE_SERVICE",
    "DISK_USD_PER_GIB_MONTH",
    "EGRESS_USD_PER_GIB",
    "MEAN_HOURS_OF_SPOT",
    "Part",
    "ipv4_usd_per_hour",
    "price_of",
    "read_skus",
    "table",
]

COMPUTE_SERVICE = "6F81-5844-456A"
"""Compute Engine in the billing catalog."""

# us-central1, list prices; other regions differ by some ten percent.
DISK_USD_PER_GIB_MONTH = 0.10
"""pd-balanced."""
EGRESS_USD_PER_GIB = 0.12
"""To the internet, premium tier, first TiB of a month."""
MEAN_HOURS_OF_SPOT = 24.0
"""Between two interruptions of a Spot machine, as we plan: Google publishes no figure. Replaced by a user's own record."""

_BILLED_VCPUS = {"e2-micro": 0.25, "e2-small": 0.5, "e2-medium": 1.0}
"""Types that share a core: fewer are billed than the machine sees."""

_HOST = re.compile(
    r"(?:Spot Preemptible )?(?P<family>N1|E2|G2|G4|A2|A3|A4)"
    r"(?: Predefined)? Instance (?P<part>Core|Ram) running in "
)
_GPU = re.compile(
    r"Nvidia (?:Tesla )?(?P<model>.+?) GPU (?:attached to Spot Preemptible VMs )?running in ", re.IGNORECASE
)
_ACCELERATORS = {
    "t4": "nvidia-tesla-t4",
    "v100": "nvidia-tesla-v100",
    "p100": "nvidia-tesla-p100",
    "p4": "nvidia-tesla-p4",
    "l4": "nvidia-l4",
    "a100": "nvidia-tesla-a100",
    "a100 80gb": "nvidia-a100-80gb",
    "h100 80gb": "nvidia-h100-80gb",
    "h100 80gb mega": "nvidia-h100-mega-80gb",
    "h200 141gb": "nvidia-h200-141gb",
    "b200": "nvidia-b200",
}
_MARKETS = {"OnDemand": False, "Preemptible": True}


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that has a price: ``n1-core`` (per vCPU), ``n1-ram`` (per GiB), ``nvidia-tesla-t4`` (each)."""

    name: str
    region: str
    spot: bool


def ipv4_usd_per_hour(*, spot: bool) -> float:
    """Return the price of an external address in use."""
    return 0.0025 if spot else 0.005


def price_of(hardware: Hardware, region: str, *, spot: bool, parts: Mapping[Part, Price]) -> Price | None:
    """Return the price of a whole machine; None where one of its parts has no known price.

    It is as old as the oldest of its parts.
    """
    family = family_of(hardware.machine_type)
    vcpus = _BILLED_VCPUS.get(hardware.machine_type, float(hardware.vcpus))
    needed = [(f"{family}-core", vcpus), (f"{family}-ram", hardware.memory_gib)]
    if hardware.accelerator:
        needed.append((hardware.accelerator, float(hardware.gpu_count)))
    found = [(parts.get(Part(name, region, spot)), amount) for name, amount in needed]
    known = [(price, amount) for price, amount in found if price is not None]
    if len(known) < len(found):
        return None
    oldest = min((price for price, _ in known), key=lambda price: price.at)
    remembered = next((price for price, _ in known if "not read again" in price.source), oldest)
    usd = sum(price.usd_per_hour * amount for price, amount in known)
    return Price(usd, oldest.at, remembered.source)


def read_skus(skus: Iterable[Mapping[str, Any]], now: datetime) -> dict[Part, Price]:
    """Read the prices of machine parts out of the billing catalog; what is not one of them is left out.

    A price is ``units`` (text) and ``nanos``; of tiers the dearest counts, since the first may be a free one.
    """
    found: dict[Part, Price] = {}
    for sku in skus:
        name = _part_name(str(sku.get("description", "")))
        market = _MARKETS.get(str((sku.get("category") or {}).get("usageType")))
        usd = _usd(sku)
        if name is None or market is None or usd <= 0.0:
            continue
        for region in sku.get("serviceRegions") or ():
            found[Part(name, str(region), market)] = Price(usd, now, "Cloud Billing catalog")
    return found


@cache
def table() -> Mapping[Part, Price]:
    """Return the prices that ship with the product."""
    rows = {}
    text = resources.files("provisioning.gcp").joinpath("prices.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        at = datetime.fromisoformat(row["as_of"]).replace(tzinfo=timezone.utc)
        unread = "" if row["evidence"] == "read" else ", not read again since"
        price = Price(float(row["usd_per_hour"]), at, f"table of {row['as_of']}{unread}")
        for region in row["regions"].split():
            rows[Part(row["part"], region, row["market"] == "spot")] = price
    return rows


def _part_name(description: str) -> str | None:
    if host := _HOST.match(description):
        return f"{host['family'].lower()}-{host['part'].lower()}"
    if gpu := _GPU.match(description):
        return _ACCELERATORS.get(gpu["model"].lower())
    return None


def _usd(sku: Mapping[str, Any]) -> float:
    pricing = sku.get("pricingInfo") or [{}]
    rates = (pricing[0].get("pricingExpression") or {}).get("tieredRates") or []
    prices = [rate.get("unitPrice") or {} for rate in rates]
    return max(
        (float(price.get("units") or 0) + float(price.get("nanos") or 0) / 1e9 for price in prices),
        default=0.0,
    )
