"""Moving many files or large ones to a machine and from it. How depends on what both ends have."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from launcher.remote.onboard.stream import walk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path, PurePosixPath

__all__ = ["OnProgress", "Pace", "Sent", "Size", "Transfer", "size_of"]

OnProgress = Callable[[int], None]
"""Told how many bytes of the whole are there by now."""

TOLD_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What a transfer really had to move."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Size:
    """What there is to move, before anything is compared."""

    files: int
    size_bytes: int


class Transfer(Protocol):
    """One way of moving files; all of them go on where an interrupted transfer stopped.

    Both methods raise `MachineUnreachable` when the connection cannot be kept, and `PlacementError` or `FetchError`
    for what a file system refuses. Nothing is ever deleted outside of ``target`` and ``dest``.
    """

    def send(self, source: Path, target: PurePosixPath, on_progress: OnProgress) -> Sent:
        """Make ``target`` on the machine a copy of the file or folder ``source``, with modes and times.

        What is there with the same size and time is passed over; what is in a target folder and not in the source is
        deleted. Links inside a folder stay links; what leads out of it is copied.
        """

    def bring(self, root: PurePosixPath, names: Sequence[str], dest: Path, on_progress: OnProgress) -> None:
        """Copy files below ``root`` on the machine to the same names below ``dest``; those that are gone are left out.

        ``dest`` is a folder of ours: files appear in it one after the other. The caller verifies them.
        """


def size_of(source: Path) -> Size:
    """Count a file, or the files below a folder."""
    if not source.is_dir():
        return Size(1, source.stat().st_size)
    sizes = [entry.size for entry in walk(os.fspath(source)) if entry.link is None and not entry.is_folder]
    return Size(len(sizes), sum(sizes))


class Pace:
    """Turns bytes into words now and then: share, rate, time left."""

    def __init__(
        self,
        what: str,
        total_bytes: int,
        tell: Callable[[str, int], None],
        *,
        every_s: float = TOLD_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``tell`` is given the words and the bytes so far."""
        self._what = what
        self._total = total_bytes
        self._tell = tell
        self._every_s = every_s
        self._clock = clock
        self._told_at = self._began_at = clock()
        self._first: int | None = None

    def __call__(self, done_bytes: int) -> None:
        """Note progress; said when it is due."""
        now = self._clock()
        if self._first is None:
            self._first = done_bytes  # what was there already was not moved at any rate
        if now - self._told_at < self._every_s:
            return
        self._told_at = now
        rate = (done_bytes - self._first) / max(now - self._began_at, 1e-6)
        self._tell(self._words(done_bytes, rate), done_bytes)

    def _words(self, done: int, rate: float) -> str:
        share = f"{100 * done / self._total:.0f} %" if self._total else f"{done / 1e6:.0f} MB"
        words = f"{self._what}: {share}, {rate / 1e6:.1f} MB/s"
        if rate <= 0 or done >= self._total:
            return words
        left_s = int((self._total - done) / rate)
        minutes, seconds = divmod(left_s, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{words}, {hours}:{minutes:02d}:{seconds:02d} left"
