"""A small run on the real machine, and the long one when it has succeeded: the sequence of ``launch --smoke``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.api import launch
from launcher.errors import SmokeFailed, UsageError
from launcher.job import Job
from launcher.job.smoke import small_run_of
from launcher.planning.options import Options
from launcher.planning.preparation import Prepared, prepare
from launcher.run import Run, RunResult

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in `typing` from Python 3.11 on

__all__ = ["WithSmoke", "launch_after_smoke", "prepare_with_smoke"]

OWN_LIMITS = ("max_cost", "max_duration_s", "until", "name")
"""Options of the long run that the small one has of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithSmoke:
    """A job and its small run, both checked, priced and planned; `launch_after_smoke` starts them as they stand."""

    small: Prepared
    long: Prepared


def prepare_with_smoke(job: Job, **options: Unpack[Options]) -> WithSmoke:
    """Check, price and plan a job and the small run before it, which goes to the same place; free of charge.

    ``options`` are those of the long run; the small one has its own name and limits (``smoke`` in the job file).

    Raises:
        JobFileError: the job does not say what a small run of it would be.
        Others: as `launcher.prepare`.
    """
    long = prepare(job, **options)
    name = options.get("name")
    named = job.with_overrides({"name": name}) if name else job
    place: Options = {**options}
    for own in OWN_LIMITS:
        place.pop(own, None)  # type: ignore[misc]  # every key of it may be left out
    return WithSmoke(small=prepare(small_run_of(named), **place), long=long)


def launch_after_smoke(
    job: Job | WithSmoke, *, wait: Callable[[Run], RunResult] = Run.wait, **options: Unpack[Options]
) -> Run:
    """Start the small run of a job, wait for its end, then start the job; SPENDS MONEY without asking, twice at most.

    Returns the handle on the long run at once. It is the one that was planned before the small one began: what has
    become dearer meanwhile is not rented unasked. ``wait`` waits for the small run and returns its result.

    Raises:
        SmokeFailed: the small run did not succeed; the long one was not started.
        Others: as `launcher.launch`, for either of the two; nothing was rented then but the small run.
    """
    if isinstance(job, WithSmoke) and options:
        raise UsageError(
            f"options are given to prepare_with_smoke(), not with what it returned: {', '.join(options)}"
        )
    planned = job if isinstance(job, WithSmoke) else prepare_with_smoke(job, **options)
    planned.long.require_ok()
    planned.long.require_consent()
    result = wait(launch(planned.small))
    if not result.succeeded:
        raise SmokeFailed(result)
    return launch(planned.long)
