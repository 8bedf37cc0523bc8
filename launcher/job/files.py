"""The files at home that a job names: whether they are there, and what is read from them at launch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from launcher.job.environments import ENVIRONMENT_FILES, environment_problems
from launcher.job.notebook import notebook_of, notebook_problem
from launcher.job.problem import FieldError, Path, nearest

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from launcher.job.model import Job
    from launcher.job.parts import Environment

__all__ = ["missing_files", "mount_above", "required_at_home"]


def missing_files(job: Job) -> tuple[FieldError, ...]:
    """Return one error for every file or folder that the job names and that is not there or not what it should be.

    Raises nothing.
    """
    return tuple(_missing(job))


def _missing(job: Job) -> Iterator[FieldError]:
    if not job.workdir_path.is_dir():
        what = "is not a folder" if job.workdir_path.exists() else "does not exist"
        yield _error(job.workdir_path, what, ("workdir",))
        return  # nothing in it can be there either
    for target, source in job.file_mounts.items():
        if "://" not in source and not job.home_path(source).exists():
            yield _error(job.home_path(source), "does not exist", ("file_mounts", target))
    notebook = notebook_of(job.run)
    if notebook is not None:
        yield from _notebook(job.workdir_path / notebook, ("run",))
    yield from _missing_environment_files(job, job.environment, ())
    for position, stage in enumerate(job.stages):
        notebook = notebook_of(stage.run)
        if notebook is not None:
            yield from _notebook(job.workdir_path / notebook, ("stages", position, "run"))
        if stage.environment is not None:
            yield from _missing_environment_files(job, stage.environment, ("stages", position))
    for position, path in enumerate(job.requires):
        at_home = required_at_home(job, path)
        if at_home is not None and not at_home.exists():
            in_code = mount_above(job, path) is None
            of = f"the working folder, {job.workdir_path}" if in_code else "the job file"
            yield _error(at_home, "does not exist", ("requires", position), relative_to=of)


def _missing_environment_files(job: Job, environment: Environment, above: Path) -> Iterator[FieldError]:
    for name in ENVIRONMENT_FILES:
        text = getattr(environment, name)
        if text is not None and not job.home_path(text).is_file():
            what = "is not a file" if job.home_path(text).exists() else "does not exist"
            yield _error(job.home_path(text), what, (*above, "environment", name))
            return
    yield from (err.under(*above) for err in environment_problems(job, environment))


def _notebook(path: pathlib.Path, field: Path) -> Iterator[FieldError]:
    if not path.is_file():
        yield _error(path, "does not exist", field)
    elif (problem := notebook_problem(path)) is not None:
        yield FieldError(f"{path} {problem}", path=field, hint="open it in Jupyter, and save it again")


def _error(path: pathlib.Path, what: str, field: Path, *, relative_to: str = "the job file") -> FieldError:
    try:
        siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        siblings = []
    close = nearest(path.name, siblings) if what == "does not exist" else None
    hint = f"did you mean {path.parent / close}?" if close else f"it is looked for relative to {relative_to}"
    return FieldError(f"{path} {what}", path=field, hint=hint)


def required_at_home(job: Job, path: str) -> pathlib.Path | None:
    """Return where a path of ``requires`` comes from at home; None when a machine will fetch it from elsewhere."""
    wanted = os.path.normpath(path)
    target = mount_above(job, path)
    if target is None:
        return job.workdir_path / wanted
    source = job.file_mounts[target]
    if "://" in source:
        return None
    return job.home_path(source) / wanted[len(os.path.normpath(target)) :].lstrip("/")


def mount_above(job: Job, path: str) -> str | None:
    """Return the target of ``file_mounts`` through which a path comes, the longest one; None when it is code."""
    wanted = os.path.normpath(path)
    for target in sorted(job.file_mounts, key=len, reverse=True):
        normal = os.path.normpath(target)
        if wanted == normal or wanted.startswith(normal + "/"):
            return target
    return None
