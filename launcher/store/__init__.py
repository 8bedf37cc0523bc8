"""The record of all runs: SQLite in WAL mode, safe with several processes, versioned from the first day."""

from launcher.store.database import Store
from launcher.store.rows import (
    AccountRow,
    AttemptRow,
    InstanceRow,
    Intent,
    RunRow,
    SpeedRow,
    TryOutcome,
    TryRow,
    WorkRow,
)

__all__ = [
    "AccountRow",
    "AttemptRow",
    "InstanceRow",
    "Intent",
    "RunRow",
    "SpeedRow",
    "Store",
    "TryOutcome",
    "TryRow",
    "WorkRow",
]
