"""Progress of programs that cannot be changed, read from their output by the job's regular expressions (``progress``).

The loop that looks after the job does this, so it has to be cheap whatever the program prints and whatever the expression
is: lines are cut, one line has a time limit (an expression may need ages for a line that it almost matches), and all of it
has a small share of the time. What is printed faster than it can be looked at is passed over and counted, never waited for.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import time
import warnings
from typing import Any, Dict, List, Optional

LINE_BYTES = 4096
"""Of a longer line only the beginning is looked at."""
WAITING_BYTES = 1 << 20
LINE_S = 0.05
"""Of computing, not of the clock: a busy machine is not the expression's fault."""
SHARE = 0.1
"""Of the time that passes, how much may be spent here."""
MOST_AT_ONCE_S = 0.25
LAST_LOOK_S = 2.0
MOST_SLOW_LINES = 10
RECORDS_PER_LOOK = 10
"""Beyond these only the newest is written: metrics of a run of days must stay small."""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ENDS = re.compile(rb"[\r\n\b]+")
"""Of lines. Progress bars go back to write again: to the beginning, or by as many places as they have written."""


class TooSlow(Exception):
    """A line has used up its time."""


class Alarm:
    """Ends a search that takes too long: the matcher lets signals through from time to time. For the main thread alone."""

    def __enter__(self) -> "Alarm":
        self._is_searching = False
        self._before = signal.signal(signal.SIGVTALRM, self._ring)
        return self

    def __exit__(self, *exc: Any) -> None:
        signal.signal(signal.SIGVTALRM, self._before)

    def search(self, pattern: Any, text: str) -> Any:
        """The first match or None; raises `TooSlow`."""
        try:  # twice: the alarm may come between any two steps, and only once
            try:
                self._is_searching = True
                signal.setitimer(signal.ITIMER_VIRTUAL, LINE_S)
                return pattern.search(text)
            finally:
                self._is_searching = False
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)

    def _ring(self, *_: Any) -> None:
        if self._is_searching:
            raise TooSlow


class Patterns:
    """Feeds the numbers that the expressions find to ``metrics.jsonl``, as if the program had written them there."""

    def __init__(self, patterns: List[str], metrics: str) -> None:
        self._metrics = metrics
        self._patterns: List[Any] = []
        self._waiting = bytearray()
        self._allowance_s = MOST_AT_ONCE_S
        self._looked_at = time.monotonic()
        self._slow: Dict[Any, int] = {}
        self._given_up = ""
        self._unreadable: Dict[str, str] = {}
        self._step: Optional[float] = None
        self._stopped = ""
        self.lines = 0
        self.matched = 0
        self.passed_over = 0
        for pattern in patterns:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of what a later Python may read otherwise
                    self._patterns.append(re.compile(pattern))
            except (re.error, RecursionError, OverflowError) as error:
                self._stopped = "Python %d.%d on the machine does not take it: %s" % (
                    *sys.version_info[:2],
                    error,
                )

    def feed(self, data: bytes) -> None:
        """Keep output until the next look; of a flood the newest."""
        if not self._patterns or self._stopped:
            return
        self._waiting += data
        excess = len(self._waiting) - WAITING_BYTES
        if excess > 0:
            end = ENDS.search(self._waiting, excess)
            cut = end.end() if end else excess
            self.passed_over += cut
            del self._waiting[:cut]

    def look(self, last: bool = False) -> None:
        """Try the lines that wait, as far as there is time; ``last``: also one that has not ended."""
        now = time.monotonic()
        earned_s = SHARE * (now - self._looked_at)
        self._looked_at = now
        self._allowance_s = LAST_LOOK_S if last else min(MOST_AT_ONCE_S, self._allowance_s + earned_s)
        if not self._waiting:
            return
        lines = self._take_lines(last)
        began = time.thread_time()
        records: List[Dict[str, float]] = []
        done = 0
        with Alarm() as alarm:
            for line in lines:
                if self._stopped or time.thread_time() - began >= self._allowance_s:
                    break
                done += 1
                record = self._try(line, alarm)
                if record:
                    records.append(record)
        self._put_back(lines[done:])
        self._allowance_s -= time.thread_time() - began
        self._write(records)

    def summary(self) -> Optional[Dict[str, Any]]:
        """For ``status.json``; None for a job without expressions."""
        if not self._patterns and not self._stopped:
            return None
        trouble = self._stopped or self._given_up
        if not trouble and self._unreadable:
            name, text = next(iter(self._unreadable.items()))
            trouble = "the group %s matched %r, which is no number" % (name, text)
        return {
            "lines": self.lines,
            "matched": self.matched,
            "passed_over_bytes": self.passed_over,
            "trouble": trouble,
        }

    def _take_lines(self, last: bool) -> List[bytes]:
        lines = ENDS.split(bytes(self._waiting))
        rest = b"" if last else lines.pop()
        self._waiting = bytearray(rest)
        return [line for line in lines if line]

    def _put_back(self, lines: List[bytes]) -> None:
        if self._stopped:
            self._waiting = bytearray()
        elif lines:
            self._waiting[:0] = b"\n".join(lines) + b"\n"

    def _try(self, line: bytes, alarm: "Alarm") -> Dict[str, float]:
        """The numbers in one line, by name."""
        text = ESCAPES.sub("", line[:LINE_BYTES].decode("utf-8", "replace"))
        self.lines += 1
        found: Dict[str, float] = {}
        is_match = False
        for pattern in self._patterns:
            try:
                match = alarm.search(pattern, text)
            except TooSlow:
                self._note_slow(pattern)
                continue
            if match is not None:
                is_match = True
                found.update(self._numbers(match.groupdict()))
        self.matched += is_match
        return found

    def _note_slow(self, pattern: Any) -> None:
        """One that is slow again and again is given up; the others go on."""
        self._slow[pattern] = self._slow.get(pattern, 0) + 1
        if self._slow[pattern] < MOST_SLOW_LINES:
            return
        self._patterns = [other for other in self._patterns if other is not pattern]
        self._given_up = "%r took longer than %g s for each of %d lines, and is not tried any more" % (
            pattern.pattern[:60],
            LINE_S,
            self._slow[pattern],
        )
        if not self._patterns:
            self._stopped = self._given_up

    def _numbers(self, groups: Dict[str, Optional[str]]) -> Dict[str, float]:
        found = {}
        for name, text in groups.items():
            if text is None:
                continue
            try:
                value = float(text.strip().replace(",", "").replace("_", ""))
            except ValueError:
                self._unreadable.setdefault(name, text[:40])
                continue
            if math.isfinite(value) or name not in ("step", "total"):
                found[name] = int(value) if math.isfinite(value) and value == int(value) else value
        return found

    def _write(self, records: List[Dict[str, float]]) -> None:
        if len(records) > RECORDS_PER_LOOK:
            newest: Dict[str, float] = {}
            for record in records[RECORDS_PER_LOOK - 1 :]:
                newest.update(record)
            records[RECORDS_PER_LOOK - 1 :] = [newest]
        lines = []
        for record in records:
            self._step = record.get("step", self._step)
            if self._step is not None:
                record = {"step": self._step, **record}
            lines.append(json.dumps(record) + "\n")
        if not lines:
            return
        try:
            descriptor = os.open(self._metrics, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError:  # a full disk, or no such folder any more: the job goes on
            return
        try:
            os.write(descriptor, "".join(lines).encode("ascii"))
        except OSError:
            pass
        finally:
            os.close(descriptor)
