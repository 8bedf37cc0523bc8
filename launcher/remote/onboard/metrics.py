"""The numbers that the job reports."""

from __future__ import annotations

import collections
import json
import math
import os
import time
from typing import Any, Deque, Dict, Optional, Tuple


class Metrics:
    """Follows ``metrics.jsonl``: the newest value of every number, the step, steps per second, the best of one number."""

    READ_BYTES = 1 << 20
    WINDOW_S = 120.0
    MOST_NAMES = 200

    def __init__(self, path: str, best_of: Optional[Tuple[str, str]] = None) -> None:
        """``best_of``: a number's name, and ``min`` or ``max``; earlier starts that wrote to the file count too."""
        self._path = path
        self._best_of = best_of
        self._best: Optional[Tuple[float, Any]] = None
        self._rest = b""
        self._steps: Deque[Tuple[float, float]] = collections.deque()
        self.values: Dict[str, float] = {}
        self.bytes = self._end_last_line()
        self._remember_best()

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

    def _remember_best(self) -> None:
        if self._best_of is None:
            return
        name = json.dumps(self._best_of[0]).encode("ascii")
        try:
            with open(self._path, "rb") as file:
                for line in file:
                    record = _record(line) if name in line else None
                    if record is not None:
                        self._note_best(record, record.get("step"))
        except OSError:
            return

    def _note_best(self, record: Dict[str, Any], step: Any) -> None:
        if self._best_of is None:
            return
        value: Any = record.get(self._best_of[0])
        if not _is_finite(value):
            return
        sign = -1.0 if self._best_of[1] == "max" else 1.0
        if self._best is None or sign * value < sign * self._best[0]:
            self._best = (float(value), step if _is_finite(step) else None)

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
        record = _record(line)
        if record is None:
            return
        for name, value in record.items():
            known = name in self.values or len(self.values) < self.MOST_NAMES
            if known and _is_number(value):
                self.values[name] = value
        self._note_best(record, self.values.get("step"))

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
            "best": None if self._best is None else {"value": self._best[0], "step": self._best[1]},
        }


def _record(line: bytes) -> Optional[Dict[str, Any]]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _is_number(value: Any) -> bool:
    """Of JSON: true and false are none, and neither are integers that no float can hold."""
    if isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() < 1024
    return isinstance(value, float)
