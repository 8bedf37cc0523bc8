"""The small run before the long one: the whole way on the real machine, with a slice of the work and a cap. Pure."""

from __future__ import annotations

import dataclasses
import re

from launcher.job.model import Job
from launcher.job.names import MAX_NAME_LENGTH, derive_name
from launcher.job.parts import Smoke
from launcher.job.problem import FieldError

__all__ = ["small_run_of"]

SUFFIX = "-smoke"
TRAINER = re.compile(r"(?m)^(\s*trainer train)\b(?!.*--limit-batches)")
BATCHES = 5
"""Of our own trainer: enough to load, train, validate and save."""


def small_run_of(job: Job) -> Job:
    """Return the small run of a job: everything as in the long one, but for what is run, its name and its limits.

    Without ``smoke`` a job of the trainer in the box trains on a few batches.

    Raises:
        JobFileError: the job does not say what a small run of it would be.
    """
    smoke = job.smoke or _of_the_trainer(job)
    if smoke is None:
        raise FieldError(
            "is missing: what would a small run of this job be",
            path=("smoke",),
            hint="smoke: {run: python train.py --steps 20}; the trainer in the box needs none",
        )
    return dataclasses.replace(
        job,
        name=derive_name(job.name[: MAX_NAME_LENGTH - len(SUFFIX)]) + SUFFIX,
        run=smoke.run,
        stages=(),
        smoke=None,
        work=None,
        expect={},
        give_up=None,
        max_duration=smoke.max_duration,
        max_cost=smoke.max_cost,
    )


def _of_the_trainer(job: Job) -> Smoke | None:
    if job.run is None or not TRAINER.search(job.run):
        return None
    return Smoke(run=TRAINER.sub(rf"\1 --limit-batches {BATCHES}", job.run))
