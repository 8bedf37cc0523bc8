"""Prices and room in the fake cloud, under what the job scripted: pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioning.errors import NoCapacity, PriceRose

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioning.fake.machine import Machine
    from provisioning.fake.options import Capacity, Price
    from provisioning.models import InstanceSpec, Offer

__all__ = ["check_price", "check_room", "place", "priced"]


def priced(offer: Offer, prices: Sequence[Price]) -> Offer:
    """Return the offer at its scripted price; the last one that fits counts."""
    for price in reversed(prices):
        if price.instance_type == offer.instance_type and _fits(price, offer):
            return replace(offer, usd_per_hour=price.usd_per_hour)
    return offer


def check_price(quoted: Offer, asked: Offer, spec: InstanceSpec) -> None:
    """Raise `PriceRose` when more is asked than was quoted, or than ``spec`` allows if it names a limit."""
    limit = quoted.usd_per_hour if spec.max_usd_per_hour is None else spec.max_usd_per_hour
    if asked.usd_per_hour > limit:
        raise PriceRose(
            f"{place(asked)} costs ${asked.usd_per_hour:.4g}/h now, ${limit:.4g}/h is the most allowed",
            quoted_usd_per_hour=quoted.usd_per_hour,
            asked_usd_per_hour=asked.usd_per_hour,
        )


def check_room(asked: Offer, machines: Iterable[Machine], capacity: Sequence[Capacity]) -> None:
    """Raise `NoCapacity` when one machine more would be too many."""
    alive = [machine for machine in machines if machine.is_alive]
    for limit in capacity:
        if limit.instance_type not in (None, asked.instance_type) or not _fits(limit, asked):
            continue
        taken = [
            machine
            for machine in alive
            if limit.instance_type in (None, machine.instance_type) and _fits(limit, machine)
        ]
        if len(taken) >= limit.machines:
            raise NoCapacity(f"no capacity for {place(asked)}", hint="try another zone or instance type")


def place(offer: Offer) -> str:
    """Say in words what is asked for, and where."""
    return f"{'spot ' if offer.spot else ''}{offer.instance_type} in {offer.zone}"


def _fits(rule: Price | Capacity, thing: Offer | Machine) -> bool:
    return rule.zone in (None, thing.zone) and rule.spot in (None, thing.spot)
