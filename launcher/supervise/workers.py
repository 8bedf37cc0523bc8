"""A few threads that do the steps of runs, and that nobody has to wait for when the process wants to end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["Workers"]

Answer = TypeVar("Answer")


class Workers:
    """Threads that end with the process, in the middle of whatever they do: every step can be done again.

    The executors of the standard library are joined when the interpreter ends, which after a Ctrl-C in the middle of
    a long transfer would take as long as the transfer.
    """

    def __init__(self, count: int, name: str) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[str], Answer], argument: str) -> Future[Answer]:
        """Do it as soon as a thread is free."""
        future: Future[Answer] = Future()

        def task() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                answer = function(argument)
            except BaseException as err:
                future.set_exception(err)
            else:
                future.set_result(answer)

        self._tasks.put(task)
        return future

    def dismiss(self) -> None:
        """Let the threads end when they have done what they were given; returns at once."""
        for _ in self._threads:
            self._tasks.put(None)

    def join(self) -> None:
        """Wait until all threads have ended; `dismiss` them before."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
