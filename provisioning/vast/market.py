"""What is for rent: searches in Vast's form, and asks as offers. One offer per machine, size and market."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from provisioning import catalog
from provisioning.errors import BadOption
from provisioning.vast.convert import country_of, machine_id_of, to_offer
from provisioning.vast.gpus import names_for, read_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from provisioning.models import Offer, Query
    from provisioning.vast.client import Client
    from provisioning.vast.options import Options

__all__ = ["LEAST_DISK_GIB", "Market", "bid_for", "disk_to_rent", "price_of", "search_for"]

MOST_ASKS = 256
LEAST_DISK_GIB = 8.0
"""Vast rents no less."""
ASSUMED_DISK_GIB = 50.0
"""For the order of the search, where the job does not say."""
MEGABYTES_PER_GIB = 1024.0
_LOWEST_BID, _HIGHEST_BID = 0.001, 128.0


class Market:
    """Searches for offers."""

    def __init__(self, client: Client, options: Options, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._options = options
        self._clock = clock

    def offers(self, query: Query) -> list[Offer]:
        """Return what can be rented now and suits the query and the job's options, cheapest first.

        Raises:
            BadOption: no such instance type or country.
        """
        _check_country(query)
        gpus = self._gpus_of(query)
        found: list[Offer] = []
        for spot in (False, True) if query.spot is None else (query.spot,):
            asks = self._client.search(search_for(query, self._options, spot=spot, gpus=gpus))
            found += self._offers(asks, spot=spot)
        return catalog.select(_one_per_machine(found), query)

    def ask(self, offer: Offer, *, disk_gib: float) -> dict[str, Any] | None:
        """Return what an offer is now; None when somebody has it.

        An ask's id is good for one rental. What is free again on the same machine has another id and is as good.
        """
        found = self._client.search(
            {
                "machine_id": {"eq": machine_id_of(offer.location)},
                "num_gpus": {"eq": offer.gpu_count},
                "rentable": {"eq": True},
                "rented": {"eq": False},
                "verified": {"in": [True, False]},
                "type": "bid" if offer.spot else "on-demand",
                "allocated_storage": disk_to_rent(disk_gib),
                "order": [["dph_total", "asc"]],
                "limit": MOST_ASKS,
            }
        )
        same = [item for item in found if str(item.get("id")) == offer.offer_id]
        return next(iter(same or found), None)

    def _offers(self, asks: Iterable[Mapping[str, Any]], *, spot: bool) -> list[Offer]:
        now, offers = self._clock(), []
        for item in asks:
            price = price_of(item, self._options, spot=spot)
            usable = (
                item.get("id") is not None and item.get("machine_id") is not None and item.get("gpu_name")
            )
            if usable and price is not None and _number(item.get("num_gpus")) >= 1:
                offers.append(to_offer(item, spot=spot, usd_per_hour=price, now=now))
        return [offer for offer in offers if self._may_be_there(offer)]

    def _may_be_there(self, offer: Offer) -> bool:
        """Vast's own filters know countries, but not all names of them."""
        options = self._options
        if options.countries and offer.region not in options.countries:
            return False
        machine = machine_id_of(offer.location)
        return offer.region not in options.not_countries and machine not in options.not_machines

    def _gpus_of(self, query: Query) -> tuple[int | None, list[str]]:
        """Return how many GPUs of which of Vast's names are asked for; no names where any may fit."""
        if query.instance_type is None:
            return query.gpu_count, names_for(query.gpu_name) if query.gpu_name else []
        try:
            count, name = read_type(query.instance_type)
        except BadOption:
            seen = self._client.search({"rentable": {"eq": True}, "limit": MOST_ASKS})
            count, name = read_type(query.instance_type, {str(item.get("gpu_name")) for item in seen})
        return count, [name]


def search_for(
    query: Query, options: Options, *, spot: bool, gpus: tuple[int | None, list[str]]
) -> dict[str, Any]:
    """Return the search for a query: what the host must have and be, the market, and the order."""
    count, names = gpus
    disk = disk_to_rent(query.disk_gib or ASSUMED_DISK_GIB)
    wanted: dict[str, Any] = {
        "verified": {"eq": True} if options.verified else {"in": [True, False]},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "gpu_arch": {"eq": "nvidia"},
        "cpu_arch": {"eq": "amd64"},
        "reliability": {"gte": options.min_reliability},
        "cuda_max_good": {"gte": options.min_cuda},
        "inet_down": {"gte": options.min_download_mbit_s},
        "inet_up": {"gte": options.min_upload_mbit_s},
        "disk_space": {"gte": disk},
        "duration": {"gte": options.min_hours * 3600.0},
    }
    if options.datacenter:
        wanted["datacenter"] = {"eq": True}
    if options.connect != "proxy":
        wanted["direct_port_count"] = {"gte": 1}
    if names:
        wanted["gpu_name"] = {"in": names}
    if count is not None:
        wanted["num_gpus"] = {"eq": count} if query.instance_type else {"gte": count}
    if query.min_gpu_memory_gib:
        wanted["gpu_ram"] = {"gte": math.floor(0.93 * query.min_gpu_memory_gib * MEGABYTES_PER_GIB)}
    if query.min_vcpus:
        wanted["cpu_cores_effective"] = {"gte": query.min_vcpus}
    if countries := _countries(query, options):
        wanted["geolocation"] = {"in": countries}
    elif options.not_countries:
        wanted["geolocation"] = {"notin": list(options.not_countries)}
    return {
        **wanted,
        "type": "bid" if spot else "on-demand",
        "allocated_storage": disk,
        "order": [["dph_total", "asc"]],
        "limit": MOST_ASKS,
    }


def price_of(ask: Mapping[str, Any], options: Options, *, spot: bool) -> float | None:
    """Return what an ask costs per hour, its disk aside: the listed price, or what we bid. None without one."""
    if spot:
        return bid_for(ask.get("min_bid"), options)
    listed = _number(ask.get("dph_base"))
    return listed or None


def bid_for(min_bid: object, options: Options, *, at_most: float | None = None) -> float | None:
    """Return the bid that wins where ``min_bid`` is the lowest that does; None where ours does not reach it."""
    lowest = _number(min_bid)
    if not lowest:
        return None
    bid = options.bid_usd_per_hour or math.ceil(10_000 * lowest * options.bid_over_minimum) / 10_000
    if at_most is not None:
        bid = min(bid, at_most)
    return min(max(bid, _LOWEST_BID), _HIGHEST_BID) if bid >= lowest else None


def disk_to_rent(disk_gib: float) -> int:
    """Return the size to ask for: whole "GB", never less than Vast rents."""
    return math.ceil(max(disk_gib, LEAST_DISK_GIB))


def _one_per_machine(offers: Iterable[Offer]) -> list[Offer]:
    """Keep the cheapest of a machine's like offers: after a bad start the next one is another machine."""
    best: dict[tuple[str, str, bool], Offer] = {}
    for offer in catalog.rank(offers):
        best.setdefault((offer.location, offer.instance_type, offer.spot), offer)
    return list(best.values())


def _countries(query: Query, options: Options) -> list[str]:
    if query.region and query.region != "unknown":
        return [query.region]
    return list(options.countries)


def _check_country(query: Query) -> None:
    if query.region and query.region != "unknown" and country_of(f", {query.region}") != query.region.upper():
        raise BadOption(f"vast: region: {query.region!r} is no country code", hint="such as US, DE or SE")


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and value == value and value > 0 else 0.0
