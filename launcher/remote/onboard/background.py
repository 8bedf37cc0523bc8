"""What must not hold up the main thread, and what wakes it."""

from __future__ import annotations

import ctypes
import os
import queue
import struct
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .processes import LINUX


class Worker:
    """A thread that does one thing after another; ``take`` hands each result to its callback in the caller's thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._todo: queue.SimpleQueue[Tuple[Callable[[], Any], Callable[[Any], None]]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Tuple[Callable[[Any], None], Any]] = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        self.pending = 0

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do ``work``; its result, or the exception that it raised, goes to ``done``."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self.pending += 1
        self._todo.put((work, done))

    def take(self) -> None:
        """Hand over what is finished."""
        while not self._done.empty():
            done, result = self._done.get()
            self.pending -= 1
            done(result)

    def _work(self) -> None:
        if LINUX:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            work, done = self._todo.get()
            try:
                result = work()
            except Exception as error:  # it is the result; the thread goes on
                result = error
            self._done.put((done, result))
            self._wake()


class FolderWatch:
    """Names that were renamed into watched folders, from inotify; silent where the system has none."""

    MOVED_TO = 0x80

    def __init__(self) -> None:
        self.descriptor = -1
        self._folders: Dict[int, str] = {}
        if LINUX:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, folder: str) -> None:
        """Watch a folder; again when it was replaced by another."""
        if self.descriptor >= 0:
            number = self._libc.inotify_add_watch(self.descriptor, os.fsencode(folder), self.MOVED_TO)
            if number >= 0:
                self._folders[number] = folder

    def take(self) -> List[Tuple[str, str]]:
        """(folder, name) of what arrived since the last call."""
        found = []
        try:
            events = os.read(self.descriptor, 1 << 16)
        except OSError:
            return []
        while events:
            number, _, _, length = struct.unpack_from("iIII", events)
            name = events[16 : 16 + length].rstrip(b"\0")
            events = events[16 + length :]
            if name and number in self._folders:
                found.append((self._folders[number], os.fsdecode(name)))
        return found


class Timer:
    """Something to do every ``interval_s``."""

    def __init__(self, interval_s: float, act: Callable[[], None]) -> None:
        self.interval_s = interval_s
        self.act = act
        self.due = time.monotonic() + interval_s

    def is_due(self, now: float) -> bool:
        """Whether it is time; then the next time is set."""
        if now < self.due:
            return False
        self.due = now + self.interval_s
        return True
