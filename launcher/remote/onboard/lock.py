"""A lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Callable, Optional


def take_lock(path: str, wait_s: float, give_up: Callable[[], bool]) -> Optional[int]:
    """An exclusive lock, as a descriptor to keep; None when it could not be had or ``give_up`` says so."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while not give_up():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() >= deadline:
                break
            time.sleep(0.05)
    os.close(descriptor)
    return None
