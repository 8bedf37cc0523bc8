"""SIGTERM means: save what you have and leave with exit code 75. For any PyTorch script::

with Interrupt() as interrupt:
    for step in range(start, total):
        train_step()
        if interrupt.requested:
            checkpoints.save(step + 1, state(), wait=True)
            sys.exit(Exit.INTERRUPTED)
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from trainer.contract import Exit

__all__ = ["Exit", "Interrupt", "leaving_at_once"]


@contextlib.contextmanager
def leaving_at_once() -> Iterator[None]:
    """Until an `Interrupt` takes over: SIGTERM and Ctrl-C end this process with exit code 75, for nothing has begun.

    Importing torch takes seconds, on a busy machine many; without this a SIGTERM meanwhile looks like a failure.
    Does nothing in one of several processes, which the signal ends there: who started them knows what that means.
    """
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    if not alone or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    # Not an exception, which the import of some package may take for its own.
    with contextlib.suppress(OSError):
        os.write(
            2, f"{signal.Signals(number).name}: leaving before anything began; start me again\n".encode()
        )
    os._exit(Exit.INTERRUPTED)


class Interrupt:
    """A flag that SIGTERM or SIGINT raises; nothing is interrupted in the middle.

    Handlers are installed on entry and restored on exit of the context. A second SIGINT (Ctrl-C twice)
    raises KeyboardInterrupt at once. Outside of the main thread, where Python cannot install handlers,
    the flag can still be raised with `request`.
    """

    def __init__(self, signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)) -> None:
        self._signals = signals
        self._previous: dict[signal.Signals, Any] = {}
        self._requested_at: float | None = None
        self._name: str | None = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    @property
    def requested(self) -> bool:
        """Whether somebody asked this program to save and leave."""
        return self._requested_at is not None

    @property
    def name(self) -> str:
        """What asked, for a log line."""
        return self._name or "nothing"

    def seconds_since(self) -> float:
        """Seconds since the request; 0 when there was none."""
        return 0.0 if self._requested_at is None else time.monotonic() - self._requested_at

    def request(self, name: str = "the program itself") -> None:
        """Raise the flag."""
        if self._requested_at is None:
            self._requested_at = time.monotonic()
            self._name = name

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt
        self.request(signal.Signals(number).name)
