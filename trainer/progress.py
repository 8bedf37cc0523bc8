"""What people see while a run is under way: one moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

__all__ = ["Console", "Speed", "duration_words"]


def duration_words(seconds: float) -> str:
    """``95 s`` as ``1 min 35 s``, ``7300 s`` as ``2 h 02 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Speed:
    """Steps per second over the recent past, so that a slow start or a long validation fades."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, window_s: float = 60.0) -> None:
        self._clock = clock
        self._window_s = window_s
        self._marks: list[tuple[float, int]] = []

    def mark(self, step: int) -> None:
        """Note that `step` steps are finished now."""
        now = self._clock()
        self._marks.append((now, step))
        while len(self._marks) > 2 and now - self._marks[0][0] > self._window_s:
            self._marks.pop(0)

    def steps_per_s(self) -> float | None:
        """None until two marks are known."""
        if len(self._marks) < 2:
            return None
        (t0, s0), (t1, s1) = self._marks[0], self._marks[-1]
        return (s1 - s0) / (t1 - t0) if t1 > t0 else None

    def seconds_left(self, step: int, total: int) -> float | None:
        """None until the speed is known."""
        speed = self.steps_per_s()
        return (total - step) / speed if speed else None


class Console:
    """Lines for people on `stream`, and with time stamps in ``training_log``.

    On a terminal `status` redraws one line; elsewhere it prints a line of its own. Nothing here can end a
    training: a closed pipe or a full disk under the log only silences it.
    """

    def __init__(
        self, log_file: Path | None = None, stream: TextIO | None = None, quiet: bool = False
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._quiet = quiet
        self._drawn = 0
        self._log = logging.Logger("trainer")  # not registered: a second run in this process gets its own
        self._log.addHandler(logging.NullHandler())  # without any, logging itself writes warnings to stderr
        if log_file is not None:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(log_file, encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s: %(message)s"))
            handler.setLevel(logging.INFO)
            handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk under the log
            self._log.addHandler(handler)

    def say(self, text: str) -> None:
        """One line that stays."""
        self._record(logging.INFO, text)
        self._write(text)

    def note(self, text: str) -> None:
        """A line for the log only."""
        self._record(logging.INFO, text)

    def warn(self, text: str) -> None:
        """One line that stays and stands out."""
        self._record(logging.WARNING, f"WARNING: {text}")
        self._write(f"warning: {text}")

    def status(self, text: str) -> None:
        """Where the run is now."""
        self._record(logging.INFO, text)
        if not self._is_terminal:
            self._write(text)
            return
        padding = " " * max(0, self._drawn - len(text))
        self._emit(f"\r{text}{padding}")
        self._drawn = len(text)

    def close(self) -> None:
        """End a moving line and close the log."""
        if self._drawn:
            self._emit("\n")
            self._drawn = 0
        for handler in self._log.handlers:
            with contextlib.suppress(OSError):  # the last lines do not fit the disk
                handler.close()

    def _write(self, text: str) -> None:
        if self._drawn:
            self._emit("\r" + " " * self._drawn + "\r")
            self._drawn = 0
        self._emit(text + "\n")

    def _emit(self, text: str) -> None:
        if self._quiet:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True

    def _record(self, level: int, text: str) -> None:
        self._log.log(level, text)
