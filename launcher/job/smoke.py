"""Small runs in place of the long one: on the real machine before it, and in a rehearsal at home. Pure."""

from __future__ import annotations

import dataclasses
import re

from launcher.job.model import Job
from launcher.job.names import MAX_NAME_LENGTH, derive_name
from launcher.job.parts import Smoke
from launcher.job.problem import FieldError

__all__ = ["run_to_rehearse", "small_run_of"]

SUFFIX = "-smoke"
TRAINER = re.compile(r"(?m)^(\s*trainer train)\b(?!.*--limit-batches)")
BATCHES = 5
"""Of our own trainer: enough to load, train, validate and save."""
TRAINER_COMMAND = re.compile(r"(?m)^(\s*trainer train\b(?:[^\n\\|;&#]|\\\n)*?)(?=[ \t]*(?:[|;&#]|$))")
REHEARSED = (
    "model.n_units=64",
    "model.n_layers=1",
    "dataset.batch_size=8",
    "checkpoints.every_s=10",
    "batches_per_train_log=1",
    "batches_per_val_step=100",
)
"""Of our own trainer at home: steps and saves every few seconds on any processor; the data are the job's."""


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


def run_to_rehearse(job: Job) -> tuple[str | None, str]:
    """Return what is run in place of a job's ``run`` when it is rehearsed, and what that leaves out, in words.

    That is `smoke.run` where there is one; of the trainer in the box a small model with quick saves. No words: it is the
    job as it stands.
    """
    if job.smoke is not None:
        return job.smoke.run, "smoke.run is what plays"
    if job.run is None or not TRAINER.search(job.run):
        return job.run, ""
    sets = " ".join(f"--set {one}" for one in REHEARSED)
    words = "the trainer plays with a small model on the job's data, and saves every 10 s: signals and resuming are the real ones"
    return TRAINER_COMMAND.sub(rf"\1 {sets}", job.run), words


def _of_the_trainer(job: Job) -> Smoke | None:
    if job.run is None or not TRAINER.search(job.run):
        return None
    return Smoke(run=TRAINER.sub(rf"\1 --limit-batches {BATCHES}", job.run))
