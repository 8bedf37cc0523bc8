"""Hours that services give away on hardware that nobody here can rent yet, from a dated table: no account, no network."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import resources

from provisioning.catalog import matches
from provisioning.models import Offer, Query

__all__ = ["FreeHours", "free_hours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeHours:
    """One kind of machine of one service, for nothing, and how long it may be used."""

    machine: Offer
    """What it has, at $0: never to be rented."""
    session_h: float
    """The service ends a run then."""
    per_week_h: float
    """Of all machines of the service together."""
    accelerator: str
    """What the service calls it, where a run is started by hand."""


def free_hours(query: Query) -> tuple[FreeHours, ...]:
    """Return what is given away and has what is asked for; nothing where a place, a type or spot is asked for."""
    if query.spot or query.region or query.zone or query.instance_type:
        return ()
    text = resources.files("provisioning").joinpath("free_hours.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    found = [
        FreeHours(
            machine=Offer(
                provider=row["provider"],
                instance_type=row["hardware"],
                location=row["provider"],
                region=row["provider"],
                usd_per_hour=0.0,
                priced_at=datetime.fromisoformat(row["as_of"]).replace(tzinfo=timezone.utc),
                price_source=f"free, as of {row['as_of']}",
                gpu_name=row["gpu"],
                gpu_count=int(row["gpu_count"]),
                gpu_memory_gib=float(row["gpu_memory_gib"]),
                vcpus=float(row["vcpus"]),
                memory_gib=float(row["memory_gib"]),
            ),
            session_h=float(row["session_hours"]),
            per_week_h=float(row["hours_per_week"]),
            accelerator=row["accelerator"],
        )
        for row in rows
    ]
    return tuple(item for item in found if matches(item.machine, query))
