"""Outputs of stages: which come home for later ones, and which a machine is given before a stage begins on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from launcher import results
from launcher.job.stages import stage_named
from launcher.orchestrate.context import RunContext
from launcher.policy.stages import StageRecord, StageState, is_over
from launcher.records import from_json
from launcher.runners.base import Area, Carried, FetchReport, StageFile
from launcher.store import AttemptRow

__all__ = ["carried_to", "fetch_for_others", "note_outputs"]


def fetch_for_others(context: RunContext, name: str) -> results.Fetch | None:
    """Return what has to come home of a stage beside ``file_outputs``: its ``outputs``, and what may be promoted."""
    if not context.job.stages:
        return None
    stage = stage_named(context.job, name)
    patterns = [*stage.outputs, *((stage.promote.file,) if stage.promote is not None else ())]
    if not patterns:
        return None
    return results.Fetch(
        patterns=tuple(dict.fromkeys(patterns)), dest=Path(context.run.results_dir), area=Area.WORK
    )


def note_outputs(context: RunContext, name: str, report: FetchReport) -> None:
    """Remember the files that a stage has for others, as they came home now; what it ended with stays as it was judged."""
    main = Path(context.run.results_dir)
    files = tuple(
        StageFile(name=str(file.path.relative_to(main)), size_bytes=file.size_bytes, sha256=file.sha256)
        for file in report.files
    )
    with context.store.together():
        context.read_stages_again()
        if not is_over(name, context.stage_records):
            context.update_stage(name, files=files, missing=report.unmatched)


def carried_to(context: RunContext, attempt: AttemptRow) -> tuple[Carried, ...]:
    """Return the outputs of the stages that an attempt's stage needs, or comes after, from where they are at home.

    The machine takes what it has not, in the order in which they were made: a stage that ran there has left its
    outputs where they belong.
    """
    if not context.job.stages:
        return ()
    main, records = Path(context.run.results_dir), context.stage_records
    stage = stage_named(context.job, attempt.stage)
    own = tuple(
        Carried(
            stage=name,
            attempt=records[name].attempt,
            start=records[name].start,
            root=main,
            files=records[name].files,
        )
        for name in sorted((*stage.needs, *stage.after), key=lambda name: _ended(records, name))
        if name in records and records[name].state is StageState.SUCCEEDED and records[name].files
    )
    earlier = tuple(from_json(Carried, stored) for stored in context.run.job.get("carried", ()))
    return (*own, *earlier)


def _ended(records: Mapping[str, StageRecord], name: str) -> str:
    """When a stage ended, to sort by; a later one has the last word on a path of both, as on one machine."""
    ended_at = records[name].ended_at if name in records else None
    return ended_at.isoformat() if ended_at is not None else ""
