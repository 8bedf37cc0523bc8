"""Moving many files or large ones to a machine and from it. How depends on what both ends have."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from launcher.events import Kind, keep_going
from launcher.quantities import duration
from launcher.quantities import size as size_words
from launcher.remote.onboard.stream import walk
from launcher.remote.shell import LISTEN_EVERY_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path, PurePosixPath

    from launcher.events import Listen, Report
    from launcher.remote.shell import OnProgress

__all__ = ["Pace", "Sent", "Size", "Transfer", "pause", "size_of"]

FIRST_TOLD_S, TOLD_EVERY_S = 2.0, 5.0
RATE_OVER_S = 20.0
"""The rate is that of the last seconds: a network that slows down is not hidden behind its beginnings."""


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
    """Turns bytes into words now and then: share, rate, time left. Called as an `OnProgress`, it listens too."""

    def __init__(
        self,
        what: str,
        total_bytes: int,
        report: Report,
        *,
        listen: Listen = keep_going,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._total = total_bytes
        self._report = report
        self._listen = listen
        self._clock = clock
        now = clock()
        self._listened_at, self._due_at = now, now + FIRST_TOLD_S
        self._lately: deque[tuple[float, int]] = deque()
        """When, and how many bytes were there; the first one is that of `RATE_OVER_S` ago."""

    def __call__(self, done_bytes: int) -> None:
        """Note how much is there, and say so when it is due."""
        now = self._clock()
        if now - self._listened_at >= LISTEN_EVERY_S:
            self._listened_at = now
            self._listen()
        lately = self._lately
        if not lately or now - lately[-1][0] >= LISTEN_EVERY_S or now >= self._due_at:
            if lately and done_bytes < lately[-1][1]:
                lately.clear()  # after a cut it counts from the beginning
            lately.append((now, done_bytes))
        while len(lately) > 2 and now - lately[1][0] >= RATE_OVER_S:
            lately.popleft()
        if now >= self._due_at:
            self._due_at = now + TOLD_EVERY_S
            self._tell(done_bytes)

    def after(self, before_bytes: int) -> OnProgress:
        """For one of several files: what came before it counts."""
        return lambda done_bytes: self(before_bytes + done_bytes)

    def _tell(self, done: int) -> None:
        (began, first), (now, last) = self._lately[0], self._lately[-1]
        done = min(done, self._total or done)  # a stream of many small files is mostly their headers
        rate = (last - first) / max(now - began, 1e-6)
        left_s = (self._total - done) / rate if rate > 0 and done < self._total else None
        share = (
            f"{100 * done / self._total:.0f} % of {size_words(self._total)}"
            if self._total
            else size_words(done)
        )
        words = f"{self._what}: {share}, {rate / 1e6:.1f} MB/s"
        self._report(
            Kind.TRANSFER,
            words if left_s is None else f"{words}, {duration(left_s)} left",
            what=self._what,
            bytes=done,
            total_bytes=self._total,
            bytes_per_s=round(rate),
            seconds_left=None if left_s is None else round(left_s),
        )


def pause(seconds: float, listen: Listen, sleep: Callable[[float], None]) -> None:
    """Sleep in short pieces, and listen between them."""
    while seconds > 0:
        sleep(min(seconds, LISTEN_EVERY_S))
        seconds -= LISTEN_EVERY_S
        listen()
