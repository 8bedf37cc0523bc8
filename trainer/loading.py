"""Going through a whole data set, which may take minutes: said while it goes on, given up when asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from trainer.contract import Exit
from trainer.hdf5 import Trial
from trainer.interrupt import Interrupt
from trainer.progress import Console

__all__ = ["LeftEarly", "LoadingWatch"]

INTERVAL_S = 2.0


class LeftEarly(Exception):
    """Somebody asked this program to leave before it had anything to save."""

    exit_code = Exit.INTERRUPTED


class LoadingWatch:
    """Hears of every trial that is read from its file, or brought elsewhere; raises `LeftEarly` when somebody wants us to leave."""

    def __init__(
        self,
        num_files: int,
        console: Console,
        interrupt: Interrupt,
        clock: Callable[[], float] = time.monotonic,
        *,
        what: str = "reading data for the first time",
    ) -> None:
        self._num_files = num_files
        self._console = console
        self._interrupt = interrupt
        self._clock = clock
        self._what = what
        self._said = clock()
        self._files: set[str] = set()
        self._trials = 0

    def __call__(self, trial: Trial) -> None:
        """A trial was read and checked."""
        if self._interrupt.requested:
            raise LeftEarly
        self._files.add(str(trial.path))
        self._trials += 1
        now = self._clock()
        if now - self._said >= INTERVAL_S:
            self._said = now
            self._console.status(
                f"{self._what}: file {len(self._files)} of at most {self._num_files}, {self._trials} trials"
            )
