"""Makes the price tables that ship, ``prices.csv`` and ``spot.csv``, of what was read (``readings.csv``):

    python -m provisioning.aws.table                        of what stands there
    python -m provisioning.aws.table us-east-1 eu-west-1    asks AWS for these regions first, with your own credentials

AWS is asked for list prices (Pricing API) and for the spot prices of all zones now. What it does not say stays as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.aws import prices
from provisioning.aws.client import client_for
from provisioning.aws.hardware import CPU_TYPES, GPU_FAMILIES, family_of
from provisioning.aws.market import spot_prices
from provisioning.models import utc_now
from provisioning.readings import Reading, Source, table_rows, write_anew, write_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from provisioning.aws.client import Client

__all__ = ["fetched", "main", "tables"]

ABOUT_READINGS = (
    "What was read of EC2's prices: USD per hour, Linux, shared tenancy; spot as the range over a region's zones.",
    "prices.csv and spot.csv are made of it by: python -m provisioning.aws.table",
    "Read anew from AWS, and the tables with it, by: python -m provisioning.aws.table REGION...",
)
_MADE = "Made of readings.csv, where the sources stand, by: python -m provisioning.aws.table"
ABOUT = {
    "prices.csv": (
        "On-demand prices in USD per hour (Linux, shared tenancy), AWS list prices. Used where the Pricing API may not be asked.",
        "evidence: read = read from AWS or a public copy of its list; remembered = a long-standing list price, not read again.",
        _MADE,
    ),
    "spot.csv": (
        "Typical spot prices in USD per hour, the middle of what the zones of a region asked; they move by the hour.",
        "evidence: read = read from the spot price history or a public copy; remembered = as quoted elsewhere, not read again.",
        _MADE,
    ),
}
MARKETS = {"prices.csv": "on-demand", "spot.csv": "spot"}
COLUMNS = ("instance_type", "region", "usd_per_hour", "as_of", "evidence")
PRICING_REGION = "us-east-1"


def tables(readings: Sequence[Reading]) -> dict[str, str]:
    """Return the text of each table that is made of readings."""
    rows = list(table_rows(readings))
    return {
        name: write_table(
            ABOUT[name],
            COLUMNS,
            [
                (row.item, row.place, f"{row.usd_per_hour:.8g}", row.as_of, row.evidence)
                for row in rows
                if row.market == market
            ],
        )
        for name, market in MARKETS.items()
    }


def fetched(client: Client, region: str, now: datetime) -> list[Reading]:
    """Ask for the prices of all machines that we offer in a region, on demand and spot."""
    asked = client.price_list(PRICING_REGION, prices.price_filters(region, instanceFamily="GPU instance"))
    found = prices.listed_prices(asked, now)
    for name in CPU_TYPES:
        asked = client.price_list(PRICING_REGION, prices.price_filters(region, instanceType=name))
        found |= prices.listed_prices(asked, now)
    ours = {
        name: price for name, price in found.items() if name in CPU_TYPES or family_of(name) in GPU_FAMILIES
    }
    listed = _source("price-list", now, "AWS Pricing API, GetProducts")
    readings = [
        Reading(
            item=name,
            places=(region,),
            market="on-demand",
            low_usd=price.usd_per_hour,
            high_usd=price.usd_per_hour,
            source=listed,
        )
        for name, price in ours.items()
    ]
    return readings + _spot(client, region, sorted(ours), now)


def _spot(client: Client, region: str, names: Sequence[str], now: datetime) -> list[Reading]:
    asked = spot_prices(client, region, names, now) if names else {}
    by_type: dict[str, list[float]] = {}
    for (name, _), price in asked.items():
        by_type.setdefault(name, []).append(price.usd_per_hour)
    source = _source("spot-history", now, "EC2 DescribeSpotPriceHistory, the newest price of each zone")
    return [
        Reading(
            item=name,
            places=(region,),
            market="spot",
            low_usd=min(usd),
            high_usd=max(usd),
            source=source,
        )
        for name, usd in by_type.items()
    ]


def _source(name: str, now: datetime, citation: str) -> Source:
    return Source(name=f"{name}-{now:%Y-%m-%d}", day=now.date(), evidence="read", citation=citation)


def main(regions: Sequence[str], environ: Mapping[str, str], folder: Path) -> int:
    """Write the tables in ``folder``; with ``regions`` read those from AWS first. Returns as `write_anew` does."""
    client, now = client_for(environ, None), utc_now()

    def ask() -> list[Reading]:
        return [reading for region in regions for reading in fetched(client, region, now)]

    return write_anew(folder, ABOUT_READINGS, tables, ask if regions else None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, Path(__file__).parent))
