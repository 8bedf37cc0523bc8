"""How each stage of a run stands, put together from the record: pure, and quick to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from launcher.store import AttemptRow, RunRow

__all__ = ["StageStatus", "failed_stages", "newest_metrics", "seconds_left_of", "stages_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """One stage of a run: where it stands, what it took, what is left of it."""

    name: str
    state: str
    """``waiting``; while it is at work the state of the run; then ``succeeded``, ``failed``, ``skipped`` (what it needs
    has not succeeded) or ``dropped`` (no time was left for it)."""
    reason: str
    attempts: tuple[int, ...]
    """The machines that it was on, by their numbers."""
    started: datetime | None
    ended: datetime | None
    seconds: float
    """For which it had a machine."""
    seconds_left: float | None
    """By its pace while it is at work; before it, and without steps, by the estimate, unless that is a guess; None where
    nobody knows."""
    step: int | None
    total: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    usd: float = 0.0
    promoted: str = ""
    """What became of the file that it was to promote."""


def newest_metrics(run: RunRow) -> dict[str, float]:
    """Return the last value of every number that a run has reported, in whichever stage.

    Its row has those of the stage at work alone; a stage that is over has its own on record.
    """
    newest: dict[str, float] = {}
    for record in sorted(run.stages.values(), key=lambda stored: stored.get("ended_at") or ""):
        newest |= record.get("metrics", {})
    return {**newest, **run.metrics}


def failed_stages(run: RunRow) -> list[str]:
    """Return the stages that have failed, in the order in which they did; none for a job without stages."""
    ended = [
        (record.get("ended_at") or "", name)
        for name, record in run.stages.items()
        if record.get("state") == "failed"
    ]
    return [name for _, name in sorted(ended)]


def stages_of(
    run: RunRow,
    attempts: Sequence[AttemptRow],
    usd: Mapping[tuple[str, int], float],
    now: datetime,
    *,
    present_left_s: float | None,
) -> tuple[StageStatus, ...]:
    """Return how the stages of a run stand, in the order of its file; none for a job without stages.

    ``usd``: what each attempt has cost, by stage and number. ``present_left_s``: of the stage at work.
    """
    named = [str(stage["name"]) for stage in run.job.get("fields", {}).get("stages", ())]
    return tuple(_stage(name, run, attempts, usd, now, present_left_s) for name in named)


def seconds_left_of(stages: Sequence[StageStatus]) -> float | None:
    """Return what is left of all stages together; None where nobody knows of one of them."""
    left = [stage.seconds_left for stage in stages if stage.ended is None and stage.state != "dropped"]
    known = [seconds for seconds in left if seconds is not None]
    return sum(known) if len(known) == len(left) else None


def _stage(
    name: str,
    run: RunRow,
    attempts: Sequence[AttemptRow],
    usd: Mapping[tuple[str, int], float],
    now: datetime,
    present_left_s: float | None,
) -> StageStatus:
    record: Mapping[str, Any] = run.stages.get(name, {})
    rows = [row for row in attempts if row.stage == name]
    is_over = record.get("state", "waiting") != "waiting"
    is_present = bool(rows) and not is_over and rows[-1] is attempts[-1]
    ended = datetime.fromisoformat(record["ended_at"]) if is_over and record.get("ended_at") else None
    seconds = sum((((row.ended_at or now) - row.started_at).total_seconds() for row in rows), 0.0)
    left = present_left_s if is_present else None
    if left is None and not (is_over or run.ended_at or run.verdict is not None):
        left = _rest_of(_estimated_s(run, name), seconds)
    return StageStatus(
        name=name,
        state=record["state"] if is_over else run.state if is_present else "waiting",
        reason=str(record.get("words", "")) if is_over else run.reason if is_present else "",
        attempts=tuple(row.n for row in rows),
        started=rows[0].started_at if rows else None,
        ended=ended,
        seconds=seconds,
        seconds_left=left,
        step=run.step if is_present else record.get("step"),
        total=run.total if is_present else record.get("total"),
        metrics=record.get("metrics", {}) if is_over else run.metrics if is_present else {},
        usd=round(sum((usd.get((row.stage, row.n), 0.0) for row in rows), 0.0), 6),
        promoted=str(record.get("promoted", "")),
    )


def _rest_of(estimated_s: float | None, seconds: float) -> float | None:
    """Nobody knows what is left of a stage that takes longer than it was thought to."""
    return estimated_s - seconds if estimated_s is not None and seconds < estimated_s else None


def _estimated_s(run: RunRow, name: str) -> float | None:
    """What a stage was thought to take; None where that was a guess."""
    for share in run.plan.get("estimate", {}).get("stages", ()):
        if share["name"] == name and share["source"] != "guess":
            return 3600.0 * float(share["hours"]["likely"])
    return None
