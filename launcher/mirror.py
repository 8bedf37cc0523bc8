"""How often checkpoints are copied off the machine: a trade between traffic and work that could be lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.money import GIB

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = ["MirrorChoice", "choose_mirror_every", "survives_notice"]

INTERVALS_S = (60.0, 120.0, 300.0, 600.0, 900.0, 1200.0, 1800.0, 3600.0)
"""What can be chosen. An hour is the most that anybody should lose."""
HARDWARE_FAILURES_PER_HOUR = 1 / 1000
"""Machines that are never taken away still die now and then."""
LOST_HOUR_FACTOR = 5.0
"""A lost hour is worth more than its rent: somebody waits for it."""
LEAST_LOST_HOUR_USD = 1.0
"""Also where the machine is free."""
LINK_SHARE = 0.5
"""A copy may keep the link busy for this part of the interval at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorChoice:
    """How often, at what price, and why."""

    every_s: float
    usd_per_hour: float
    """Traffic alone."""
    transfer_s: float
    reason: str


def choose_mirror_every(
    offer: Offer,
    *,
    checkpoint_bytes: int,
    link_bytes_per_s: float,
    save_every_s: float,
    asked_s: float | None = None,
    notice_survived: bool = False,
) -> MirrorChoice:
    """Choose the interval with the least expected cost: traffic plus the work that an interruption would lose.

    ``asked_s`` is what the user wrote (None: ``auto``) and is only ever priced, never changed. ``notice_survived``:
    with notice nothing is lost (`survives_notice`), so that only failures without notice count.
    """
    transfer_s = checkpoint_bytes / link_bytes_per_s
    usd_each = offer.egress_usd_per_gib * checkpoint_bytes / GIB
    if asked_s is not None:
        chosen_s, why = max(asked_s, save_every_s), "as the job says"
    else:
        possible = [
            every for every in INTERVALS_S if every >= save_every_s and every * LINK_SHARE >= transfer_s
        ]
        rate = HARDWARE_FAILURES_PER_HOUR + (0.0 if notice_survived else offer.interruptions_per_hour)
        lost_usd = max(LOST_HOUR_FACTOR * offer.usd_per_hour, LEAST_LOST_HOUR_USD)

        def usd_per_hour(every_s: float) -> float:
            return usd_each * 3600.0 / every_s + rate * lost_usd * every_s / 7200.0

        slowest_s = max(INTERVALS_S[-1], save_every_s, transfer_s / LINK_SHARE)
        chosen_s = min(possible, key=usd_per_hour) if possible else slowest_s
        why = _why(chosen_s, possible, usd_each, transfer_s, save_every_s)
    per_hour = usd_each * 3600.0 / chosen_s
    size = (
        f"{checkpoint_bytes / GIB:.2f} GiB"
        if checkpoint_bytes >= GIB // 100
        else f"{checkpoint_bytes / 1e6:.1f} MB"
    )
    price = f"${per_hour:.2f}/h of traffic" if usd_each else "free of traffic costs"
    return MirrorChoice(
        every_s=chosen_s,
        usd_per_hour=per_hour,
        transfer_s=transfer_s,
        reason=f"every {chosen_s / 60:.3g} min: {size} takes {transfer_s:.0f} s, {price}; {why}",
    )


def survives_notice(
    *, notice_s: float, save_s: float, transfer_s: float, disk_outlives: bool
) -> tuple[bool, str]:
    """Whether a checkpoint that is saved on notice survives the machine, and the words for it."""
    if disk_outlives:
        return True, "the disk outlives the machine: what is saved on notice is kept"
    needed_s = save_s + transfer_s
    if notice_s >= needed_s > 0.0:
        return True, f"{notice_s:.0f} s of notice are enough to save and send it ({needed_s:.0f} s)"
    if notice_s <= 0.0:
        return False, "no notice is promised: a loss goes back to the last mirrored checkpoint"
    return False, f"{notice_s:.0f} s of notice are too short to send it ({needed_s:.0f} s)"


def _why(
    chosen_s: float, possible: list[float], usd_each: float, transfer_s: float, save_every_s: float
) -> str:
    if not possible or (chosen_s == possible[0] and transfer_s > LINK_SHARE * INTERVALS_S[0]):
        return (
            "as often as the link allows"
            if transfer_s / LINK_SHARE > save_every_s
            else "as often as it saves"
        )
    if chosen_s == possible[0]:
        return "as often as it saves" if save_every_s > INTERVALS_S[0] else "as often as makes sense"
    if usd_each:
        return "where traffic and the work that could be lost cost least together"
    return "where little enough could be lost"
