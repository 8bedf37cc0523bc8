"""Which parts of a job's working folder are not code: the run's own folders, and data that travels by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from launcher.job.places import OUTPUT_DIR
from launcher.job.problem import FieldError
from launcher.results import results_bases

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.job import Job

__all__ = ["kept_out"]


def kept_out(job: Job, *, out: Path | None = None, home: Path | None = None) -> dict[str, str]:
    """Return path in the working folder → why it does not go up with the code.

    ``out``: where results lie when the command line says so; ``home``: ``LAUNCH_HOME``.

    Raises:
        JobFileError: a source of ``file_mounts`` is the working folder itself.
    """
    workdir = job.workdir_path
    reasons = {os.path.normpath(OUTPUT_DIR): "outputs are the run's"}
    for base in results_bases(job, out=out):
        _put(reasons, workdir, base, "results lie there")
    if home is not None:
        _put(reasons, workdir, home, "the launcher's own records")
    for target, source in job.file_mounts.items():
        if not target.startswith("/"):
            reasons[os.path.normpath(target)] = f"file_mounts puts {source} there"
        if "://" not in source:
            path = job.home_path(source).resolve()
            if path == workdir:
                raise FieldError(
                    "is the working folder itself, which goes up anyway", path=("file_mounts", target)
                )
            _put(reasons, workdir, path, f"goes up through file_mounts, as {target}")
    reasons[os.path.normpath(job.checkpoint.dir)] = "checkpoints are the run's"
    return reasons


def _put(reasons: dict[str, str], workdir: Path, path: Path, reason: str) -> None:
    resolved = path.resolve()
    if workdir in resolved.parents:
        reasons[str(resolved.relative_to(workdir))] = reason
