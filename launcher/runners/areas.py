"""The parts of a run folder; apart from `launcher.runners.base` because most commands need no more of it."""

from __future__ import annotations

import enum

__all__ = ["Area"]


class Area(str, enum.Enum):
    """The parts of a run folder that files can be fetched from."""

    WORK = "work"
    """The job's working folder, with ``checkpoints`` and ``outputs`` inside it as the program sees them."""
    CHANGED = "changed"
    """As `WORK`, but only what the run made or changed since its code was placed; without data and environments."""
    CHECKPOINTS = "checkpoints"
    LOGS = "logs"
    """Logs, ``metrics.jsonl``, ``system.csv``."""
