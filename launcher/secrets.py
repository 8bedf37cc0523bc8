"""Secrets of a live run at home: one private file, from launch until the run has ended. Never in the record."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
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


def read_secrets(path: Path) -> dict[str, str]:
    """Return the secrets of a run, none when it has none; `StoreError` when the file is broken."""
    try:
        return {str(name): str(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as err:
        raise StoreError(
            f"the secrets of this run cannot be read from {path}: {type(err).__name__}",
            hint="`launch resume` with the secrets in the environment writes them anew",
        ) from err
