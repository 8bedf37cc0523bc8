"""What Vast forgets, on file: which instance a token has made, whether it ever ran, and which machines failed us."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from provisioning.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Made", "Notes"]

AVOIDED_FOR = timedelta(hours=12)
SLOW_AFTER = timedelta(minutes=5)
"""An instance that is ended later than this and never ran is its machine's fault."""
KEPT_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One instance that a try of this home has made."""

    instance_id: str
    token: str
    location: str
    made_at: datetime
    ran: bool = False


class Notes:
    """Small files, so that another process, or this one after a crash, knows it too. A full disk loses notes only."""

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self._made = folder / "made"
        self._avoided = folder / "avoided"
        self._clock = clock

    def note_made(self, instance_id: str, token: str, location: str) -> None:
        """Remember what a token has made; forget what is long past."""
        made = Made(instance_id=instance_id, token=token, location=location, made_at=self._clock())
        self._write(made)
        with suppress(OSError):
            for path in [*self._made.iterdir(), *(self._avoided.iterdir() if self._avoided.is_dir() else ())]:
                if self._clock().timestamp() - path.stat().st_mtime > KEPT_FOR.total_seconds():
                    path.unlink(missing_ok=True)

    def note_running(self, instance_id: str) -> None:
        """Remember that an instance did run."""
        made = self._read(instance_id)
        if made is not None and not made.ran:
            self._write(replace(made, ran=True))

    def made_by(self, token: str) -> Made | None:
        """Return the instance of a token, also when it is gone; None for one that made none here."""
        try:
            found = [self._read(path.name) for path in self._made.iterdir()]
        except OSError:
            return None
        return next((made for made in found if made is not None and made.token == token), None)

    def judge_end(self, instance_id: str) -> None:
        """Avoid the machine of an instance that is ended before it ever ran, unless it was ended early on."""
        made = self._read(instance_id)
        if made is not None and not made.ran and self._clock() - made.made_at >= SLOW_AFTER:
            minutes = (self._clock() - made.made_at).total_seconds() / 60.0
            self.avoid(made.location, f"its container did not run within {minutes:.0f} min")

    def avoid(self, location: str, why: str) -> None:
        """Rent nothing on a machine for a while."""
        with suppress(OSError):
            write_atomically(self._avoided / location, f"{self._clock().isoformat()}\n{why}\n")

    def why_avoided(self, location: str) -> str | None:
        """Say why nothing is rented on a machine at present; None when it may be."""
        if "/" in location:
            return None
        try:
            at, why, *_ = (self._avoided / location).read_text(encoding="utf-8").splitlines()
            return why if self._clock() - datetime.fromisoformat(at) < AVOIDED_FOR else None
        except (OSError, ValueError):
            return None

    def _read(self, instance_id: str) -> Made | None:
        if "/" in instance_id:
            return None
        try:
            told = json.loads((self._made / instance_id).read_text(encoding="utf-8"))
            return Made(**{**told, "made_at": datetime.fromisoformat(told["made_at"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _write(self, made: Made) -> None:
        told = {**asdict(made), "made_at": made.made_at.isoformat()}
        with suppress(OSError):
            write_atomically(self._made / made.instance_id, json.dumps(told))
