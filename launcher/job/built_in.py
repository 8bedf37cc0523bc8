"""The job that comes with the product, for a folder that has none: it is offered, and never started unasked."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

from launcher.job.model import Job

__all__ = ["built_in_job"]


def built_in_job(base_dir: Path) -> Job:
    """Return the Brain-to-Text '25 pipeline with its data in ``base_dir/data`` and its results in ``base_dir/results``."""
    with resources.as_file(resources.files("launcher") / "data" / "b2t25.yaml") as path:
        job = Job.from_yaml(path)
    return dataclasses.replace(job, base_dir=base_dir.absolute())
