"""Makes the price table that ships, ``prices.csv``, of what was read (``readings.csv``):

    python -m provisioning.gcp.table                          of what stands there
    python -m provisioning.gcp.table us-central1 us-east1     asks the Cloud Billing catalog for these regions first

What the catalog does not say stays as it is. Some readings are of whole hosts; the prices of their parts follow from them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.gcp import prices
from provisioning.gcp.client import Client
from provisioning.models import utc_now
from provisioning.readings import Reading, Source, TableRow, table_rows, write_anew, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

__all__ = ["fetched", "main", "tables"]

ABOUT_READINGS = (
    "What was read of Compute Engine's prices: USD per hour of a part (core per vCPU, ram per GiB, GPUs each) or a host.",
    "prices.csv is made of it by: python -m provisioning.gcp.table",
    "Read anew from the Cloud Billing catalog, and the table with it, by: python -m provisioning.gcp.table REGION...",
)
ABOUT = (
    "Prices in USD per hour of the parts of machines: core per vCPU, ram per GiB, an accelerator each.",
    "Used where the Cloud Billing catalog may not be asked.",
    "evidence: read = read from Google or a public copy of its list; remembered = a long-standing list price, not read again.",
    "core and ram of a2 follow from two hosts that were read. Those of a3 from one: their split is ours,",
    "their sum is exact for a3-highgpu alone.",
    "Made of readings.csv, where the sources stand, by: python -m provisioning.gcp.table",
)
COLUMNS = ("part", "regions", "market", "usd_per_hour", "as_of", "evidence")
_HOST = " host"
_A2 = (("a2-highgpu-1g", 12.0, 85.0), ("a2-ultragpu-1g", 12.0, 170.0))
"""vCPUs and GiB of two hosts of one family: two equations for two prices."""
_A3 = ("a3-highgpu-1g", 26.0, 234.0)
_A3_GIB_PER_CORE = 8.8117
"""GiB that cost as much as a vCPU: our own split of the price of one host."""


def tables(readings: Sequence[Reading]) -> dict[str, str]:
    """Return the text of the table that is made of readings."""
    rows = list(table_rows(readings))
    parts = [row for row in rows if not row.item.endswith(_HOST)]
    said = {(row.item, row.place, row.market) for row in parts}
    of_hosts = [row for row in rows if row.item.endswith(_HOST)]
    parts += [row for row in _split(of_hosts) if (row.item, row.place, row.market) not in said]
    written = (
        (row.item, row.place, row.market, f"{row.usd_per_hour:.8g}", row.as_of, row.evidence)
        for row in sorted(parts)
    )
    return {"prices.csv": write_table(ABOUT, COLUMNS, written)}


def _split(hosts: Iterable[TableRow]) -> Iterator[TableRow]:
    """Yield prices of cores and memory that follow from those of hosts, as old as the older one."""
    by_place: dict[tuple[str, str], dict[str, TableRow]] = {}
    for row in hosts:
        by_place.setdefault((row.place, row.market), {})[row.item.removesuffix(_HOST)] = row
    for found in by_place.values():
        (small, cores, less), (large, _, more) = _A2
        if small in found and large in found:
            older = min(found[small], found[large], key=lambda row: row.as_of)
            ram = (found[large].usd_per_hour - found[small].usd_per_hour) / (more - less)
            yield from _parts("a2", (found[small].usd_per_hour - less * ram) / cores, ram, older)
        name, cores, gib = _A3
        if name in found:
            ram = found[name].usd_per_hour / (cores * _A3_GIB_PER_CORE + gib)
            yield from _parts("a3", _A3_GIB_PER_CORE * ram, ram, found[name])


def _parts(family: str, core: float, ram: float, row: TableRow) -> Iterator[TableRow]:
    for part, usd in (("core", core), ("ram", ram)):
        yield TableRow(f"{family}-{part}", row.place, row.market, round(usd, 8), row.as_of, row.evidence)


def fetched(client: Client, regions: Sequence[str], now: datetime) -> list[Reading]:
    """Ask the catalog, which is long, once; return what parts cost in some regions."""
    source = Source(
        name=f"catalog-{now:%Y-%m-%d}",
        day=now.date(),
        evidence="read",
        citation=f"Cloud Billing catalog, services/{prices.COMPUTE_SERVICE}/skus",
    )
    return [
        Reading(
            item=part.name,
            places=(part.region,),
            market="spot" if part.spot else "on-demand",
            low_usd=price.usd_per_hour,
            high_usd=price.usd_per_hour,
            source=source,
        )
        for part, price in prices.read_skus(client.skus(prices.COMPUTE_SERVICE), now).items()
        if part.region in regions
    ]


def main(regions: Sequence[str], environ: Mapping[str, str], folder: Path) -> int:
    """Write the table in ``folder``; with ``regions`` ask Google first. Returns as `write_anew` does."""
    now = utc_now()
    ask = (lambda: fetched(Client(environ, None), regions, now)) if regions else None
    return write_anew(folder, ABOUT_READINGS, tables, ask)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, Path(__file__).parent))
