"""Secrets of a live run at home: one private file, from launch until the run has ended. Never in the record."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from launcher.errors import StoreError

__all__ = ["read_secrets", "write_secrets"]


def write_secrets(path: Path, secrets: Mapping[str, str]) -> None:
    """Keep secrets for recoveries, readable by this user alone from the first byte; nothing is written for none."""
    if not secrets:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(dict(secrets), file)
        file.flush()
        os.fsync(file.fileno())


def read_secrets(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the secrets of a run that are called ``names``; a job is never started with one missing.

    Raises:
        StoreError: the file is broken, or does not hold them all.
    """
    wanted = set(names)
    if not wanted:
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(stored[name]) for name in sorted(wanted)}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise StoreError(
            f"the secrets {', '.join(sorted(wanted))} of this run cannot be read from {path}: {type(err).__name__}",
            hint="`launch stop`, then `launch resume` with the secrets in the environment, writes them anew",
        ) from err
