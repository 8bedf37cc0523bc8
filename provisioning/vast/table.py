"""Makes the table of typical prices that ships, ``typical.csv``, of what was read of the market (``readings.csv``):

    python -m provisioning.vast.table           of what stands there
    python -m provisioning.vast.table --live    looks at the market first, with your own key

The market is read as the middle half of what hosts ask for one GPU, and of the lowest bids that would win.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from provisioning.models import Query, utc_now
from provisioning.readings import Reading, Source, table_rows, write_anew, write_table
from provisioning.vast.client import Client
from provisioning.vast.dated import ANYWHERE
from provisioning.vast.gpus import type_name
from provisioning.vast.market import price_of, search_for
from provisioning.vast.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

__all__ = ["HOSTS", "fetched", "main", "tables"]

ABOUT_READINGS = (
    "What was read of Vast's market: USD per hour for one GPU with its host, verified hosts; it moves by the hour.",
    "typical.csv is made of it by: python -m provisioning.vast.table",
    "Read anew from the market, and the table with it, by: python -m provisioning.vast.table --live",
)
ABOUT = (
    "What one GPU with its host typically costs on Vast's market, USD per hour, verified hosts; it moves by the hour.",
    "evidence: read = read from the market or a public copy of it; remembered = as generally quoted, not read again.",
    "Made of readings.csv, where the sources stand, by: python -m provisioning.vast.table",
)
COLUMNS = (
    "gpu",
    "gpu_memory_gib",
    "vcpus",
    "memory_gib",
    "market",
    "usd_per_hour",
    "as_of",
    "evidence",
)
HOSTS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "RTX 3090": (24, 8, 32),
        "RTX 4090": (24, 16, 64),
        "RTX 5090": (32, 16, 64),
        "L40S": (48, 16, 96),
        "A100 PCIE": (40, 16, 128),
        "A100 SXM4": (80, 16, 128),
        "H100 NVL": (94, 20, 180),
        "H100 SXM": (80, 20, 180),
        "H200": (141, 20, 180),
    }
)
"""GPU → its memory in GiB, and the vCPUs and GiB that a host usually gives to one: our own assumption of what is typical."""
_LEAST_ASKS = 3
"""Fewer say nothing about what is typical."""


def tables(readings: Sequence[Reading]) -> dict[str, str]:
    """Return the text of the table that is made of readings; what has no entry in `HOSTS` is left out."""
    rows = [row for row in table_rows(readings) if row.item in HOSTS]
    order = list(HOSTS)
    rows.sort(key=lambda row: (order.index(row.item), row.market))
    written = (
        (row.item, *HOSTS[row.item], row.market, f"{row.usd_per_hour:.4g}", row.as_of, row.evidence)
        for row in rows
    )
    return {"typical.csv": write_table(ABOUT, COLUMNS, written)}


def fetched(client: Client, now: datetime) -> Iterator[Reading]:
    """Look at the market for every GPU of `HOSTS`; one search per GPU and market."""
    day = f"{now:%Y-%m-%d}"
    source = Source(
        name=f"market-{day}",
        day=now.date(),
        evidence="read",
        citation="Vast's market (POST /api/v0/bundles/), middle half of verified hosts with one GPU",
    )
    for gpu in HOSTS:
        for spot in (False, True):
            query = Query(instance_type=type_name(gpu, 1), gpu_count=1)
            asks = client.search(search_for(query, Options(), spot=spot, gpus=(1, [gpu])))
            options = Options(bid_over_minimum=1.0)
            usd = [price for ask in asks if (price := price_of(ask, options, spot=spot)) is not None]
            if len(usd) < _LEAST_ASKS:
                continue
            low, _, high = statistics.quantiles(usd, n=4, method="inclusive")
            yield Reading(
                item=gpu,
                places=(ANYWHERE,),
                market="spot" if spot else "on-demand",
                low_usd=round(low, 4),
                high_usd=round(high, 4),
                source=source,
            )


def main(arguments: Sequence[str], environ: Mapping[str, str], folder: Path) -> int:
    """Write the table in ``folder``; ``--live`` reads the market first. Returns as `write_anew` does, 2 for another option."""
    if list(arguments) not in ([], ["--live"]):
        sys.stderr.write(f"usage: python -m provisioning.vast.table [--live]; came {' '.join(arguments)}\n")
        return 2
    now = utc_now()
    ask = (lambda: list(fetched(Client(environ), now))) if arguments else None
    return write_anew(folder, ABOUT_READINGS, tables, ask)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ, Path(__file__).parent))
