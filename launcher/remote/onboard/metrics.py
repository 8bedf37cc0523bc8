"""The numbers that the job reports."""

from __future__ import annotations

import collections
import json
import math
import os
import time
from typing import Any, Deque, Dict, Tuple


class Metrics:
    """Follows ``metrics.jsonl``: the newest value of every number, the step, and steps per second."""

    READ_BYTES = 1 << 20
    WINDOW_S = 120.0
    MOST_NAMES = 200

    def __init__(self, path: str) -> None:
        self._path = path
        self._rest = b""
        self._steps: Deque[Tuple[float, float]] = collections.deque()
        self.values: Dict[str, float] = {}
        self.bytes = self._end_last_line()

    def _end_last_line(self) -> int:
        """A program that was killed in the middle of a line must not spoil the first line of the next."""
        try:
            with open(self._path, "ab+") as file:
                size = file.tell()
                if size:
                    file.seek(size - 1)
                    if file.read(1) != b"\n":
                        size += file.write(b"\n")
                return size
        except OSError:
            return 0

    def read(self) -> bool:
        """Take in what was appended; True when there was something."""
        try:
            size = os.stat(self._path).st_size
            if size < self.bytes:  # the program began the file anew
                self.bytes, self._rest = 0, b""
            if size == self.bytes:
                return False
            with open(self._path, "rb") as file:
                file.seek(self.bytes)
                data = file.read(self.READ_BYTES)
        except OSError:
            return False
        self.bytes += len(data)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._take(line)
        self._note_step()
        return True

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(record, dict):
            return
        for name, value in record.items():
            known = name in self.values or len(self.values) < self.MOST_NAMES
            if known and isinstance(value, (int, float)) and not isinstance(value, bool):
                self.values[name] = value

    def _note_step(self) -> None:
        step = self.values.get("step")
        if step is None or not math.isfinite(step):
            return
        now = time.monotonic()
        if self._steps and step < self._steps[-1][1]:
            self._steps.clear()
        self._steps.append((now, step))
        while len(self._steps) > 2 and now - self._steps[0][0] > self.WINDOW_S:
            self._steps.popleft()

    def summary(self) -> Dict[str, Any]:
        """For ``status.json``; numbers that JSON does not have are given as text."""
        first, last = (self._steps[0], self._steps[-1]) if self._steps else ((0.0, 0.0), (0.0, 0.0))
        rate = (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else None
        plain: Dict[str, Any] = {
            name: value if math.isfinite(value) else str(float(value)) for name, value in self.values.items()
        }
        return {
            "bytes": self.bytes,
            "step": plain.get("step"),
            "total": plain.get("total"),
            "steps_per_s": rate,
            "values": plain,
        }
