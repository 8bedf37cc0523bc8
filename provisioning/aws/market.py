"""Finding out what EC2 sells where and for how much. Answers are kept: hardware and list prices as long as the
provider lives, spot prices for a minute."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from provisioning import catalog
from provisioning.aws import hardware as hw
from provisioning.aws import prices
from provisioning.aws.convert import to_offer
from provisioning.errors import BadOption, NoCapacity, NoOffer, PermissionDenied, Transient
from provisioning.options import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from provisioning.aws.advisor import Advisor
    from provisioning.aws.client import Client
    from provisioning.aws.hardware import Hardware
    from provisioning.aws.options import Options
    from provisioning.models import Offer, Query
    from provisioning.prices import Price

__all__ = ["Market", "spot_prices"]

PRICING_REGION = "us-east-1"
"""The Pricing API answers for all regions from three of them."""
SPOT_PRICES_KEPT = timedelta(seconds=60)
FEW_TYPES = 4
"""Up to so many types are priced one by one; for more, all GPU machines of a region are asked for at once."""
PARALLEL_REGIONS = 8


class Market:
    """What is sold, over one `Client`."""

    def __init__(
        self, client: Client, options: Options, clock: Callable[[], datetime], advisor: Advisor
    ) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._advisor = advisor
        self._regions: tuple[str, ...] = ()
        self._hardware: dict[tuple[str, str], list[Hardware]] = {}
        self._zones: dict[tuple[str, tuple[str, ...]], dict[str, list[str]]] = {}
        self._listed: dict[str, dict[str, Price]] = {}
        self._spot: dict[tuple[str, tuple[str, ...]], tuple[datetime, dict[tuple[str, str], Price]]] = {}

    def offers(self, query: Query) -> list[Offer]:
        """Return what matches, cheapest first. See `provisioning.provider.Provider.offers`.

        Raises:
            NoOffer: what is asked for by name exists and cannot be used, or has no known price; says why.
        """
        _refuse_hopeless(query)
        regions = self._regions_for(query)
        with ThreadPoolExecutor(max_workers=PARALLEL_REGIONS) as pool:
            found = [
                offer for offers in pool.map(lambda r: self._in_region(r, query), regions) for offer in offers
            ]
        return catalog.select(found, query)

    def enabled_regions(self) -> tuple[str, ...]:
        """Return the regions that the account may use."""
        if not self._regions:
            asked = self._client.call(
                "ec2", self._client.default_region, "describe_regions", AllRegions=False
            )
            self._regions = tuple(sorted(region["RegionName"] for region in asked["Regions"]))
        return self._regions

    def hardware_of(self, region: str, instance_type: str) -> Hardware:
        """Return the facts of one type; `BadOption` where the region does not know it, or we cannot serve it."""
        found = self._describe(region, (instance_type,))
        if not found:
            similar = self._describe(region, (f"{hw.family_of(instance_type)}.*", *hw.wanted_types(False)))
            raise did_you_mean(
                f"aws {region}: instance type", instance_type, (item.instance_type for item in similar)
            )
        if reason := hw.refusal(instance_type, found[0]):
            raise NoOffer(
                f"aws: {instance_type} is not offered: {reason}",
                hint="`launch estimate --provider aws --gpu T4` shows others",
            )
        return found[0]

    def price_now(self, offer: Offer) -> Price | None:
        """Return what the machine of an offer costs now; None where nobody says."""
        if not offer.spot:
            return self._on_demand(offer.region, [offer.instance_type]).get(offer.instance_type)
        spot = self._spot_prices(offer.region, (offer.instance_type,), fresh=True)
        return spot.get((offer.instance_type, offer.zone or ""))

    def cheapest_carrier(self, region: str, zone: str) -> tuple[Hardware, float]:
        """Return the cheapest small machine of a zone, and its price per hour on demand."""
        items = {item.instance_type: item for item in self._describe(region, hw.CPU_TYPES)}
        zones = self._zones_of(region, tuple(items))
        prices_now = self._on_demand(region, list(items))
        fitting = [
            (price.usd_per_hour, name)
            for name, price in prices_now.items()
            if name in items and zone in zones.get(name, ())
        ]
        if not fitting:
            raise NoCapacity(f"aws {zone}: no small machine is sold there to read a disk with")
        usd, name = min(fitting)
        return items[name], usd

    # One region

    def _in_region(self, region: str, query: Query) -> list[Offer]:
        items = self._wanted(region, query)
        names = tuple(item.instance_type for item in items)
        if not names:
            return []
        zones = self._zones_of(region, names)
        if query.zone is not None:
            self._check_zone(region, query.zone)
        spot = {} if query.spot is False else self._spot_prices(region, names)
        listed = {} if query.spot else self._on_demand(region, names)
        if query.instance_type and not listed and not spot:
            raise _unpriced(query.instance_type, region, query)
        used = query.gpu_count or 1
        offers = []
        for item in items:
            for zone in zones.get(item.instance_type, []):
                for market, price in (
                    (False, listed.get(item.instance_type)),
                    (True, spot.get((item.instance_type, zone))),
                ):
                    if price and ("spot" if market else "on-demand") in item.markets:
                        offers.append(
                            to_offer(
                                item,
                                region=region,
                                zone=zone,
                                spot=market,
                                price=price,
                                gpus_used=used,
                                public_ipv4=self._options.address == "public",
                                risk=self._advisor.bucket(item.instance_type, region) if market else None,
                            )
                        )
        return offers

    def _wanted(self, region: str, query: Query) -> list[Hardware]:
        if query.instance_type:
            return [self.hardware_of(region, query.instance_type)]
        wants_gpu = query.gpu_name is not None or bool(query.gpu_count)
        found = self._describe(region, hw.wanted_types(wants_gpu))
        return [
            item for item in found if hw.refusal(item.instance_type, item) is None and _may_fit(item, query)
        ]

    def _describe(self, region: str, patterns: Sequence[str]) -> list[Hardware]:
        key = (region, ",".join(patterns))
        if key not in self._hardware:
            found = self._client.pages(
                "ec2",
                region,
                "describe_instance_types",
                "InstanceTypes",
                Filters=[{"Name": "instance-type", "Values": list(patterns)}],
            )
            self._hardware[key] = [hw.read_hardware(item) for item in found]
        return self._hardware[key]

    def _zones_of(self, region: str, names: tuple[str, ...]) -> dict[str, list[str]]:
        key = (region, names)
        if key not in self._zones:
            found = self._client.pages(
                "ec2",
                region,
                "describe_instance_type_offerings",
                "InstanceTypeOfferings",
                LocationType="availability-zone",
                Filters=[{"Name": "instance-type", "Values": list(names)}],
            )
            zones: dict[str, list[str]] = {}
            for item in found:
                zones.setdefault(item["InstanceType"], []).append(item["Location"])
            self._zones[key] = {name: sorted(places) for name, places in zones.items()}
        return self._zones[key]

    def _check_zone(self, region: str, zone: str) -> None:
        asked = self._client.call("ec2", region, "describe_availability_zones")
        known = [item["ZoneName"] for item in asked["AvailabilityZones"]]
        if zone not in known:
            raise did_you_mean(f"aws {region}: zone", zone, known)

    def _spot_prices(
        self, region: str, names: tuple[str, ...], *, fresh: bool = False
    ) -> dict[tuple[str, str], Price]:
        kept = self._spot.get((region, names))
        now = self._clock()
        if kept and not fresh and now - kept[0] < SPOT_PRICES_KEPT:
            return kept[1]
        self._spot[region, names] = (now, spot_prices(self._client, region, names, now))
        return self._spot[region, names][1]

    def _on_demand(self, region: str, names: Sequence[str]) -> dict[str, Price]:
        table = prices.table()
        known = {name: table[name, region] for name in names if (name, region) in table}
        if self._options.prices == "auto":
            known |= self._live(region, names)
        return known

    def _live(self, region: str, names: Sequence[str]) -> dict[str, Price]:
        """Ask the Pricing API, which not every account may; then the table has to do."""
        listed = self._listed.setdefault(region, {})
        missing = [name for name in names if name not in listed]
        try:
            if len(missing) > FEW_TYPES:
                listed |= self._price_list(region, instanceFamily="GPU instance")
            else:
                for name in missing:
                    listed |= self._price_list(region, instanceType=name)
        except (PermissionDenied, Transient):
            return {name: listed[name] for name in names if name in listed}
        return {name: listed[name] for name in names if name in listed}

    def _price_list(self, region: str, **more: str) -> dict[str, Price]:
        found = self._client.price_list(PRICING_REGION, prices.price_filters(region, **more))
        return prices.listed_prices(found, self._clock())

    def _regions_for(self, query: Query) -> tuple[str, ...]:
        named = query.region or (_region_of_zone(query.zone) if query.zone else None)
        wanted = (named,) if named else self._options.regions or (self._client.default_region,)
        enabled = self.enabled_regions()
        for region in wanted:
            if region not in enabled and region in self._client.known_regions():
                raise BadOption(
                    f"aws: region {region} is not enabled in this account",
                    hint=f"enable it in the console (account menu, AWS Regions); enabled are: {', '.join(enabled)}",
                )
            if region not in enabled:
                raise did_you_mean("aws: region", region, enabled)
        return tuple(wanted)


def _refuse_hopeless(query: Query) -> None:
    if query.instance_type:
        if not hw.is_type_name(query.instance_type):
            raise BadOption(
                f"aws: {query.instance_type!r} is no instance type", hint="they look like g4dn.xlarge"
            )
        if reason := hw.refusal(query.instance_type):
            raise NoOffer(f"aws: {query.instance_type} is not offered: {reason}", hint="g4dn.xlarge has a T4")
    if query.gpu_name and catalog.parse_gpu(query.gpu_name).model == "V100":
        raise NoOffer(f"aws: no V100 is offered: {hw.refusal('p3.2xlarge')}", hint="g4dn has T4, g5 has A10G")


def _unpriced(instance_type: str, region: str, query: Query) -> NoOffer:
    market = {True: "spot price", False: "on-demand price", None: "price"}[query.spot]
    return NoOffer(
        f"aws {region}: no {market} is known for {instance_type}",
        hint="allow pricing:GetProducts to this user, or choose another region",
    )


def _may_fit(item: Hardware, query: Query) -> bool:
    """Leave out early what no price would make fit, so that fewer prices are asked for."""
    if query.gpu_name and not (
        item.gpu_name and catalog.same_gpu(query.gpu_name, item.gpu_name, item.gpu_memory_gib)
    ):
        return False
    floors = (
        (item.gpu_count, query.gpu_count),
        (item.gpu_memory_gib, query.min_gpu_memory_gib),
        (item.vcpus, query.min_vcpus),
        (item.memory_gib, query.min_memory_gib),
    )
    return all(want is None or have >= want for have, want in floors)


def _region_of_zone(zone: str) -> str:
    found = re.match(r"[a-z]{2}(?:-[a-z]+)+-\d", zone)
    if not found:
        raise BadOption(f"aws: {zone!r} is no zone", hint="they look like us-east-1a")
    return found[0]


def spot_prices(
    client: Client, region: str, names: Sequence[str], now: datetime
) -> dict[tuple[str, str], Price]:
    """Ask what some types cost now as spot, by (instance type, zone)."""
    found = client.pages(
        "ec2",
        region,
        "describe_spot_price_history",
        "SpotPriceHistory",
        InstanceTypes=list(names),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=now,
    )
    return prices.read_spot_history(found)
