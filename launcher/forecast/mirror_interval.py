"""How often checkpoints are copied off the machine: a trade between traffic and work that could be lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.forecast.money import GIB
from launcher.quantities import duration, size

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = [
    "SHORTEST_HERE_S",
    "SHORTEST_S",
    "MirrorChoice",
    "choose_mirror_every",
    "copies_of",
    "survives_notice",
]

SHORTEST_S = 60.0
SHORTEST_HERE_S = 5.0
"""On this computer a copy costs next to nothing."""
LONGEST_S = 3600.0
"""The most that anybody should lose, whatever the traffic costs."""
LINK_SHARE = 0.5
"""A copy may keep the link busy for this part of the interval at most."""
TRAFFIC_USD_PER_HOUR = 0.02
"""Worth paying against failures that nobody announces, also where machines are never taken away."""
LOST_HOUR_USD = 1.5
"""What an hour of lost work is worth avoiding: the rent, and somebody who waits."""


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
    shortest_s: float = SHORTEST_S,
    usd_per_gib: float | None = None,
) -> MirrorChoice:
    """Choose how often: as often as saves and the link allow, but for no more traffic than the risk is worth.

    What the risk is worth follows from how often the machine is taken away, not from its price, so that a higher
    price of anything never makes a run look cheaper. ``asked_s`` is what the user wrote (None: ``auto``) and is only
    ever priced. ``notice_survived``: with notice nothing is lost (`survives_notice`). ``usd_per_gib``: of the traffic,
    where that is not the offer's price of egress.
    """
    transfer_s = checkpoint_bytes / link_bytes_per_s
    usd_each = (offer.egress_usd_per_gib if usd_per_gib is None else usd_per_gib) * checkpoint_bytes / GIB
    if asked_s is not None:
        chosen_s, why = max(asked_s, save_every_s), "as the job says"
    else:
        risk_per_hour = 0.0 if notice_survived else offer.interruptions_per_hour
        chosen_s, why = _choose(shortest_s, save_every_s, transfer_s, usd_each, risk_per_hour)
    usd_per_hour = usd_each * 3600.0 / chosen_s
    price = f"${usd_per_hour:.2f}/h of traffic" if usd_each else "traffic is free"
    return MirrorChoice(
        every_s=chosen_s,
        usd_per_hour=usd_per_hour,
        transfer_s=transfer_s,
        reason=f"every {duration(chosen_s)}, {why}: {size(checkpoint_bytes)} takes {_seconds(transfer_s)}, {price}",
    )


def _choose(
    shortest_s: float, save_every_s: float, transfer_s: float, usd_each: float, risk_per_hour: float
) -> tuple[float, str]:
    """Return the interval and what decided it."""
    soonest_s, why = max(
        (shortest_s, "as often as makes sense"),
        (save_every_s, "as often as the program saves"),
        (transfer_s / LINK_SHARE, "as often as the link allows"),
        key=lambda bound: bound[0],
    )
    affordable_s = usd_each * 3600.0 / (TRAFFIC_USD_PER_HOUR + LOST_HOUR_USD * risk_per_hour)
    if affordable_s <= soonest_s:
        return soonest_s, why
    if affordable_s <= LONGEST_S:
        return affordable_s, "no more traffic than the risk of a loss is worth"
    return max(LONGEST_S, soonest_s), "the longest that should ever be lost"


def copies_of(working_s: float, every_s: float, *, first_s: float = 0.0) -> float:
    """How often a checkpoint leaves the machine in so many seconds of work: the first one at once, then every so often.

    ``first_s``: until there is a first one; of less work there is part of a copy, so that more work never moves less.
    """
    return working_s / every_s + (min(1.0, working_s / first_s) if first_s > 0.0 else 1.0)


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


def _seconds(seconds: float) -> str:
    return "less than a second" if seconds < 0.5 else duration(seconds)
