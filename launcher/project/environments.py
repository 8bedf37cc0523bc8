"""Which of a project's files its environment is best made from: what is pinned before what is not, and no lock that is none."""

from __future__ import annotations

import re
from pathlib import Path

from launcher.job.declared import BUILT, PROJECT, Undeclared, asked_python, requirements_of
from launcher.job.lock_format import OTHER_LOCKS, LockFormat, lock_format
from launcher.job.locks import lock_problem, outdated
from launcher.job.requirements import lines_of

__all__ = ["environment_files", "python_of"]

REQUIREMENTS = ("requirements.txt", "requirements-gpu.txt", "requirements/train.txt", "requirements/base.txt")
LOCKS = ("uv.lock", "pylock.toml", "requirements.lock")
PYTHON_FILE = ".python-version"
OLDEST_OF_IMAGES = (3, 10)
"""What rented machines have at least; a project that takes it needs no Python of its own."""
CONDA = ("environment.yml", "environment.yaml", "conda.yml", "conda.yaml", "env.yml")

Found = tuple[tuple[str, str], ...]


def environment_files(root: Path, paths: set[str]) -> tuple[Found, Found]:
    """Return (field of ``environment``, file), the best first, and (file, reason) of what cannot be used.

    A requirements file with a hash for every package is a lock. ``paths``: the project's files, relative to ``root``.
    """
    usable: list[tuple[str, str]] = []
    unusable: list[tuple[str, str]] = []
    for name in LOCKS:
        path = _nearest((name,), paths)
        if path is None:
            continue
        problem = _problem(root / path)
        if problem is None:
            usable.append(("lock", path))
        else:
            unusable.append((path, problem))
    for field, names in (("requirements", REQUIREMENTS), ("conda", CONDA)):
        path = _nearest(names, paths)
        if path is not None:
            is_lock = field == "requirements" and _has_hashes(root / path) and _problem(root / path) is None
            usable.append(("lock" if is_lock else field, path))
    if PROJECT in paths:
        usable += _declared(root / PROJECT, unusable, is_needed=not usable)
    if not usable:
        usable += [("requirements", name) for name in BUILT[:1] if name in paths]
    unusable += [
        (name, f"is a lock of another tool; {OTHER_LOCKS[name]}") for name in OTHER_LOCKS if name in paths
    ]
    return tuple(usable), tuple(unusable)


def python_of(root: Path, paths: set[str]) -> str | None:
    """Return the Python that the project asks for, where the machine's own may not do; None otherwise."""
    if PYTHON_FILE in paths:
        words = _text(root / PYTHON_FILE).split()
        if words and re.fullmatch(r"3\.\d{1,2}(\.\d{1,3})?", words[0]):
            return words[0]
    asked = asked_python(_text(root / PROJECT)) if PROJECT in paths else None
    return f"{asked[0]}.{asked[1]}" if asked is not None and asked > OLDEST_OF_IMAGES else None


def _declared(path: Path, unusable: list[tuple[str, str]], *, is_needed: bool) -> Found:
    """A project's own file, where it says what is needed; why it cannot be used is told where nothing else can."""
    try:
        return (("requirements", path.name),) if requirements_of(_text(path)) else ()
    except Undeclared as err:
        if is_needed and err.hint is not None:
            unusable.append((path.name, f"{err}; {err.hint}"))
    return ()


def _nearest(names: tuple[str, ...], paths: set[str]) -> str | None:
    """At the top, in the order of ``names``, else one folder below."""
    at_top = next((name for name in names if name in paths), None)
    deeper = (path for path in paths if path.rpartition("/")[2] in names and path.count("/") == 1)
    return at_top or min(deeper, default=None)


def _problem(path: Path) -> str | None:
    kind, text = lock_format(path.name), _text(path)
    problem = lock_problem(kind, text)
    if problem is not None or kind is not LockFormat.UV:
        return problem
    project = path.with_name("pyproject.toml")
    if not project.is_file():
        return "belongs to a pyproject.toml, and there is none beside it"
    words = outdated(kind, text, _text(project))
    return f"is out of date: {words}; write it again with `uv lock`" if words else None


def _has_hashes(path: Path) -> bool:
    return any(line.hashes for line in lines_of(_text(path)))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
