"""Which machines were made a moment ago, on file: clouds list new ones late, and what is not listed yet is not gone."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from provisioning.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Newcomers"]

NEW_FOR = timedelta(minutes=2)


class Newcomers:
    """One small file per machine, so that another process, or this one after a crash, knows it too."""

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._clock = clock

    def note(self, instance_id: str) -> None:
        """Remember that a machine was just made; forget those that are new no longer.

        A full disk is no reason to lose a machine that is rented: then it is not remembered.
        """
        with suppress(OSError):
            write_atomically(self._folder / instance_id, self._clock().isoformat())
            for path in self._folder.iterdir():
                if not self.is_new(path.name):
                    path.unlink(missing_ok=True)

    def forget(self, instance_id: str) -> None:
        """Let a machine be gone when it is not listed: it was ended."""
        if "/" not in instance_id:
            with suppress(OSError):
                (self._folder / instance_id).unlink(missing_ok=True)

    def is_new(self, instance_id: str) -> bool:
        """Whether a machine was made less than `NEW_FOR` ago."""
        if "/" in instance_id:
            return False
        try:
            made_at = datetime.fromisoformat((self._folder / instance_id).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return False
        return self._clock() - made_at < NEW_FOR
