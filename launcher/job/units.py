"""Sizes, durations and amounts: how people write them, and back to the shortest text that means the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

__all__ = ["Amount", "MemoryAmount", "Size", "format_duration", "parse_duration"]

_SIZE_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "min": 60, "s": 1}
_EXACT_TOLERANCE = 0.08
"""Clouds say GB and mean GiB, 7.4 % apart: an exact amount has to match either."""


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """A number of bytes."""

    bytes: int

    @property
    def gib(self) -> float:
        """In GiB, the unit of every cloud."""
        return self.bytes / 2**30

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read ``100GB``, ``100GiB``, ``1.5TB``, ``500 MB``; a bare number is GB. `ValueError` for anything else."""
        match = _SIZE.fullmatch(text.strip())
        factor = _SIZE_UNITS.get((match[2] or "GB").upper()) if match else None
        if match is None or factor is None:
            raise ValueError(f"not a size: {text!r}")
        return cls(round(Fraction(match[1]) * factor))

    def __str__(self) -> str:
        for unit in ("TB", "GB", "TiB", "GiB", "MB", "MiB", "KB", "KiB"):
            count, rest = divmod(self.bytes, _SIZE_UNITS[unit.upper()])
            if count and not rest:
                return f"{count}{unit}"
        return f"{self.bytes}B"


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of something a machine must have: exactly ``16``, or ``16+``."""

    value: float
    or_more: bool = False

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read ``16``, ``0.5`` or ``16+``. `ValueError` for anything else."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(\+?)\s*", text)
        if match is None:
            raise ValueError(f"not an amount: {text!r}")
        return cls(float(match[1]), bool(match[2]))

    def accepts(self, offered: float) -> bool:
        """Is a machine with ``offered`` of it good enough?"""
        return _accepts(self.value, self.or_more, offered)

    def __str__(self) -> str:
        return f"{self.value:.12g}{'+' if self.or_more else ''}"


@dataclass(frozen=True, slots=True)
class MemoryAmount:
    """How much memory a machine must have: exactly ``64GB``, or ``64GB+``."""

    size: Size
    or_more: bool = False

    @classmethod
    def parse(cls, text: str) -> MemoryAmount:
        """Read ``64``, ``64GB``, ``64GiB+``; a bare number is GB. `ValueError` for anything else."""
        stripped = text.strip()
        return cls(Size.parse(stripped.removesuffix("+")), stripped.endswith("+"))

    def accepts(self, offered_gib: float) -> bool:
        """Is a machine with ``offered_gib`` of memory good enough?"""
        return _accepts(self.size.gib, self.or_more, offered_gib)

    def __str__(self) -> str:
        return f"{self.size}{'+' if self.or_more else ''}"


def _accepts(wanted: float, or_more: bool, offered: float) -> bool:
    if or_more:
        return offered >= wanted
    return abs(offered - wanted) <= _EXACT_TOLERANCE * wanted


def parse_duration(text: str) -> timedelta:
    """Read ``8h``, ``90m``, ``1d12h``, ``1.5h``, ``30s``. `ValueError` for anything else, also for a bare number."""
    seconds, position = 0.0, 0
    stripped = text.strip().lower()
    seen: set[str] = set()
    while match := _DURATION_PART.match(stripped, position):
        unit = "m" if match[2] == "min" else match[2]
        if unit not in _SECONDS or unit in seen:
            raise ValueError(f"not a duration: {text!r}")
        seen.add(unit)
        seconds += float(match[1]) * _SECONDS[unit]
        position = match.end()
    if not seen or position != len(stripped):
        raise ValueError(f"not a duration: {text!r}")
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"too long a duration: {text!r}") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration so that `parse_duration` reads the same one: ``1d12h``, ``90s`` as ``1m30s``."""
    minutes, seconds = divmod(duration.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(duration.days, "d"), (hours, "h"), (minutes, "m")]
    text = "".join(f"{count}{unit}" for count, unit in parts if count)
    if duration.microseconds:
        return f"{text}{seconds}.{duration.microseconds:06d}".rstrip("0") + "s"
    return f"{text}{seconds}s" if seconds or not text else text
