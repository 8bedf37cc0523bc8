"""What a run is to reach, as a person says it: a number, which way it is better, and how far it should come. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.errors import UsageError
from launcher.job.conditions import Condition, metric_name_problem

__all__ = ["NO_GOAL", "Goal", "likely_goal"]

NO_GOAL = "none"
_SAID = re.compile(r"\s*([^\s<>=]+)\s*(min|max|[<>]=?\s*\S+)?\s*")
_HIGHER_IS_BETTER = re.compile(
    r"(?:^|[^a-z])(?:acc|accuracy|[a-z]*bleu|f1|[a-z]*auc|top|m?iou|map|r2)(?:[^a-z]|$)"
)
"""As a word of a name: not the ``map`` of ``mape``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The number that says how good a run is, and what it should come to."""

    name: str
    mode: str
    """``min`` or ``max``."""
    condition: str = ""
    """``>= 20``; empty where any value will do."""

    @classmethod
    def parse(cls, text: str) -> Goal | None:
        """Read ``val_loss``, ``val_loss min`` or ``val_bleu >= 20``; None for ``none`` and nothing.

        Raises:
            UsageError: it is none of these.
        """
        if text.strip().lower() in ("", NO_GOAL, "no"):
            return None
        match = _SAID.fullmatch(text)
        if match is None or metric_name_problem(match[1]):
            raise _no_goal(text)
        name, rest = match[1], match[2] or _likely_mode(match[1])
        if rest in ("min", "max"):
            return cls(name=name, mode=rest)
        try:
            condition = Condition.parse(rest)
        except ValueError:
            raise _no_goal(text) from None
        return cls(name=name, mode="max" if condition.wants_more else "min", condition=str(condition))

    def __str__(self) -> str:
        return f"{self.name} {self.condition or self.mode}"


def likely_goal(metrics: tuple[str, ...]) -> Goal | None:
    """The goal of a program that reports these numbers, the best guess; None where it reports none."""
    return Goal(name=metrics[0], mode=_likely_mode(metrics[0])) if metrics else None


def _likely_mode(name: str) -> str:
    """Which way a number of this name is better."""
    return "max" if _HIGHER_IS_BETTER.search(name.lower()) else "min"


def _no_goal(text: str) -> UsageError:
    return UsageError(
        f"expected a number's name and what it should come to, came {text!r}",
        left_behind="nothing was written",
        hint=f"for example: val_loss min, val_bleu >= 20, {NO_GOAL}",
    )
