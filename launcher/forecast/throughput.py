"""How long the work itself takes on one offer, from the best source there is; the source is always named. Pure.

What was measured on this hardware comes first: the pace of earlier runs and calibrations of this job, then what earlier
runs took by the clock (`launcher.forecast.times`), then the benchmarks. What was measured elsewhere, or said by the user,
is carried over by `launcher.forecast.speeds`; of several such sources the one with the narrowest answer is taken. What is
left is a number of steps at a typical pace, and at last nothing but the time limit: these two are called what they are,
guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from launcher.forecast.benchmarks import Benchmark
from launcher.forecast.ranges import Range
from launcher.forecast.speeds import (
    Speed,
    cpu_speed,
    gpu_speed,
    hardware_words,
    known_gpus,
    speed_of,
    speed_on,
)
from launcher.forecast.times import EarlierTime, timed_elsewhere, timed_here
from launcher.forecast.worktime import Source, WorkTime, a_run_on, gpus_at_work, runs_words, slowed, teaches
from launcher.quantities import duration
from provisioning.catalog import nearest, parse_gpu, same_gpu

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = ["EarlierRun", "Source", "Work", "WorkTime", "work_time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much there is to do, as far as the user said: a number of steps, hours on some hardware, or nothing."""

    steps: int | None = None
    hours: float | None = None
    on: str | None = None
    """The GPU, or ``cpu``, that took ``hours``."""
    like: str | None = None
    """A workload that was measured in ``benchmarks/``, whose steps are as long as these."""
    evaluation_h: float | None = None
    """What comes beside the steps: evaluation, writing results."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"work.steps must be at least 1: {self.steps}")
        if self.hours is not None and not 0.0 < self.hours < float("inf"):
            raise ValueError(f"work.hours must be above 0: {self.hours}")
        if self.hours is not None and self.on is None:
            raise ValueError("work.hours needs work.on: the hardware that took them")


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierRun:
    """What an earlier run of the same job showed about its pace."""

    steps_per_s: float
    gpu_name: str | None
    provider: str = ""
    gpu_memory_gib: float = 0.0
    instance_type: str = ""
    vcpus: float = 0.0
    steps: int | None = None
    """All the steps that the job had, where it finished."""
    label: str = ""
    """For people: ``b2t-x4k2``."""
    beside_share: float | None = None
    """Hours at work beside the steps (evaluation, start and end of the program) per hour of steps; None: not seen."""
    batch_size: float | None = None
    precision: str | None = None
    """As the program reported them; runs that differ in them are no evidence for each other."""

    def __post_init__(self) -> None:
        if not 0.0 < self.steps_per_s < float("inf"):
            raise ValueError(f"a pace must be above 0 steps/s: {self.steps_per_s}")

    @property
    def speed(self) -> Speed | None:
        """What it ran on."""
        return speed_on(self.gpu_name, self.vcpus, self.gpu_memory_gib)


_ONE_RUN = (0.85, 1.25)
_TWO_RUNS = (0.9, 1.15)
"""Of what a third one takes, two show less than half."""
_SEVERAL_RUNS = (0.95, 1.1)
_SAME_HARDWARE = (0.85, 1.3)
_BENCHMARK = (0.7, 1.4)
"""The same workload on the same hardware, in another program's hands, with other data and another host."""
_EVALUATION = (0.5, 2.0)

_TYPICAL_GPU = "RTX 4090"
_TYPICAL_GPU_STEP_S = Range(0.015, 0.1, 0.6)
"""Seconds per optimizer step of the models that people train on one rented GPU."""
_TYPICAL_CORES = 4.0
_TYPICAL_CPU_STEP_S = Range(0.02, 0.2, 3.0)
"""On CPUs people train what fits there: much smaller models, not much slower steps."""
_NO_IDEA_H = Range(0.25, 3.0, 12.0)


def work_time(
    offer: Offer,
    work: Work,
    *,
    history: Sequence[EarlierRun] = (),
    benchmarks: Sequence[Benchmark] = (),
    times: Sequence[EarlierTime] = (),
    max_duration_s: float | None = None,
    gpus_used: int | None = None,
) -> WorkTime:
    """Return how long ``work`` takes on ``offer``; there is always an answer, and it is never zero for real work.

    ``history`` and ``times`` are newest first; those of the cloud that pretends count for its own offers alone.
    ``gpus_used``: of a machine's GPUs; None: all.
    """
    alike = _alike([run for run in history if teaches(run.provider, offer)])
    times = [time for time in times if teaches(time.provider, offer)]
    benchmarks = [item for item in benchmarks if item.workload == work.like]
    gpus = gpus_at_work(offer, gpus_used)
    measured = (
        _measured_here(offer, work, alike)
        or timed_here(offer, work.steps, times, gpus=gpus)
        or _benchmarked_here(offer, work, benchmarks)
    )
    known = measured or _narrowest(
        (
            _from_hours(offer, work),
            _measured_elsewhere(offer, work, alike),
            _benchmarked(offer, work, benchmarks),
            timed_elsewhere(offer, work.steps, times, gpus=gpus),
        )
    )
    found = known or _from_steps(offer, work) or _from_limit(max_duration_s)
    return found if found.is_whole else _with_evaluation(found, work, alike)


def _alike(history: Sequence[EarlierRun]) -> list[EarlierRun]:
    """The runs that computed as the newest did: another batch or precision is another job."""
    return [
        run
        for run in history
        if (run.batch_size, run.precision) == (history[0].batch_size, history[0].precision)
    ]


def _narrowest(candidates: Sequence[WorkTime | None]) -> WorkTime | None:
    known = [item for item in candidates if item is not None]
    return min(known, key=lambda item: (item.source is Source.GUESS, _width(item.hours)), default=None)


def _width(hours: Range) -> float:
    """Rounded, so that sources of equal merit stay in their order."""
    return round(hours.high / hours.low, 6)


def _with_evaluation(found: WorkTime, work: Work, history: Sequence[EarlierRun]) -> WorkTime:
    if work.evaluation_h is not None:
        hours = Range.exactly(work.evaluation_h).spread(*_EVALUATION)
        words = f"{duration(3600 * work.evaluation_h)} beside the steps, as the job says; the machine is not considered"
        return replace(found, evaluation=hours, evaluation_basis=words)
    seen = [run for run in history if run.beside_share]
    if not seen or found.source is Source.GUESS:
        return found
    shares = [run.beside_share or 0.0 for run in seen]
    spread = Range.seen(shares).spread(0.8, 1.25)
    hours = Range(
        found.hours.low * spread.low, found.hours.likely * spread.likely, found.hours.high * spread.high
    )
    return replace(
        found,
        evaluation=hours,
        evaluation_basis=f"{spread.likely:.0%} of the time of the steps, as in {runs_words([run.label for run in seen])}",
    )


def _measured_here(offer: Offer, work: Work, history: Sequence[EarlierRun]) -> WorkTime | None:
    same = [run for run in history if (work.steps or run.steps) and _same_hardware(offer, run)]
    if not same:
        return None
    hours = [_steps(work, run) / run.steps_per_s / 3600.0 for run in same]
    spread = {1: _ONE_RUN, 2: _TWO_RUNS}.get(len(same), _SEVERAL_RUNS)
    # A few minutes of calibration say how wide it may be; of runs that did all their work it is known how long it is.
    whole = [run for run in same if run.beside_share is not None] or same
    pace = Range.seen([run.steps_per_s for run in whole]).likely
    likely_h = Range.seen([_steps(work, run) / run.steps_per_s / 3600.0 for run in whole]).likely
    return WorkTime(
        hours=replace(Range.seen(hours), likely=likely_h).spread(*spread),
        source=Source.MEASURED,
        basis=f"{_steps(work, same[0]):,} steps at {pace:.3g}/s, measured by {runs_words([run.label for run in same])}"
        f" on {hardware_words(offer)}{_how_computed(same[0])}",
    )


def _how_computed(run: EarlierRun) -> str:
    parts = [run.precision, f"batch {run.batch_size:g}" if run.batch_size else None]
    said = ", ".join(part for part in parts if part)
    return f" ({said})" if said else ""


def _measured_elsewhere(offer: Offer, work: Work, history: Sequence[EarlierRun]) -> WorkTime | None:
    known = [run for run in history if (work.steps or run.steps)]
    if not known:
        return None
    run = known[0]
    hours_there = Range.exactly(_steps(work, run) / run.steps_per_s / 3600.0)
    return WorkTime(
        hours=slowed(hours_there, offer, run.speed),
        source=Source.SCALED,
        basis=f"{_steps(work, run):,} steps, scaled from {run.steps_per_s:.3g}/s on {run.gpu_name or 'CPU'}"
        f" ({run.label}) by clock, bandwidth and compute",
        narrow_by=(a_run_on(offer),),
    )


def _benchmarked_here(offer: Offer, work: Work, benchmarks: Sequence[Benchmark]) -> WorkTime | None:
    same = [item for item in benchmarks if item.is_of(offer)]
    if not same or work.steps is None:
        return None
    hours = [work.steps / item.steps_per_s / 3600.0 for item in same]
    return WorkTime(
        hours=Range.seen(hours).spread(*_BENCHMARK),
        source=Source.MEASURED,
        basis=f"{work.steps:,} steps at {same[0].steps_per_s:.3g}/s, {same[0].words}",
        narrow_by=(a_run_on(offer),),
    )


def _benchmarked(offer: Offer, work: Work, benchmarks: Sequence[Benchmark]) -> WorkTime | None:
    known = [item for item in benchmarks if item.speed is not None]
    if not known or work.steps is None:
        return None
    there = known[0]
    hours_there = Range.exactly(work.steps / there.steps_per_s / 3600.0)
    return WorkTime(
        hours=slowed(hours_there, offer, there.speed),
        source=Source.SCALED,
        basis=f"{work.steps:,} steps, scaled from {there.steps_per_s:.3g}/s, {there.words}",
        narrow_by=(a_run_on(offer),),
    )


def _from_hours(offer: Offer, work: Work) -> WorkTime | None:
    if work.hours is None or work.on is None:
        return None
    on_cpu = parse_gpu(work.on).model == "CPU"
    there = (
        cpu_speed(offer.vcpus if offer.gpu_name is None else _TYPICAL_CORES) if on_cpu else gpu_speed(work.on)
    )
    same = (
        offer.gpu_name is None
        if on_cpu
        else offer.gpu_name is not None and same_gpu(work.on, offer.gpu_name, offer.gpu_memory_gib)
    )
    if same:
        hours = Range.exactly(work.hours).spread(*_SAME_HARDWARE)
        return WorkTime(
            hours=hours, source=Source.SCALED, basis=f"{work.hours:g} h on {work.on}, as the job says"
        )
    known = there is not None and speed_of(offer) is not None
    how = (
        "scaled by clock, memory bandwidth and compute"
        if known
        else "and nothing is known about one of the two GPUs"
    )
    return WorkTime(
        hours=slowed(Range.exactly(work.hours), offer, there),
        source=Source.SCALED if known else Source.GUESS,
        basis=f"{work.hours:g} h on {work.on}, {how} to {hardware_words(offer)}",
        narrow_by=(a_run_on(offer),) if there is not None else (_unknown_gpu(work.on), a_run_on(offer)),
    )


def _unknown_gpu(name: str) -> str:
    close = nearest(name, known_gpus())
    return f"another work.on: nothing is known of {name}" + (f"; did you mean {close}?" if close else "")


def _from_steps(offer: Offer, work: Work) -> WorkTime | None:
    if work.steps is None:
        return None
    if offer.gpu_name is None:
        step_s = slowed(_TYPICAL_CPU_STEP_S, offer, cpu_speed(_TYPICAL_CORES))
    else:
        step_s = slowed(_TYPICAL_GPU_STEP_S, offer, gpu_speed(_TYPICAL_GPU))
    return WorkTime(
        hours=step_s * (work.steps / 3600.0),
        source=Source.GUESS,
        basis=f"a guess: {work.steps:,} steps at a typical {step_s.low:.2g} to {step_s.high:.2g} s each"
        f" on {hardware_words(offer)}",
        narrow_by=(a_run_on(offer), "work: {hours: …, on: …} in the job file"),
    )


def _from_limit(max_duration_s: float | None) -> WorkTime:
    narrow_by = ("work: {steps: …} or {hours: …, on: …} in the job file", "one earlier run of this job")
    if max_duration_s is None:
        basis = "a guess: nothing is known about this work"
        return WorkTime(hours=_NO_IDEA_H, source=Source.GUESS, basis=basis, narrow_by=narrow_by)
    limit_h = max_duration_s / 3600.0
    basis = f"a guess: nothing is known about this work but its limit of {limit_h:.3g} h"
    return WorkTime(
        hours=Range(0.1 * limit_h, 0.5 * limit_h, limit_h),
        source=Source.GUESS,
        basis=basis,
        narrow_by=narrow_by,
    )


def _steps(work: Work, run: EarlierRun) -> int:
    return work.steps or run.steps or 0


def _same_hardware(offer: Offer, run: EarlierRun) -> bool:
    if offer.gpu_name is None or run.gpu_name is None:
        same_type = not run.instance_type or offer.instance_type == run.instance_type
        return offer.gpu_name is None and run.gpu_name is None and offer.vcpus == run.vcpus and same_type
    return same_gpu(run.gpu_name, offer.gpu_name, offer.gpu_memory_gib)
