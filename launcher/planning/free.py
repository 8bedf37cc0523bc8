"""What a job would take of the hours that services give away. Nothing of it can be started from here yet."""

from __future__ import annotations

import math
from dataclasses import dataclass

from launcher.forecast.benchmarks import benchmarks
from launcher.forecast.ranges import Range
from launcher.forecast.throughput import Source, work_time
from launcher.job import Job
from launcher.planning.plan import Wants
from provisioning.free_hours import FreeHours, free_hours

__all__ = ["FreeWay", "free_ways"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeWay:
    """One kind of machine that costs nothing, and how often a run would have to be started on it by hand."""

    given: FreeHours
    hours: Range
    """Of work; what surrounds it happens elsewhere."""
    source: Source
    basis: str

    @property
    def sessions(self) -> tuple[int, int]:
        """Likely, and in the high case."""
        likely, high = (
            math.ceil(hours / self.given.session_h) for hours in (self.hours.likely, self.hours.high)
        )
        return likely, high

    @property
    def weeks(self) -> int:
        """In which its hours are spread, when none of them has been used otherwise."""
        return math.ceil(self.hours.likely / self.given.per_week_h)


def free_ways(job: Job, wants: Wants) -> tuple[FreeWay, ...]:
    """Return the free hours that have what a job asks for, the shortest time first."""
    given = {
        item.accelerator: item
        for wanted in job.resources.alternatives()
        if wanted.cloud is None
        for item in free_hours(wanted.query())
        if wanted.accepts(vcpus=item.machine.vcpus, memory_gib=item.machine.memory_gib)
    }
    found = []
    for item in given.values():
        time = work_time(
            item.machine,
            wants.work,
            history=wants.history,
            times=wants.times,
            benchmarks=benchmarks() if wants.work.like else (),
            max_duration_s=wants.max_duration_s,
        )
        hours = time.hours + time.evaluation
        found.append(FreeWay(given=item, hours=hours, source=time.source, basis=time.basis))
    return tuple(sorted(found, key=lambda way: way.hours.likely))
