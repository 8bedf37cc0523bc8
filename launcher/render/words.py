"""Numbers as people read them: money, time, sizes. Pure, standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from launcher.quantities import duration, size, usd, usd_per_hour

__all__ = [
    "Writer",
    "age",
    "ago",
    "clock_time",
    "count",
    "duration",
    "home_path",
    "number",
    "percent",
    "plain",
    "rate",
    "roughly",
    "size",
    "span",
    "usd",
    "usd_per_hour",
]

Writer = Callable[[float], str]

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and newline, and the halves that stand for bytes that are not UTF-8."""


def clock_time(seconds: float) -> str:
    """Write elapsed time as a clock does: ``0:42``, ``1:02:33``."""
    minutes, second = divmod(max(0, int(seconds)), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"


def age(seconds: float) -> str:
    """Write how old something is, in one unit: ``12 s``, ``3 min``, ``2 d``."""
    for unit, unit_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{max(0, int(seconds))} s"


def roughly(seconds: float) -> str:
    """Write a length of time as short as a table needs it, with two digits that count: ``45 s``, ``3.1 h``, ``12 d``."""
    for unit, unit_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 0.995 * unit_s * (1 if unit != "d" else 2):  # up to two days, hours say more
            return (
                f"{seconds / unit_s:,.1f} {unit}"
                if seconds < 9.95 * unit_s
                else f"{seconds / unit_s:,.0f} {unit}"
            )
    return f"{seconds:.0f} s"


def ago(seconds: float) -> str:
    """Write how long ago something was: ``now``, ``12 s ago``."""
    return "now" if seconds < 2 else f"{age(seconds)} ago"


def count(amount: int, singular: str, plural: str | None = None) -> str:
    """Write how many: ``1 file``, ``5,000 files``."""
    return f"{amount:,} {singular if amount == 1 else plural or singular + 's'}"


def number(value: float) -> str:
    """Write a number that a job reported, with four significant digits: ``0.1235``, ``1,234``, ``3.2e-07``."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def percent(part: float, whole: float) -> str:
    """Write a share; never ``100 %`` before the end."""
    return f"{int(100 * part / whole)} %" if whole > 0 else "0 %"


def rate(steps_per_s: float) -> str:
    """Write a speed in steps: ``14.2 steps/s``, ``3.1 s/step``."""
    if steps_per_s >= 1:
        return f"{steps_per_s:.1f} steps/s"
    return f"{1 / steps_per_s:.1f} s/step" if steps_per_s > 0 else "0 steps/s"


def span(values: Mapping[str, Any], write: Writer) -> str:
    """Write a ``{"low", "likely", "high"}``: ``$1.20 ($0.90 to $2.10)``; one number when all three read the same."""
    low, likely, high = (write(float(values[key])) for key in ("low", "likely", "high"))
    return likely if low == high else f"{likely} ({low} to {high})"


def plain(text: str) -> str:
    """Make text from elsewhere safe to show: nothing in it moves the cursor, and every character can be written."""
    return _UNPRINTABLE.sub("\ufffd", text)


def home_path(path: str | Path) -> str:
    """Shorten a path for reading: relative inside the working folder, ``~`` inside the home."""
    text = str(path)
    for prefix, short in ((str(Path.cwd()), ""), (str(Path.home()), "~")):
        if text == prefix:
            return short or "."
        if text.startswith(prefix.rstrip(os.sep) + os.sep):
            rest = text[len(prefix.rstrip(os.sep)) + 1 :]
            return f"{short}/{rest}" if short else rest
    return text
