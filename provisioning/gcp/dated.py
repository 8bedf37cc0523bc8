"""What Compute Engine sells and for how much, without an account: typical machines at the prices of the dated table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioning.gcp import prices
from provisioning.gcp.convert import to_offer
from provisioning.gcp.hardware import Hardware, fits, with_gpu

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioning.models import Offer
    from provisioning.prices import Price

__all__ = ["offers"]

_ATTACHED = ("nvidia-tesla-t4", "nvidia-tesla-v100", "nvidia-tesla-p100")
_HOSTS = (
    Hardware(machine_type="n1-standard-4", vcpus=4, memory_gib=15.0),
    Hardware(machine_type="n1-standard-8", vcpus=8, memory_gib=30.0),
    Hardware(machine_type="e2-standard-4", vcpus=4, memory_gib=16.0),
    Hardware(machine_type="e2-standard-8", vcpus=8, memory_gib=32.0),
    Hardware(machine_type="g2-standard-4", vcpus=4, memory_gib=16.0, accelerator="nvidia-l4", gpu_count=1),
    Hardware(machine_type="g2-standard-8", vcpus=8, memory_gib=32.0, accelerator="nvidia-l4", gpu_count=1),
    Hardware(
        machine_type="a2-highgpu-1g", vcpus=12, memory_gib=85.0, accelerator="nvidia-tesla-a100", gpu_count=1
    ),
    Hardware(
        machine_type="a2-ultragpu-1g", vcpus=12, memory_gib=170.0, accelerator="nvidia-a100-80gb", gpu_count=1
    ),
    Hardware(
        machine_type="a3-highgpu-1g", vcpus=26, memory_gib=234.0, accelerator="nvidia-h100-80gb", gpu_count=1
    ),
)
"""What people train on; every other type is asked for when there is an account."""


def offers() -> Iterator[Offer]:
    """Yield typical machines in every region of which the table knows all their parts, on demand and as Spot."""
    parts = prices.table()
    for hardware in _machines():
        for region in sorted({part.region for part in parts}):
            for spot in (False, True):
                price = prices.price_of(hardware, region, spot=spot, parts=parts)
                if price is not None:
                    used = hardware.gpu_count
                    offer = to_offer(hardware, zone=f"{region}-x", spot=spot, price=price, gpus_used=used)
                    yield replace(offer, zone=None, location=region, price_source=_source(price))


def _source(price: Price) -> str:
    """A machine's price is a sum of parts, as old as the oldest of them."""
    unread = ", not all read again since" if "not read again" in price.source else ""
    return f"sum of its parts, the oldest of {price.at:%Y-%m-%d}{unread}"


def _machines() -> Iterator[Hardware]:
    for host in _HOSTS:
        yield host
        if host.machine_type.startswith("n1-"):
            yield from (with_gpu(host, gpu, 1) for gpu in _ATTACHED if fits(host, gpu, 1))
