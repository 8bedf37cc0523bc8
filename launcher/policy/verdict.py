"""What the numbers of a run say about it: is it what ``expect`` asks for, is it worth going on, what was never reported. Pure.

A number is judged by its newest value. The one that is the job's ``metric`` is judged by its best: the program keeps that
model, whatever came after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.job import Condition, GiveUp, Metric
    from launcher.runners.base import Best

__all__ = ["Expectation", "Numbers", "Verdict", "best_of", "never_reported", "verdict_of", "why_give_up"]

_PROGRESS = frozenset({"step", "total"})
NAMES = 8
"""How many reported numbers are named where one is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a run has reported so far."""

    newest: Mapping[str, float]
    metric: Metric | None = None
    best: Best | None = None
    """Of ``metric``."""

    def judged(self, name: str) -> float | None:
        """Return the value that counts; None when it was never reported."""
        if self.metric is not None and name == self.metric.name and self.best is not None:
            return self.best.value
        return self.newest.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One entry of ``expect``, judged."""

    name: str
    condition: str
    value: float | None
    """None: it was never reported."""
    met: bool

    @property
    def words(self) -> str:
        """Say it in one short phrase."""
        if self.value is None:
            return f"{self.name} was never reported (asked for: {self.condition})"
        return f"{self.name} {self.value:.6g} ({'' if self.met else 'not '}{self.condition})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All of ``expect``, judged."""

    met: bool
    expectations: tuple[Expectation, ...]

    @property
    def words(self) -> str:
        """Say how it came out."""
        return f"{'met' if self.met else 'missed'}: {', '.join(one.words for one in self.expectations)}"


def verdict_of(expect: Mapping[str, Condition], numbers: Numbers) -> Verdict | None:
    """Judge what a run has reported; None for a job that expects nothing."""
    if not expect:
        return None
    judged = []
    for name, condition in expect.items():
        value = numbers.judged(name)
        met = value is not None and condition.holds(value)
        judged.append(Expectation(name=name, condition=str(condition), value=value, met=met))
    return Verdict(met=all(one.met for one in judged), expectations=tuple(judged))


def why_give_up(give_up: GiveUp | None, numbers: Numbers, *, step: int | None, worked_s: float | None) -> str:
    """Return why a run that works is ended early; empty while it goes on.

    A number that was never reported ends nothing: it may be misspelt.
    """
    if give_up is None:
        return ""
    if give_up.after_steps is not None:
        if step is None or step < give_up.after_steps:
            return ""
        when = f"at step {step:,}"
    else:
        assert give_up.after is not None
        if worked_s is None or worked_s < give_up.after.total_seconds():
            return ""
        when = f"after {worked_s / 3600:.1f} h of work"
    short = []
    for name, condition in give_up.unless.items():
        value = numbers.judged(name)
        if value is not None and not condition.holds(value):
            short.append(f"{name} is {value:.6g}, not {condition}")
    return f"given up {when}: {', '.join(short)}" if short else ""


def never_reported(names: Sequence[str], newest: Mapping[str, float]) -> str:
    """Say which of the metrics that a job file names the program has never reported; empty when it reported all."""
    missing = [name for name in dict.fromkeys(names) if name not in newest]
    if not missing:
        return ""
    known = sorted(set(newest) - _PROGRESS)
    more = f" and {len(known) - NAMES} more" if len(known) > NAMES else ""
    told = f"it reported {', '.join(known[:NAMES])}{more}" if known else "it reported no metric at all"
    return f"{', '.join(missing)} {'was' if len(missing) == 1 else 'were'} never reported; {told}"


def best_of(mode: str, found: Sequence[Best | None]) -> Best | None:
    """Return the best of what several machines have reported; ``mode`` is ``min`` or ``max``."""
    every = [best for best in found if best is not None]
    sign = -1.0 if mode == "max" else 1.0
    return min(every, key=lambda best: sign * best.value, default=None)
