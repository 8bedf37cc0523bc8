"""How long work takes, and how that is known: what every source of an estimate answers with. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.forecast.conditions import REHEARSAL
from launcher.forecast.ranges import Range
from launcher.forecast.speeds import Speed, hardware_words, speed_of, speed_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioning import Offer

__all__ = ["Source", "WorkTime", "a_run_on", "gpus_at_work", "runs_words", "slowed", "teaches"]

_UNKNOWN_HARDWARE = Range(0.2, 1.0, 4.0)
"""Ratio of speeds when one of the two is in no table."""


class Source(str, enum.Enum):
    """Where a time comes from, best first."""

    MEASURED = "measured"
    SCALED = "scaled"
    GUESS = "guess"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTime:
    """How long the work takes, and how that is known."""

    hours: Range
    source: Source
    basis: str
    narrow_by: tuple[str, ...] = ()
    """What would make the range narrower."""
    is_whole: bool = False
    """Read off a clock: what comes beside the steps is in it."""
    evaluation: Range = field(default_factory=Range.zero)
    """Hours beside the steps."""
    evaluation_basis: str = ""


def a_run_on(offer: Offer) -> str:
    """Say how to make a pace on an offer's hardware known."""
    how = f"launch calibrate --provider {offer.provider} --instance {offer.instance_type}"
    return f"a few minutes on {hardware_words(offer)}: {how}"


def teaches(provider: str, offer: Offer) -> bool:
    """Whether how fast work went with a provider says anything about an offer: the cloud that pretends has no such GPU."""
    return provider != REHEARSAL or offer.provider == REHEARSAL


def gpus_at_work(offer: Offer, gpus_used: int | None) -> int:
    """How many GPUs of a machine work for a job that uses ``gpus_used``; None: it uses all."""
    return offer.gpu_count if gpus_used is None else min(offer.gpu_count, max(1, gpus_used))


def runs_words(labels: Sequence[str]) -> str:
    """Name the runs that were measured: the one, or how many."""
    return f"run {labels[0]}" if len(labels) == 1 else f"{len(labels)} earlier runs"


def slowed(time: Range, offer: Offer, there: Speed | None) -> Range:
    """Carry a time over from the hardware ``there`` to the offer's."""
    here = speed_of(offer)
    faster = speed_ratio(here, there) if here and there else _UNKNOWN_HARDWARE
    return Range(time.low / faster.high, time.likely / faster.likely, time.high / faster.low)
