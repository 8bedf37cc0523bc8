"""What the clock said of earlier runs, where they reported no pace: how long all of the work took, on what. Pure.

A time is weaker evidence than a pace: nobody knows how much of it was computing, how much data it went through, and what
the program does differently by now. So its range is wider, and it is carried over to no other hardware as if it were known:
between "as long as there" and "by so much faster as the hardware is" anything may be true, which is a guess and called one;
its likely value is never shorter than what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.forecast.ranges import Range
from launcher.forecast.speeds import Speed, hardware_words, speed_on
from launcher.forecast.worktime import Source, WorkTime, runs_words, slowed
from launcher.quantities import duration
from provisioning.catalog import same_gpu

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = ["EarlierTime", "timed_elsewhere", "timed_here"]

_NEWEST = 5
"""Programs and data grow: what is older says little."""
_ONE_RUN = (0.7, 1.5)
_TWO_RUNS = (0.75, 1.4)
_SEVERAL_RUNS = (0.85, 1.3)
_SAME_GPU = (0.6, 1.8)
"""In another machine: its processor, memory and disk have their part in the time too."""
_START_H = 3.0 / 3600.0
"""What a busy machine may add to the start of any program: of a time of seconds no share says that."""
_A_PACE = "steps in the job's metrics file: a pace is known more closely than a time"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierTime:
    """How long the work of a job, or of one of its stages, took in an earlier run that did all of it in one piece."""

    work_s: float
    """From the beginning of ``run`` to its end: no boot, no transfer, no setup."""
    gpu_name: str | None
    provider: str = ""
    gpu_count: int = 0
    """How many of the machine's worked for it."""
    gpu_memory_gib: float = 0.0
    instance_type: str = ""
    vcpus: float = 0.0
    steps: int | None = None
    """How many steps the job said that it has; a job that says another number now takes so much longer, or less."""
    label: str = ""
    """For people: ``night-x4k2``."""

    def __post_init__(self) -> None:
        if not 0.0 < self.work_s < math.inf:
            raise ValueError(f"work takes time: {self.work_s} s")

    def hours(self, steps: int | None) -> float:
        """Return what it comes to for so many steps; as it was where either number is not known."""
        share = steps / self.steps if steps and self.steps else 1.0
        return self.work_s * share / 3600.0

    @property
    def _speed(self) -> Speed | None:
        """Of what it ran on."""
        return speed_on(self.gpu_name, self.vcpus, self.gpu_memory_gib)

    @property
    def _hardware(self) -> str:
        if self.gpu_name is None:
            return f"{self.vcpus:g} CPU cores"
        return f"{self.gpu_count} × {self.gpu_name}" if self.gpu_count > 1 else self.gpu_name


def timed_here(
    offer: Offer, steps: int | None, times: Sequence[EarlierTime], *, gpus: int
) -> WorkTime | None:
    """Return what earlier runs on machines like ``offer`` took; None where there was none.

    ``times``: newest first. ``gpus``: how many of the machine's will work.
    """
    same = [time for time in times if _same_hardware(offer, time, gpus) and _same_machine(offer, time)][
        :_NEWEST
    ]
    if not same:
        return None
    hours = [time.hours(steps) for time in same]
    seen = Range.seen(hours)
    spread = seen.spread(*{1: _ONE_RUN, 2: _TWO_RUNS}.get(len(same), _SEVERAL_RUNS))
    words = _clock(seen.likely)
    if len(same) > 1:
        words += f" ({_clock(seen.low)} to {_clock(seen.high)})"
    return WorkTime(
        hours=Range(spread.low, spread.likely, spread.high + _START_H),
        source=Source.MEASURED,
        basis=f"{words} by the clock in {runs_words([time.label for time in same])} on {hardware_words(offer)}",
        narrow_by=(_A_PACE,),
        is_whole=True,
    )


def timed_elsewhere(
    offer: Offer, steps: int | None, times: Sequence[EarlierTime], *, gpus: int
) -> WorkTime | None:
    """Return what the newest run on other machines lets expect here; None where there was none. As `timed_here`."""
    alike = [time for time in times if _same_hardware(offer, time, gpus)]
    if not times:
        return None
    time = (alike or times)[0]
    there = Range.exactly(time.hours(steps))
    took = f"{_clock(there.likely)} by the clock in {runs_words([time.label])}"
    if alike:
        return WorkTime(
            hours=there.spread(*_SAME_GPU),
            source=Source.SCALED,
            basis=f"{took} on {time._hardware} in another machine ({time.instance_type})",
            narrow_by=(_A_PACE,),
            is_whole=True,
        )
    scaled = slowed(there, offer, time._speed) * _share_of_gpus(time, gpus)
    # No machine is chosen because a program might be faster on it, and none because it might not be slower.
    likely = max(there.likely, math.sqrt(there.likely * scaled.likely))
    between = Range(min(there.low, scaled.low), likely, max(there.high, scaled.high))
    return WorkTime(
        hours=between.spread(*_ONE_RUN),
        source=Source.GUESS,
        basis=f"a guess: {took} on {time._hardware}; what of it follows the hardware to {hardware_words(offer)} is not known",
        narrow_by=("one run there", _A_PACE),
        is_whole=True,
    )


def _share_of_gpus(time: EarlierTime, gpus: int) -> float:
    """How much of a time is left where all of it is shared by the GPUs that work."""
    return time.gpu_count / gpus if time.gpu_count and gpus else 1.0


def _clock(hours: float) -> str:
    return duration(3600.0 * hours) if hours >= 0.5 / 3600.0 else "less than a second"


def _same_hardware(offer: Offer, time: EarlierTime, gpus: int) -> bool:
    if offer.gpu_name is None or time.gpu_name is None:
        return offer.gpu_name is None and time.gpu_name is None and offer.vcpus == time.vcpus
    return gpus == time.gpu_count and same_gpu(time.gpu_name, offer.gpu_name, offer.gpu_memory_gib)


def _same_machine(offer: Offer, time: EarlierTime) -> bool:
    return not time.instance_type or time.instance_type == offer.instance_type
