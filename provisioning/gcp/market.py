"""Finding out what Google Cloud sells where and for how much. What it sells is kept as long as the provider lives."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioning import catalog
from provisioning.errors import BadOption, NoCapacity, NoOffer
from provisioning.gcp import hardware as hw
from provisioning.gcp.convert import last_part, region_of, to_offer
from provisioning.gcp.prices import price_of
from provisioning.gcp.session import gcloud_setting
from provisioning.options import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioning.gcp.client import Client
    from provisioning.gcp.hardware import Hardware
    from provisioning.gcp.options import Options
    from provisioning.gcp.pricelist import PriceList
    from provisioning.models import Offer, Query
    from provisioning.prices import Price

__all__ = ["Market"]

_ZONE = re.compile(r"[a-z]+-[a-z]+\d+-[a-z]")
_CARRIERS = ("e2-small", "e2-medium", "e2-standard-2")
_HYPERDISK_CARRIERS = ("n4-standard-2", "c4-standard-2")


class Market:
    """What is sold, over one `Client`."""

    def __init__(
        self, client: Client, options: Options, prices: PriceList, environ: Mapping[str, str]
    ) -> None:
        self._client = client
        self._options = options
        self._prices = prices
        self._environ = environ
        self._types: dict[str, dict[str, list[Hardware]]] = {}
        self._cards: dict[str, dict[str, int]] | None = None
        self._regions: tuple[str, ...] = ()

    def offers(self, query: Query) -> list[Offer]:
        """Return what matches, cheapest first, of all regions that are wanted. See `Provider.offers`.

        Raises:
            NoOffer: what is asked for by name exists and cannot be used, or has no known price; says why.
        """
        _refuse_hopeless(query)
        regions = self._wanted_regions(query)
        sold = self._sold(query.instance_type)
        if query.instance_type and not sold:
            raise self._unknown_type(query.instance_type)
        found: list[Offer] = []
        unpriced = False
        for zone, items in sold.items():
            if region_of(zone) not in regions or query.zone not in (None, zone):
                continue
            for hardware in self._variants(zone, items, query):
                offers = list(self._priced(hardware, zone, query))
                unpriced = unpriced or not offers
                found += offers
        if query.instance_type and not found and unpriced:
            raise _unpriced(query, regions)
        return catalog.select(found, query)

    def regions(self) -> tuple[str, ...]:
        """Return the regions of the project."""
        if not self._regions:
            found = self._client.items("regions.list", filter='status eq "UP"')
            self._regions = tuple(sorted(region["name"] for region in found))
        return self._regions

    def hardware_of(self, zone: str, machine_type: str, gpu_name: str | None, count: int) -> Hardware:
        """Return the machine of an offer; `BadOption` where the zone does not know it, or we cannot serve it."""
        sold = self._sold(machine_type)
        if not sold:
            raise self._unknown_type(machine_type)
        found = sold.get(zone, [])
        if not found:
            raise NoCapacity(
                f"gcp {zone}: {machine_type} is not sold there", hint="the next zone may have it"
            )
        if reason := hw.refusal(machine_type, found[0]):
            raise BadOption(f"gcp: {machine_type} is not offered: {reason}")
        try:
            return hw.gpu_of(found[0], gpu_name, count)
        except ValueError as error:
            raise BadOption(f"gcp {zone}: {error}", hint="`launch offers --provider gcp --gpu T4`") from None

    def price_now(self, hardware: Hardware, zone: str, *, spot: bool) -> Price | None:
        """Return what a machine costs today; None where nobody says."""
        return price_of(hardware, region_of(zone), spot=spot, parts=self._prices.parts())

    def cheapest_carrier(self, zone: str, disk_type: str) -> tuple[Hardware, float]:
        """Return the cheapest small machine of a zone that boots such a disk, and its price per hour on demand."""
        names = _HYPERDISK_CARRIERS if disk_type.startswith("hyperdisk") else _CARRIERS
        for name in names:
            for hardware in self._sold(name).get(zone, []):
                price = self.price_now(hardware, zone, spot=False)
                return hardware, price.usd_per_hour if price else 0.0
        raise NoCapacity(f"gcp {zone}: no small machine is sold there to read a disk with")

    # What is sold

    def _sold(self, machine_type: str | None) -> dict[str, list[Hardware]]:
        """Return machine types by zone: the one that is named, or all that are offered unasked."""
        wanted = hw.type_filter(machine_type)
        if wanted not in self._types:
            zones: dict[str, list[Hardware]] = {}
            for item in self._client.items("machineTypes.aggregatedList", filter=wanted, max_results=500):
                if item.get("deprecated", {}).get("state") not in ("OBSOLETE", "DELETED"):
                    zones.setdefault(last_part(item["zone"]), []).append(hw.read_hardware(item))
            self._types[wanted] = zones
        return self._types[wanted]

    def _cards_of(self, zone: str) -> dict[str, int]:
        """Return the most cards of each accelerator that one machine of a zone can have."""
        if self._cards is None:
            cards: dict[str, dict[str, int]] = {}
            for item in self._client.items("acceleratorTypes.aggregatedList", max_results=500):
                most = int(item.get("maximumCardsPerInstance") or 0)
                cards.setdefault(last_part(item["zone"]), {})[item["name"]] = most
            self._cards = cards
        return self._cards.get(zone, {})

    def _variants(self, zone: str, items: list[Hardware], query: Query) -> Iterator[Hardware]:
        """Yield the machines of a zone as they can be rented: bare, and with each GPU that may be attached."""
        for item in items:
            if hw.refusal(item.machine_type, item):
                continue
            yield item
            if hw.family_of(item.machine_type) != "n1" or query.gpu_count == 0:
                continue
            cards, count = self._cards_of(zone), query.gpu_count or 1
            for accelerator in hw.attachable(query.gpu_name):
                if cards.get(accelerator, 0) >= count and hw.fits(item, accelerator, count):
                    yield hw.with_gpu(item, accelerator, count)

    def _priced(self, hardware: Hardware, zone: str, query: Query) -> Iterator[Offer]:
        for spot in (False, True):
            if query.spot in (None, spot) and (price := self.price_now(hardware, zone, spot=spot)):
                yield to_offer(
                    hardware,
                    zone=zone,
                    spot=spot,
                    price=price,
                    gpus_used=query.gpu_count or 1,
                    public_ipv4=self._options.address == "public",
                )

    # What is wanted

    def _wanted_regions(self, query: Query) -> tuple[str, ...]:
        if query.zone and not _ZONE.fullmatch(query.zone):
            raise BadOption(f"gcp: {query.zone!r} is no zone", hint="they look like us-central1-a")
        named = query.region or (region_of(query.zone) if query.zone else None)
        default = self._environ.get("CLOUDSDK_COMPUTE_REGION") or gcloud_setting(
            self._environ, "compute", "region"
        )
        wanted = (named,) if named else self._options.regions or ((default,) if default else ())
        for region in wanted:
            if region not in self.regions():
                raise did_you_mean("gcp: region", region, self.regions())
        return tuple(wanted) or self.regions()

    def _unknown_type(self, machine_type: str) -> BadOption:
        family = hw.family_of(machine_type)
        known = {item.machine_type for items in self._sold(None).values() for item in items}
        similar = {name for name in known if hw.family_of(name) == family}
        return did_you_mean("gcp: machine type", machine_type, similar or known)


def _refuse_hopeless(query: Query) -> None:
    if query.instance_type:
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", query.instance_type):
            raise BadOption(
                f"gcp: {query.instance_type!r} is no machine type", hint="they look like n1-standard-4"
            )
        if reason := hw.refusal(query.instance_type):
            raise NoOffer(
                f"gcp: {query.instance_type} is not offered: {reason}", hint="g2-standard-4 has an L4"
            )


def _unpriced(query: Query, regions: tuple[str, ...]) -> NoOffer:
    market = {True: "Spot price", False: "on-demand price", None: "price"}[query.spot]
    where = regions[0] if len(regions) == 1 else f"{len(regions)} regions"
    return NoOffer(
        f"gcp {where}: no {market} is known for {query.instance_type}",
        hint="`gcloud services enable cloudbilling.googleapis.com`, or choose a region of the price table",
    )
