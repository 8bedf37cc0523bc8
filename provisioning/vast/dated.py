"""What Vast's market typically asks, without an account: one machine of each common GPU, from the dated table."""

from __future__ import annotations

import csv
from datetime import datetime, timezone
from importlib import resources
from typing import TYPE_CHECKING

from provisioning.models import Offer
from provisioning.vast.convert import BID_INTERRUPTIONS_PER_HOUR, PROVIDER
from provisioning.vast.gpus import type_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["offers"]

ANYWHERE = "anywhere"
DISK_USD_PER_GIB_MONTH = 0.15
TRAFFIC_USD_PER_GIB = 0.01
"""Both ways; hosts ask for nothing up to twice as much."""


def offers() -> Iterator[Offer]:
    """Yield a typical machine per GPU and market; which host it is only the market knows."""
    text = resources.files("provisioning.vast").joinpath("typical.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        spot = row["market"] == "spot"
        unread = "" if row["evidence"] == "read" else ", not read again since"
        yield Offer(
            provider=PROVIDER,
            instance_type=type_name(row["gpu"], 1),
            location=ANYWHERE,
            region=ANYWHERE,
            spot=spot,
            usd_per_hour=float(row["usd_per_hour"]),
            priced_at=datetime.fromisoformat(row["as_of"]).replace(tzinfo=timezone.utc),
            price_source=f"typical of Vast's market, {row['as_of']}{unread}",
            gpu_name=row["gpu"],
            gpu_count=1,
            gpu_memory_gib=float(row["gpu_memory_gib"]),
            vcpus=float(row["vcpus"]),
            memory_gib=float(row["memory_gib"]),
            disk_usd_per_gib_month=DISK_USD_PER_GIB_MONTH,
            ingress_usd_per_gib=TRAFFIC_USD_PER_GIB,
            egress_usd_per_gib=TRAFFIC_USD_PER_GIB,
            interruptions_per_hour=BID_INTERRUPTIONS_PER_HOUR if spot else 0.0,
            notes=("interruptions: nothing is published of bids, planned as one in 12 h",) if spot else (),
        )
