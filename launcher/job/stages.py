"""A job of several stages, seen as one job per stage. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from launcher.job.problem import FieldError, nearest

if TYPE_CHECKING:
    from launcher.job.model import Job
    from launcher.job.parts import Stage

__all__ = ["alone", "job_of_stage", "stage_named"]


def job_of_stage(job: Job, name: str) -> Job:
    """Return the job that a stage is by itself: its own ``run``, and what it does not say as the job says it.

    A job with ``run`` has one stage and is that job.
    """
    if not job.stages:
        return job
    stage = stage_named(job, name)
    return dataclasses.replace(
        job,
        run=stage.run,
        setup=stage.setup,
        resources=stage.resources or job.resources,
        environment=stage.environment or job.environment,
        work=stage.work or job.work,
        stages=(),
    )


def stage_named(job: Job, name: str) -> Stage:
    """Return a stage, complete (`Job.every_stage`).

    Raises:
        JobFileError: there is none of that name; the hint names the nearest, or all.
    """
    stages = job.every_stage
    for stage in stages:
        if stage.name == name:
            return stage
    names = [stage.name for stage in stages]
    close = nearest(name, names)
    raise FieldError(
        f"there is no stage {name!r}",
        path=("stages",),
        hint=f"did you mean {close!r}?" if close else f"there are: {', '.join(names)}",
    )


def alone(job: Job, name: str) -> Job:
    """Return the job with one stage of it, which waits for no other: what others would have given it is there already."""
    stage = stage_named(job, name)
    if not job.stages:
        return job
    (written,) = (item for item in job.stages if item.name == stage.name)
    return dataclasses.replace(job, stages=(dataclasses.replace(written, needs=(), after=()),))
