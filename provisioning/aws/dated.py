"""What EC2 sells and for how much, without an account: from the tables that ship with the product.

On-demand prices are those of ``prices.csv``, typical spot prices those of ``spot.csv``, and what a type has stands in
``types.csv``, written anew from an answer of DescribeInstanceTypes:

    aws ec2 describe-instance-types > types.json
    python -m provisioning.aws.dated types.json > provisioning/aws/types.csv
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from provisioning.aws import prices
from provisioning.aws.convert import to_offer
from provisioning.aws.hardware import Hardware, family_of, read_hardware, refusal
from provisioning.prices import Price

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from provisioning.models import Offer

__all__ = ["main", "offers", "spot_table", "types", "write_types"]

COLUMNS = ("instance_type", "vcpus", "memory_gib", "gpu", "gpu_count", "gpu_memory_gib")


def offers() -> Iterator[Offer]:
    """Yield every type that has a price in the tables, in every region, on demand and where it is known as spot."""
    hardware = types()
    for spot, table in ((False, prices.table()), (True, spot_table())):
        for (name, region), price in table.items():
            item = hardware.get(name)
            if item is not None and refusal(name, item) is None:
                offer = to_offer(item, region=region, zone="", spot=spot, price=price, gpus_used=0)
                yield replace(offer, zone=None)


def types() -> dict[str, Hardware]:
    """Return what the types of the table have."""
    return {
        row["instance_type"]: Hardware(
            instance_type=row["instance_type"],
            vcpus=int(row["vcpus"]),
            memory_gib=float(row["memory_gib"]),
            architectures=("x86_64",),
            markets=("on-demand", "spot"),
            gpu_name=row["gpu"] or None,
            gpu_count=int(row["gpu_count"]),
            gpu_memory_gib=float(row["gpu_memory_gib"]),
            gpu_maker="NVIDIA" if row["gpu"] else "",
        )
        for row in _rows("types.csv")
    }


def spot_table() -> Mapping[tuple[str, str], Price]:
    """Return typical spot prices, by (instance type, region)."""
    found = {}
    for row in _rows("spot.csv"):
        at = datetime.fromisoformat(row["as_of"]).replace(tzinfo=timezone.utc)
        unread = "" if row["evidence"] == "read" else ", not read again since"
        price = Price(float(row["usd_per_hour"]), at, f"spot, typical of {row['as_of']}{unread}")
        found[row["instance_type"], row["region"]] = price
    return found


def write_types(answers: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    """Write ``types.csv``: those of the answer that have a price in the table and whole GPUs or none."""
    priced = {name for name, _ in prices.table()}
    found = [read_hardware(answer) for answer in answers if answer["InstanceType"] in priced]
    out.write("# What instance types have, by DescribeInstanceTypes.\n")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for item in sorted(
        found, key=lambda item: (family_of(item.instance_type), item.vcpus, item.instance_type)
    ):
        if refusal(item.instance_type, item) is None:
            sizes = (
                f"{item.memory_gib:g}",
                item.gpu_name or "",
                item.gpu_count,
                f"{item.gpu_memory_gib:.4g}",
            )
            rows.writerow((item.instance_type, item.vcpus, *sizes))


def main(path: Path, out: TextIO = sys.stdout) -> int:
    """Write the table from the file that ``aws ec2 describe-instance-types`` left."""
    write_types(json.loads(path.read_text(encoding="utf-8"))["InstanceTypes"], out)
    return 0


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("provisioning.aws").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
