"""Low, likely, high: the only form in which this product states a number that it does not know."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Range"]


@dataclass(frozen=True, slots=True)
class Range:
    """A quantity that is not negative, as low <= likely <= high. Refuses to exist otherwise."""

    low: float
    likely: float
    high: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.likely <= self.high < math.inf:
            raise ValueError(
                f"not a range of 0 <= low <= likely <= high: {self.low}, {self.likely}, {self.high}"
            )

    @classmethod
    def exactly(cls, value: float) -> Range:
        """What is known."""
        return cls(value, value, value)

    @classmethod
    def zero(cls) -> Range:
        """Nothing at all."""
        return _ZERO

    @classmethod
    def seen(cls, values: Sequence[float]) -> Range:
        """What was measured, at least once: the least, the median and the most."""
        from statistics import median  # before anything ran there is nothing that needs it

        return cls(min(values), median(values), max(values))

    @classmethod
    def sum(cls, ranges: Iterable[Range]) -> Range:
        """Add up: all lows, all likelies, all highs; correctly rounded, so the order does not matter."""
        items = list(ranges)
        return cls(
            math.fsum(item.low for item in items),
            math.fsum(item.likely for item in items),
            math.fsum(item.high for item in items),
        )

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    def spread(self, low: float, high: float) -> Range:
        """Widen by two factors: ``spread(0.7, 1.6)`` is 30 % less to 60 % more."""
        return Range(self.low * low, self.likely, self.high * high)

    def __bool__(self) -> bool:
        return self.high > 0.0


_ZERO = Range(0.0, 0.0, 0.0)
