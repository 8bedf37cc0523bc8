"""What the record of a run says about its numbers: the best, the verdict, and which never came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from launcher.job.parts import Conditions, GiveUp, Metric
from launcher.job.record import RecordOf
from launcher.policy.verdict import Numbers, Verdict, best_of, never_reported, verdict_of, why_give_up
from launcher.records import from_json
from launcher.runners.base import Best
from launcher.stage_status import newest_metrics
from launcher.store import AttemptRow, RunRow

__all__ = ["hopeless", "missing_metrics", "numbers_of", "verdict_of_run"]


def numbers_of(run: RunRow, attempts: Sequence[AttemptRow]) -> Numbers:
    """Return what a run has reported, on whichever machine and in whichever of its stages."""
    return _numbers(run, attempts, newest_metrics(run))


def _numbers(run: RunRow, attempts: Sequence[AttemptRow], newest: Mapping[str, float]) -> Numbers:
    told = _fields(run).get("metric")
    metric = None if told is None else RecordOf(type=lambda: Metric).read(told)
    best = None if metric is None else best_of(metric.mode.value, _bests(attempts))
    return Numbers(newest=newest, metric=metric, best=best)


def _bests(attempts: Sequence[AttemptRow]) -> list[Best | None]:
    every = [(row.progress or {}).get("best") for row in attempts]
    return [None if one is None else from_json(Best, one) for one in every]


def verdict_of_run(run: RunRow, attempts: Sequence[AttemptRow]) -> Verdict | None:
    """Judge a run by what it has reported so far; None for a job that expects nothing."""
    expect = _fields(run).get("expect")
    if not expect:
        return None
    asked = {name: item for name, item in Conditions().read(expect).items() if item is not None}
    return verdict_of(asked, numbers_of(run, attempts))


def hopeless(run: RunRow, attempts: Sequence[AttemptRow], *, worked_s: float | None) -> str:
    """Return why what is at work is given up early, in words; empty while it goes on, and once a person has resumed it.

    What an earlier stage has reported says nothing about the one at work.
    """
    told, stage = _fields(run).get("give_up"), attempts[-1].stage
    has_stages = bool(_fields(run).get("stages"))
    is_resumed = run.stages.get(stage, {}).get("resumed") if has_stages else run.resumed_at is not None
    if told is None or is_resumed:
        return ""
    give_up = RecordOf(type=lambda: GiveUp).read(told)
    same_stage = [row for row in attempts if row.stage == stage]
    return why_give_up(give_up, _numbers(run, same_stage, run.metrics), step=run.step, worked_s=worked_s)


def missing_metrics(run: RunRow) -> str:
    """Say which metrics of the job file the program has never reported; empty when none is missing."""
    fields = _fields(run)
    metric, give_up = fields.get("metric") or {}, fields.get("give_up") or {}
    named = [metric.get("name"), *fields.get("expect", {}), *give_up.get("unless", {})]
    return never_reported([name for name in named if name], newest_metrics(run))


def _fields(run: RunRow) -> Mapping[str, Any]:
    """The job file, as plain data."""
    fields: Mapping[str, Any] = run.job.get("fields", {})
    return fields
