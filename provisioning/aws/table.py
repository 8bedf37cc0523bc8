"""Writes the table of on-demand prices anew: ``python -m provisioning.aws.table us-east-1 eu-west-1 > prices.csv``.

It asks the Pricing API with the caller's own credentials. Rows of regions that were not asked for stay as they are.
"""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, TextIO

from provisioning.aws import prices
from provisioning.aws.client import client_for
from provisioning.aws.hardware import CPU_TYPES, GPU_FAMILIES, family_of
from provisioning.errors import CloudError
from provisioning.models import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioning.aws.client import Client
    from provisioning.prices import Price

__all__ = ["fetched", "main", "write"]

HEADER = (
    "# On-demand prices in USD per hour (Linux, shared tenancy), AWS list prices. Used where the Pricing API may not be asked.",
    "# evidence: read = read from AWS or a public copy of its list on that day; remembered = a long-standing list price, not read again.",
    "# Written anew from that API by: python -m provisioning.aws.table REGION... > prices.csv",
)
PRICING_REGION = "us-east-1"


def fetched(client: Client, region: str) -> dict[tuple[str, str], Price]:
    """Ask for the prices of all machines that we offer in a region."""
    asked = client.price_list(PRICING_REGION, prices.price_filters(region, instanceFamily="GPU instance"))
    found = prices.listed_prices(asked, utc_now())
    for name in CPU_TYPES:
        asked = client.price_list(PRICING_REGION, prices.price_filters(region, instanceType=name))
        found |= prices.listed_prices(asked, utc_now())
    return {
        (name, region): price
        for name, price in found.items()
        if name in CPU_TYPES or family_of(name) in GPU_FAMILIES
    }


def write(table: Mapping[tuple[str, str], Price], out: TextIO) -> None:
    """Write a table in the form in which it ships."""
    out.writelines(f"{line}\n" for line in HEADER)
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(("instance_type", "region", "usd_per_hour", "as_of", "evidence"))
    for (name, region), price in sorted(table.items()):
        evidence = "remembered" if "not read again" in price.source else "read"
        rows.writerow((name, region, f"{price.usd_per_hour:.8g}", price.at.date().isoformat(), evidence))


def main(regions: Iterable[str], environ: Mapping[str, str], out: TextIO = sys.stdout) -> int:
    """Write the table with fresh rows for ``regions``; 1 when AWS does not answer."""
    table = dict(prices.table())
    client = client_for(environ, None)
    try:
        for region in regions:
            table |= fetched(client, region)
    except CloudError as error:
        sys.stderr.write(f"{error}\n{error.hint or ''}\n")
        return 1
    write(table, out)
    return 0


if __name__ == "__main__":
    import os

    sys.exit(main(sys.argv[1:], os.environ))
