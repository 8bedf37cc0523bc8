"""Which kind of lock a file is, by its name. Pure, and cheap to import: every job file is checked with it."""

from __future__ import annotations

import enum
import re

__all__ = ["OTHER_LOCKS", "LockFormat", "lock_format", "requirements_name_problem"]


class LockFormat(str, enum.Enum):
    """Who wrote a lock."""

    UV = "uv.lock"
    """``uv lock``; it belongs to the ``pyproject.toml`` beside it."""
    PYLOCK = "pylock.toml"
    """The standard format (PEP 751): ``uv export --format pylock.toml``, ``pip lock``."""
    PINNED = "requirements.txt"
    """``pip-compile``, ``uv pip compile``: every package with one version, with or without hashes."""


OTHER_LOCKS = {
    "poetry.lock": "poetry export --format requirements.txt --output requirements.lock",
    "pdm.lock": "pdm export --format pylock --output pylock.toml",
    "Pipfile.lock": "pipenv requirements --hash > requirements.lock",
    "conda-lock.yml": "name the conda file itself under environment.conda",
    "pixi.lock": "pixi project export conda-environment environment.yml, under environment.conda",
}
"""Locks of other tools, and what makes one of ours of them."""


def lock_format(name: str) -> LockFormat:
    """Return the kind that a file of this name is.

    Raises:
        ValueError: it is another tool's; the words say how to get one that can be used.
    """
    if name in OTHER_LOCKS:
        raise ValueError(f"is a lock of another tool; {OTHER_LOCKS[name]}")
    if name.endswith("uv.lock"):
        return LockFormat.UV
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", name):
        return LockFormat.PYLOCK
    if name.endswith(".toml"):
        raise ValueError("is no lock: a standard lock is called pylock.toml or pylock.NAME.toml")
    return LockFormat.PINNED


def requirements_name_problem(path: str) -> str | None:
    """Say why a file of this name holds no requirements, and where it belongs; None when it may."""
    name = path.rpartition("/")[2]
    if name in OTHER_LOCKS:
        return f"{path} is a lock of another tool; {OTHER_LOCKS[name]}"
    if name.endswith("uv.lock") or re.fullmatch(r"pylock(\.[^.]+)?\.toml", name):
        return f"{path} is a lock: write environment: {{lock: {path}}}"
    if name.endswith((".yml", ".yaml")):
        return f"{path} is no requirements file; a conda file: environment: {{conda: {path}}}"
    if name == "Pipfile":
        return f"{path} is pipenv's: pipenv requirements > requirements.txt"
    return None
