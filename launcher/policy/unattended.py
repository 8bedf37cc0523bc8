"""What becomes of a run while nobody looks: this computer asleep, offline or dead. Words, from declared facts. Pure."""

from __future__ import annotations

from launcher.forecast.money import HOURS_PER_MONTH
from launcher.quantities import usd
from provisioning import Capabilities, DeadlineKind, Offer, WhenUnattended

__all__ = [
    "default_when_unattended",
    "if_this_computer_sleeps",
    "needs_client_deadline_accepted",
    "park_usd_per_day",
]


def default_when_unattended(capabilities: Capabilities, *, bucket_named: bool) -> WhenUnattended:
    """Push where a bucket is named, else park where the provider can, else linger until the hard deadline."""
    if bucket_named:
        return WhenUnattended.PUSH
    return WhenUnattended.PARK if capabilities.park else WhenUnattended.LINGER


def needs_client_deadline_accepted(capabilities: Capabilities) -> bool:
    """Whether nothing but this computer would end the machine; a cloud that pretends asks as the real ones do."""
    return not capabilities.claimed and capabilities.deadline is DeadlineKind.CLIENT


def park_usd_per_day(offer: Offer, disk_gib: float) -> float:
    """What a parked disk costs per day."""
    return offer.disk_usd_per_gib_month * disk_gib * 24.0 / HOURS_PER_MONTH


def if_this_computer_sleeps(
    offer: Offer,
    capabilities: Capabilities,
    when_unattended: WhenUnattended,
    *,
    disk_gib: float,
    on_this_computer: bool,
) -> str:
    """Say what happens to the run, its machine and its outputs while this computer is away."""
    if on_this_computer:
        return "the job runs on this computer: asleep, it pauses; switched off, it goes on from its last checkpoint"
    if capabilities.claimed:
        return "the job goes on; its outputs wait on the machine, which is not ours to end"
    if capabilities.deadline is DeadlineKind.CLIENT:
        return "the job goes on, and nothing but this computer ends its machine: if it dies, billing goes on"
    who = "the provider ends" if capabilities.deadline is DeadlineKind.CLOUD else "the machine ends"
    itself = "the machine" if capabilities.deadline is DeadlineKind.CLOUD else "itself"
    words = f"the job goes on; at its deadline {who} {itself}, {_outputs(offer, when_unattended, disk_gib)}"
    if offer.interruptions_per_hour > 0.0:
        words += "; taken away meanwhile, it is replaced when this computer is back"
    return words


def _outputs(offer: Offer, when_unattended: WhenUnattended, disk_gib: float) -> str:
    if when_unattended is WhenUnattended.PUSH:
        return "after its outputs went to the bucket"
    if when_unattended is WhenUnattended.PARK:
        per_day = park_usd_per_day(offer, disk_gib)
        return f"and its disk stays with the outputs ({usd(per_day)} a day until `launch pull`)"
    return "and what has not come home by then is lost, mirrored checkpoints aside"
