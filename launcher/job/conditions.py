"""What a number is asked to be (``>= 20``), and what a line of output is read with: rules of ``expect``, ``give_up``, ``progress``."""

from __future__ import annotations

import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from launcher.job.rules import expected

__all__ = ["Condition", "ConditionRule", "metric_name_problem", "pattern_problem"]

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
)
_WRITTEN = re.compile(r"\s*(>=|<=|>|<)\s*(\S+)\s*")
WHAT = "a condition such as '>= 20'"


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound on a number."""

    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.sign} {self.bound!r}".removesuffix(".0")

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read ``>= 20``; `ValueError` for anything else."""
        match = _WRITTEN.fullmatch(text)
        bound = float(match[2]) if match else math.nan
        if match is None or not math.isfinite(bound):
            raise ValueError(text)
        return cls(match[1], bound)

    @property
    def wants_more(self) -> bool:
        """Larger is better."""
        return self.sign.startswith(">")

    def holds(self, value: float) -> bool:
        """Whether a number is what it is asked to be; ``nan`` never is."""
        return _OPERATORS[self.sign](value, self.bound)


@dataclass(frozen=True, slots=True)
class ConditionRule:
    """A `Condition`, as text in a file."""

    def read(self, value: object) -> Condition:
        """Return the checked value."""
        if isinstance(value, Condition):
            return value
        if not isinstance(value, str):
            raise expected(WHAT, value, hint='the sign belongs into the text: ">= 20"')
        try:
            return Condition.parse(value)
        except ValueError:
            raise expected(WHAT, value, hint="one of >=, >, <=, < and a number") from None

    def write(self, value: Condition) -> str:
        """Return it as plain data."""
        return str(value)


def metric_name_problem(text: str) -> str | None:
    """Say why ``text`` cannot be a metric; None when it can."""
    return "step and total are progress, not metrics" if text in ("step", "total") else None


def pattern_problem(text: str) -> str | None:
    """Say why ``text`` cannot read progress from a line; None when it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as err:
        return f"is not a regular expression: {err}"
    if not pattern.groupindex:
        return "names no number: write a group such as (?P<step>\\d+) or (?P<loss>[\\d.]+)"
    return None
