"""The code of a run: what of the working folder goes up, what stays and why, packed once at launch.

`kept_out` says what in a job's folder is no code, `survey` what would go up (before the prompt), `pack` writes it.
"""

from __future__ import annotations

from launcher.snapshot.manifest import REFUSE_BYTES, WARN_BYTES, Entry, LeftOut, Manifest, survey
from launcher.snapshot.of_job import kept_out
from launcher.snapshot.pack import Snapshot, pack

__all__ = [
    "REFUSE_BYTES",
    "WARN_BYTES",
    "Entry",
    "LeftOut",
    "Manifest",
    "Snapshot",
    "kept_out",
    "pack",
    "survey",
]
