"""What an environment is made of at home: its files, read at launch, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from launcher.job.declared import BUILT, PROJECT, Undeclared, editable_line, groups_of, requirements_of
from launcher.job.lock_format import LockFormat, lock_format
from launcher.job.locks import extras_of, lock_problem, locked_groups, outdated
from launcher.job.notebook import PACKAGES, notebook_of, with_packages
from launcher.job.problem import FieldError
from launcher.job.requirements import included, lines_of, normal_name, with_included

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.job.model import Job
    from launcher.job.parts import Environment
    from launcher.job.problem import Path as FieldPath
    from launcher.runners.base import Environment as PlacedEnvironment

__all__ = ["ENVIRONMENT_FILES", "environment_at_launch", "environment_problems"]

ENVIRONMENT_FILES = ("requirements", "lock", "conda")


def environment_at_launch(
    job: Job, environment: Environment | None, *, run: str | None = None
) -> PlacedEnvironment:
    """Read what the environment is made from, as it is now: later edits change nothing. A notebook brings what executes it.

    ``run``: of the stage whose environment it is; the job's when it is not given.

    Raises:
        JobFileError: a file is not there, is not text, or is not what it is called.
    """
    from launcher.runners.base import Environment as PlacedEnvironment  # slow, and only a launch needs it

    if environment is None:
        return PlacedEnvironment()
    placed = PlacedEnvironment(**_read(job, environment))
    if notebook_of(run if run is not None else job.run) is None:
        return placed
    return _with_what_executes_notebooks(placed)


def environment_problems(job: Job, environment: Environment) -> Iterator[FieldError]:
    """Yield what is wrong with the files of ``environment``, by their fields in it, the first of each file."""
    if all(getattr(environment, name) is None for name in ENVIRONMENT_FILES):
        return
    try:
        read = _read(job, environment)
    except FieldError as err:
        yield err
        return
    stale = _outdated(job, environment, read)
    if stale is not None:
        path, words, line = stale
        hint = f"write it again: {line}" if line else "write it again"
        yield FieldError(f"{path} is out of date: {words}", path=("environment", "lock"), hint=hint)


def _read(job: Job, environment: Environment) -> dict[str, Any]:
    """The fields of the environment that is placed."""
    if environment.requirements is not None:
        path = job.home_path(environment.requirements)
        text, parts = _requirements(job, environment, path)
        return {"python": environment.python, "requirements": text, "included": parts}
    if environment.lock is not None:
        read = _read_lock(job.home_path(environment.lock), environment.python)
        if read["project"] is not None:
            _require_names(environment, read["project"])
        return {**read, "extras": environment.extras, "groups": environment.groups}
    if environment.conda is not None:
        path = job.home_path(environment.conda)
        text = _text(path, "conda")
        problem = _conda_problem(text)
        if problem is not None:
            raise FieldError(f"{path} {problem}", path=("environment", "conda"))
        return {"conda": text}
    return {"python": environment.python}


def _read_lock(path: Path, python: str | None) -> dict[str, Any]:
    kind, text = lock_format(path.name), _text(path, "lock")
    problem = lock_problem(kind, text)
    if problem is not None:
        raise FieldError(f"{path} {problem}", path=("environment", "lock"))
    project = None
    if kind is LockFormat.UV:
        beside = path.with_name(PROJECT)
        if not beside.is_file():
            raise FieldError(
                f"{path} belongs to a {PROJECT}, and there is none beside it",
                path=("environment", "lock"),
                hint="name the lock in the folder of its project",
            )
        project = _text(beside, "lock")
    return {"python": python, "lock": text, "lock_format": kind, "project": project}


def _requirements(job: Job, environment: Environment, path: Path) -> tuple[str, dict[str, str]]:
    """A requirements file as it stands; of a project what it declares, or the line that installs it."""
    field: FieldPath = ("environment", "requirements")
    if path.name in BUILT:
        folder = Path(os.path.relpath(path.parent.resolve(), job.workdir_path))
        if ".." in folder.parts:
            raise FieldError(f"{path} lies outside of the working folder, which goes up alone", path=field)
        return editable_line(folder.as_posix()), {}
    if path.name != PROJECT:
        return _with_parts(path)
    text = _text(path, "requirements")
    _require_names(environment, text)
    try:
        return requirements_of(text, extras=environment.extras, groups=environment.groups), {}
    except Undeclared as err:
        raise FieldError(
            f"{path} {err}", path=field, hint=err.hint or "write requirements.txt, and name that"
        ) from None


def _require_names(environment: Environment, project: str) -> None:
    """Extras and groups that a project does not have are refused, each by its place in the list."""
    for field, names, known in (
        ("extras", environment.extras, extras_of(project)),
        ("groups", environment.groups, groups_of(project)),
    ):
        for position, name in enumerate(names):
            if known is not None and normal_name(name) not in known:
                raise FieldError(
                    f"the project has no {field.removesuffix('s')} {name!r}; it has {', '.join(sorted(known)) or 'none'}",
                    path=("environment", field, position),
                )


def _outdated(job: Job, environment: Environment, read: dict[str, Any]) -> tuple[Path, str, str] | None:
    """The lock, in what it differs from what it was made of, and the line that makes it anew."""
    if environment.lock is None:
        return None
    path = job.home_path(environment.lock)
    source, line = read["project"], "uv lock"
    if read["lock_format"] is LockFormat.PINNED:
        beside = path.with_suffix(".in")
        source = _text(beside, "lock") if beside.is_file() else None
        line = f"uv pip compile --generate-hashes {beside.name} -o {path.name}"
    words = outdated(read["lock_format"], read["lock"], source) if source is not None else None
    known = locked_groups(read["lock"]) if environment.groups and words is None else None
    unknown = [name for name in environment.groups if known is not None and normal_name(name) not in known]
    if unknown:
        words = f"pyproject.toml has the group {unknown[0]}, and the lock does not know it"
    return None if words is None else (path, words, line)


def _with_parts(path: Path) -> tuple[str, dict[str, str]]:
    """A requirements file, and the files that it includes, whatever they include: named so that they can lie in one folder."""
    names: dict[Path, str] = {}
    texts: dict[str, str] = {}

    def read(file: Path) -> str:
        text = _text(file, "requirements")
        inside = {}
        for written in included(text):
            other = Path(os.path.normpath(file.parent / written))
            if other not in names:
                names[other] = f"{len(names)}-{other.name}"
                texts[names[other]] = ""  # a file that includes itself is read once
                texts[names[other]] = read(other)
            inside[written] = names[other]
        return with_included(text, inside) if inside else text

    names[Path(os.path.normpath(path))] = "requirements.txt"
    return read(path), texts


def _text(path: Path, field: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "not UTF-8 text"
        raise FieldError(f"{path} cannot be read: {reason}", path=("environment", field)) from None


def _conda_problem(text: str) -> str | None:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as err:
        return f"is no conda environment file: {str(err).splitlines()[0]}"
    if not isinstance(document, dict) or not isinstance(document.get("dependencies"), list):
        return "is no conda environment file: it has no list of dependencies"
    local = [
        line
        for one in document["dependencies"]
        if isinstance(one, dict)
        for line in one.get("pip") or ()
        if str(line).strip().startswith(("-r", "--requirement", "-e", "--editable", "."))
    ]
    if local:
        return f"takes packages from this computer ({local[0]}); name them in it, or install them in setup"
    return None


def _with_what_executes_notebooks(placed: PlacedEnvironment) -> PlacedEnvironment:
    if placed.requirements is not None:
        return dataclasses.replace(placed, requirements=with_packages(placed.requirements))
    if placed.lock_format is LockFormat.PINNED and placed.lock is not None:
        named = {line.name for line in lines_of(placed.lock)}
        return dataclasses.replace(placed, added=tuple(one for one in PACKAGES if one not in named))
    return dataclasses.replace(placed, added=PACKAGES) if placed.is_made else placed
