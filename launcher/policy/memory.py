"""What to do about a program that ran out of memory: a smaller batch, or a larger machine by name. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from launcher.runners.base import MemoryKind
from provisioning.catalog import parse_gpu

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = ["what_to_do"]

_LADDER = MappingProxyType(
    {
        16: ("T4", "V100"),
        24: ("L4", "RTX 4090", "A10G"),
        32: ("RTX 5090",),
        48: ("L40S", "A6000"),
        80: ("A100-80GB", "H100"),
        141: ("H200",),
        180: ("B200",),
    }
)
"""GiB → GPUs that are rented with them, the cheapest first."""
_MORE = 1.2
"""A little more memory than before is not worth another try."""
_STEPS = 2


def what_to_do(ran_out: MemoryKind, offer: Offer) -> str:
    """Return what would help a program that ran out of memory on ``offer``, in one sentence."""
    if ran_out is MemoryKind.MACHINE:
        have = f" than the {offer.memory_gib:.0f} GiB of {offer.instance_type}" if offer.memory_gib else ""
        wanted = f" (resources: {{memory: {2 * offer.memory_gib:.0f}GB+}})" if offer.memory_gib else ""
        return f"fewer data workers, less data held at once, or a machine with more memory{have}{wanted}"
    batch = "a smaller batch (gradient accumulation keeps the effective one)"
    if offer.gpu_name is None:
        return batch
    have_gib = offer.gpu_memory_gib or parse_gpu(offer.gpu_name).memory_gib or 0.0
    larger = [(gib, names) for gib, names in _LADDER.items() if gib > _MORE * have_gib][:_STEPS]
    if not larger:
        return f"{batch}; {offer.gpu_name} is among the largest, so split the model over several"
    named = "; ".join(f"{', '.join(names)} with {gib} GiB" for gib, names in larger)
    has = f", which has {have_gib:.0f} GiB" if have_gib else ""
    return f"{batch}, or a larger GPU than {offer.gpu_name}{has}: {named}"
