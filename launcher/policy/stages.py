"""Which stage of a job is next, which can no longer run, and how a run of several stages ends. Pure.

A run goes through its stages one after the other. What became of each is a `StageRecord`, stored with the run; a
stage without one, or with one that is still `StageState.WAITING`, is not over.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from launcher.job.parts import OnFailure
from launcher.policy.states import Reason
from launcher.quantities import duration
from launcher.runners.base import StageFile

if TYPE_CHECKING:
    from launcher.job.parts import Stage

__all__ = [
    "FAILURES",
    "StageRecord",
    "StageState",
    "blocked",
    "can_be_spared",
    "closing",
    "dropped_in_time",
    "how_it_ends",
    "is_over",
    "next_stage",
    "others_go_on",
    "room_for_closing",
    "to_drop",
    "to_redo",
]

FAILURES = frozenset(Reason) - {
    Reason.NONE,
    Reason.FINISHED,
    Reason.STOPPED_BY_USER,
    Reason.BUDGET,
    Reason.DEADLINE,
    Reason.IDLE,
    Reason.OUR_FAULT,
}
"""Ends of a stage alone: it failed, was given up, or had no machine. ``on_failure`` says what they mean for the others.
What is left out ends the run: a person, a limit, a GPU that idled, a fault of ours."""
NO_MACHINE = frozenset({Reason.NO_CAPACITY, Reason.CREDENTIALS})
"""Those of them in which nothing could be rented."""


UNKNOWN_CLOSING_S = 300.0
UNKNOWN_CLOSING_SHARE = 0.25
"""What is kept for a stage that comes after all others and of which nobody knows how long it takes."""


class StageState(str, enum.Enum):
    """What became of a stage."""

    WAITING = "waiting"
    """It is not over; it may be at work."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    """A stage that it needs has not succeeded."""
    DROPPED = "dropped"
    """There was no time left for it, or it was saved and stopped to leave time for what comes after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """What is on record of one stage."""

    state: StageState = StageState.WAITING
    code: str = ""
    """A `Reason`, of a stage that did not succeed."""
    words: str = ""
    attempt: int = 0
    """On which machine it ended: the number of its last attempt."""
    start: int = 0
    """Which of the starts there."""
    ended_at: datetime | None = None
    step: int | None = None
    total: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of every number that it reported."""
    files: tuple[StageFile, ...] = ()
    """Its ``outputs``, as they came home last."""
    missing: tuple[str, ...] = ()
    """Patterns of its ``outputs`` that nothing matched then."""
    promoted: str = ""
    """What became of its ``promote``, in words."""
    resumed: bool = False
    """A person had it go on after it had been at work: it is not given up again."""


Records = Mapping[str, StageRecord]
"""By the names of the stages; one may be missing as long as it has not begun."""


def is_over(name: str, records: Records) -> bool:
    """Nothing more happens in this stage."""
    return name in records and records[name].state is not StageState.WAITING


def next_stage(stages: Sequence[Stage], records: Records) -> Stage | None:
    """Return the first stage of the file that may begin now; None when none may, ever.

    All that it needs has succeeded, and all that it comes after is over, however it ended.
    """
    for stage in stages:
        may_begin = all(_succeeded(name, records) for name in stage.needs) and all(
            is_over(name, records) for name in stage.after
        )
        if may_begin and not is_over(stage.name, records):
            return stage
    return None


def blocked(stages: Sequence[Stage], records: Records) -> list[tuple[Stage, str]]:
    """Return the stages that can never begin, each with the stage that it needs in vain."""
    found: dict[str, tuple[Stage, str]] = {}
    lost = {
        stage.name for stage in stages if is_over(stage.name, records) and not _succeeded(stage.name, records)
    }
    while True:
        more = [
            (stage, name)
            for stage in stages
            if not is_over(stage.name, records) and stage.name not in found
            for name in stage.needs
            if name in lost
        ]
        if not more:
            return list(found.values())
        for stage, name in more:
            found.setdefault(stage.name, (stage, name))
            lost.add(stage.name)


def others_go_on(stage: Stage, reason: Reason) -> bool:
    """Whether the end of a stage for ``reason`` leaves the stages that do not need it a chance."""
    return reason is Reason.FINISHED or (reason in FAILURES and stage.on_failure is OnFailure.CONTINUE)


def can_be_spared(stages: Sequence[Stage], records: Records, name: str) -> bool:
    """Whether other stages could be at work if this one failed now."""
    (stage,) = (stage for stage in stages if stage.name == name)
    without = {**records, name: StageRecord(state=StageState.FAILED)}
    return stage.on_failure is OnFailure.CONTINUE and next_stage(stages, without) is not None


def how_it_ends(stages: Sequence[Stage], records: Records) -> tuple[Reason, str]:
    """Return how a run ends in which every stage is over: a failure anywhere is one, and what was dropped is undone."""
    by_state: dict[StageState, list[str]] = {}
    for stage in stages:
        record = records.get(stage.name, StageRecord())
        said = f"{stage.name} ({record.words})" if record.state is StageState.FAILED else stage.name
        by_state.setdefault(record.state, []).append(said)
    parts = [f"{', '.join(by_state[state])} {words}" for state, words in _WORDS.items() if state in by_state]
    if StageState.FAILED in by_state:
        codes = {record.code for record in records.values() if record.state is StageState.FAILED}
        lacked = [reason for reason in NO_MACHINE if codes == {reason.value}]
        return lacked[0] if lacked else Reason.JOB_FAILED, "; ".join(parts)
    if StageState.DROPPED in by_state:
        return Reason.DEADLINE, "; ".join(parts)
    return Reason.FINISHED, f"all {len(stages)} stages finished" if len(stages) > 1 else "the stage finished"


def closing(stages: Sequence[Stage], records: Records) -> list[Stage]:
    """Return the stages that only come ``after`` others, such as a comparison: they run whatever is dropped."""
    return [stage for stage in stages if stage.after and not stage.needs and not is_over(stage.name, records)]


def room_for_closing(
    stages: Sequence[Stage], records: Records, present: str, likely_s: Mapping[str, float], span_s: float
) -> float:
    """Return how much of the time that is left belongs to the closing stages while ``present`` is at work.

    ``likely_s``: what stages are expected to take, where that is more than a guess. ``span_s``: from the beginning of the
    present stage to the end of its time; of it an unknown closing stage is kept a part.
    """
    last = closing(stages, records)
    if present in {stage.name for stage in last}:
        return 0.0
    unknown_s = min(UNKNOWN_CLOSING_S, UNKNOWN_CLOSING_SHARE * max(0.0, span_s))
    return sum(likely_s.get(stage.name, unknown_s) for stage in last)


def to_drop(
    stages: Sequence[Stage], records: Records, likely_s: Mapping[str, float], left_s: float
) -> tuple[Stage, str] | None:
    """Return the next stage with the reason, where no time is left for it and what comes after all; None where it may begin.

    A stage of which nobody knows how long it takes begins while any time is left; it is cut off in time.
    """
    stage = next_stage(stages, records)
    if stage is None or stage in closing(stages, records):
        return None
    room_s = room_for_closing(stages, records, stage.name, likely_s, left_s)
    needed_s = likely_s.get(stage.name, 0.0)
    if needed_s + room_s <= left_s and left_s > room_s:
        return None
    needs = f"it takes about {duration(needed_s)}" if needed_s else "it would hardly have begun"
    kept = f", of which {duration(room_s)} are kept for what comes after" if room_s else ""
    return stage, f"{needs}; time left: {duration(max(0.0, left_s))}{kept}"


def dropped_in_time(
    stages: Sequence[Stage], likely_s: Mapping[str, float], left_s: float
) -> tuple[list[Stage], list[Stage]]:
    """Return which stages will run and which will not, if all take what they are expected to."""
    records: dict[str, StageRecord] = {}
    run: list[Stage] = []
    dropped: list[Stage] = []
    while (stage := next_stage(stages, records)) is not None:
        drops = to_drop(stages, records, likely_s, left_s)
        (dropped if drops else run).append(stage)
        records[stage.name] = StageRecord(state=StageState.DROPPED if drops else StageState.SUCCEEDED)
        left_s -= 0.0 if drops else likely_s.get(stage.name, 0.0)
        for skipped, _ in blocked(stages, records):
            dropped.append(skipped)
            records[skipped.name] = StageRecord(state=StageState.SKIPPED)
    return run, dropped


def to_redo(stages: Sequence[Stage], records: Records) -> dict[str, StageRecord]:
    """Return the records of a run that a person has go on: what has succeeded stays done, everything else is to be done.

    A closing stage is done again when something that it comes after is: a comparison has to see it.
    """
    kept = {name for name, record in records.items() if record.state is StageState.SUCCEEDED}
    open_ones = {stage.name for stage in stages} - kept
    last = [stage for stage in stages if stage.after and not stage.needs]
    while again := [
        stage.name for stage in last if stage.name in kept and open_ones.intersection(stage.after)
    ]:
        kept.difference_update(again)
        open_ones.update(again)
    return {name: record if name in kept else StageRecord() for name, record in records.items()}


_WORDS = {
    StageState.FAILED: "failed",
    StageState.DROPPED: "dropped for want of time",
    StageState.SKIPPED: "skipped",
    StageState.WAITING: "not begun",
    StageState.SUCCEEDED: "finished",
}


def _succeeded(name: str, records: Records) -> bool:
    return name in records and records[name].state is StageState.SUCCEEDED
