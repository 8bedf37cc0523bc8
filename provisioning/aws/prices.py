"""What EC2 costs: spot history, the Pricing API's price lists, and the dated table that ships with the product. Pure
but for reading that table."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from provisioning.prices import Price

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "IPV4_USD_PER_HOUR",
    "Rates",
    "interruptions_per_hour",
    "listed_prices",
    "price_filters",
    "rates_of",
    "read_spot_history",
    "table",
]

IPV4_USD_PER_HOUR = 0.005
"""In all regions."""
_ELSEWHERE = "us-east-1"
"""Whose rates stand in for those of a region that is not in the table."""

_MEAN_HOURS = {"<5": 100.0, "5-10": 48.0, "10-15": 30.0, "15-20": 20.0, ">20": 8.0}
"""Hours between interruptions that we plan with, by the Spot Advisor's bucket: it publishes the share of machines
taken back in a month, which is no hourly rate. Our own assumption, replaced by a user's own record."""
_UNKNOWN_BUCKET = "15-20"


def read_spot_history(entries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Price]:
    """Return the newest price by (instance type, zone); entries without a price are left out."""
    newest: dict[tuple[str, str], Price] = {}
    for entry in entries:
        usd = float(entry.get("SpotPrice") or 0.0)
        at = _utc(entry["Timestamp"])
        place = (entry["InstanceType"], entry["AvailabilityZone"])
        if usd > 0.0 and (place not in newest or newest[place].at < at):
            newest[place] = Price(usd, at, "spot price history")
    return newest


def price_filters(region: str, **more: str) -> list[dict[str, str]]:
    """Return the filters for plain Linux machines, paid by the hour, in one region."""
    wanted = {
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        **more,
    }
    return [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]


def listed_prices(price_list: Iterable[str], now: datetime) -> dict[str, Price]:
    """Read the JSON texts of a ``PriceList``; return the hourly price by instance type.

    A free dimension (reservations carry one) is no price.
    """
    found: dict[str, Price] = {}
    for text in price_list:
        item = json.loads(text)
        name = item.get("product", {}).get("attributes", {}).get("instanceType")
        for term in item.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term.get("priceDimensions", {}).values():
                usd = float(dimension.get("pricePerUnit", {}).get("USD") or 0.0)
                if name and usd > 0.0 and dimension.get("unit", "Hrs") == "Hrs":
                    found[name] = Price(usd, now, "AWS price list")
    return found


@cache
def table() -> Mapping[tuple[str, str], Price]:
    """Return the on-demand prices that ship with the product, by (instance type, region)."""
    rows = {}
    for row in _rows("prices.csv"):
        at = datetime.fromisoformat(row["as_of"]).replace(tzinfo=timezone.utc)
        unread = "" if row["evidence"] == "read" else ", not read again since"
        price = Price(float(row["usd_per_hour"]), at, f"table of {row['as_of']}{unread}")
        rows[row["instance_type"], row["region"]] = price
    return rows


@dataclass(frozen=True, slots=True)
class Rates:
    """What is paid beside the machine."""

    disk_usd_per_gib_month: float
    """gp3, with the 3000 operations and 125 MB/s that are free."""
    egress_usd_per_gib: float
    """To the internet; the account's first 100 GB a month are free and not taken into account here."""
    note: str = ""
    """What a buyer should know about them."""


def rates_of(region: str) -> Rates:
    """Return a region's rates; for one that is not in the table those of us-east-1, and the note says so."""
    rates = _rates()
    if region in rates:
        return rates[region]
    note = f"disk and traffic are priced as in {_ELSEWHERE}: no rates of {region} are known"
    return replace(rates[_ELSEWHERE], note=note)


@cache
def _rates() -> Mapping[str, Rates]:
    return {
        row["region"]: Rates(
            disk_usd_per_gib_month=float(row["disk_usd_per_gib_month"]),
            egress_usd_per_gib=float(row["egress_usd_per_gb"]) * 2**30 / 1e9,
        )
        for row in _rows("rates.csv")
    }


def interruptions_per_hour(
    instance_type: str, region: str, live: tuple[str, str] | None = None
) -> tuple[float, str]:
    """Return the rate we plan with for a spot machine, and its basis in words.

    ``live``: the bucket of today and its day, where the feed could be read; else the table that ships answers.
    """
    found = live or _buckets().get((instance_type, region))
    bucket, as_of = found or (_UNKNOWN_BUCKET, "")
    rate = 1.0 / _MEAN_HOURS[bucket]
    if not found:
        return rate, f"interruptions: no figure for this type, planned as {bucket} % a month"
    return rate, f"interruptions: Spot Advisor bucket {bucket} % a month, of {as_of}"


@cache
def _buckets() -> Mapping[tuple[str, str], tuple[str, str]]:
    return {
        (row["instance_type"], row["region"]): (row["bucket"], row["as_of"])
        for row in _rows("interruptions.csv")
    }


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("provisioning.aws").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)
