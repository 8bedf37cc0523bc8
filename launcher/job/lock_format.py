"""Which kind of lock a file is, by its name. Pure, and cheap to import: every job file is checked with it."""

from __future__ import annotations

import enum
import re

__all__ = ["LockFormat", "lock_format"]


class LockFormat(str, enum.Enum):
    """Who wrote a lock."""

    UV = "uv.lock"
    """``uv lock``; it belongs to the ``pyproject.toml`` beside it."""
    PYLOCK = "pylock.toml"
    """The standard format (PEP 751): ``uv export --format pylock.toml``, ``pip lock``."""
    PINNED = "requirements.txt"
    """``pip-compile``, ``uv pip compile``: every package with one version, with or without hashes."""


_OTHERS = {
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
    if name in _OTHERS:
        raise ValueError(f"is a lock of another tool; {_OTHERS[name]}")
    if name.endswith("uv.lock"):
        return LockFormat.UV
    if re.fullmatch(r"pylock(\.[^.]+)?\.toml", name):
        return LockFormat.PYLOCK
    if name.endswith(".toml"):
        raise ValueError("is no lock: a standard lock is called pylock.toml or pylock.NAME.toml")
    return LockFormat.PINNED
