"""Telling a server that the job forgot from work that it left running."""

from __future__ import annotations

import collections
import os
import time
from typing import Deque, Dict, List, Tuple

from .processes import LINUX, Process

IDLE_SHARE = 0.05
"""Of one core."""


class Idleness:
    """Whether processes have used next to no CPU time for ``window_s``; never where that cannot be read."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._seen: Deque[Tuple[float, Dict[int, int]]] = collections.deque()

    def look(self, processes: List[Process]) -> bool:
        """Look once more; True when they have been the same ones, idle, for the whole window."""
        now = time.monotonic()
        ticks = {process.pid: process.cpu_ticks for process in processes}
        if self._seen and self._seen[-1][1].keys() != ticks.keys():
            self._seen.clear()
        self._seen.append((now, ticks))
        began, first = self._seen[0]
        if not LINUX or now - began < self._window_s:
            return False
        self._seen.popleft()
        busy_s = (sum(ticks.values()) - sum(first.values())) / os.sysconf("SC_CLK_TCK")
        return busy_s < IDLE_SHARE * (now - began)
