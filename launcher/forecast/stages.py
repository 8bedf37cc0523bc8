"""The estimate of a job with stages, from those of its stages. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from launcher.forecast.estimates import Estimate, Line, StageShare
from launcher.forecast.ranges import Range
from launcher.forecast.throughput import Source

__all__ = ["PricedStage", "likely_s_of", "together"]

_WORK = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedStage:
    """One stage, priced on the machine that it will run on."""

    name: str
    estimate: Estimate
    stays: bool
    """On the machine of the stage before it."""


def together(stages: Sequence[PricedStage]) -> Estimate:
    """Add the stages up: one line per item over all of them, and a share per stage. The order is that in which they run."""
    estimates = [stage.estimate for stage in stages]
    return replace(
        estimates[0],
        hours=Range.sum(item.hours for item in estimates),
        usd=Range.sum(item.usd for item in estimates),
        lines=_lines(stages),
        source=_least_known([item.source for item in estimates]),
        narrow_by=tuple(dict.fromkeys(words for item in estimates for words in item.narrow_by))[:2],
        notice=next((item.notice for item in estimates if item.notice), ""),
        stages=tuple(_share(stage) for stage in stages),
    )


def likely_s_of(estimate: Estimate) -> dict[str, float]:
    """Return the seconds that each stage is likely to take, where that is more than a guess."""
    return {
        share.name: 3600.0 * share.hours.likely
        for share in estimate.stages
        if share.source is not Source.GUESS
    }


def _lines(stages: Sequence[PricedStage]) -> tuple[Line, ...]:
    by_item: dict[str, list[tuple[str, Line]]] = {}
    for stage in stages:
        for line in stage.estimate.lines:
            by_item.setdefault(line.item, []).append((stage.name, line))
    return tuple(
        Line(
            item=item,
            hours=Range.sum(line.hours for _, line in lines),
            usd=Range.sum(line.usd for _, line in lines),
            basis=_basis([(name, line) for name, line in lines if line.hours or line.usd] or lines[:1]),
        )
        for item, lines in by_item.items()
    )


def _basis(lines: Sequence[tuple[str, Line]]) -> str:
    """One basis where all have the same, else the stages of each."""
    names: dict[str, list[str]] = {}
    for name, line in lines:
        names.setdefault(line.basis, []).append(name)
    if len(names) == 1:
        times = f", {len(lines)} times" if len(lines) > 1 else ""
        return f"{lines[0][1].basis}{times}"
    return "; ".join(f"{', '.join(stages)}: {basis}" for basis, stages in names.items())


def _share(stage: PricedStage) -> StageShare:
    found = stage.estimate
    return StageShare(
        name=stage.name,
        offer=found.offer,
        stays=stage.stays,
        hours=found.hours,
        usd=found.usd,
        source=found.source,
        basis=next((line.basis for line in found.lines if line.item == _WORK), ""),
        lines=found.lines,
    )


def _least_known(sources: Sequence[Source]) -> Source:
    order = (Source.GUESS, Source.SCALED, Source.MEASURED)
    return min(sources, key=order.index)
