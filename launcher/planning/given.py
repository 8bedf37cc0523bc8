"""What an earlier run gives to one stage: of the run that is named, or of the newest of a name that has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launcher.errors import LaunchError, UsageError
from launcher.planning.preflight import Finding, Level
from launcher.policy.stages import StageRecord, StageState
from launcher.records import from_json
from launcher.results import require_at_home
from launcher.runners.base import Carried
from launcher.store import RunRow, Store

__all__ = ["given_by"]

MOST_TOLD = 5
"""Of runs that lack something, how many are named."""


def given_by(
    earlier: str, needs: Sequence[str], after: Sequence[str], store: Store
) -> tuple[tuple[Carried, ...], tuple[Finding, ...]]:
    """Return what a stage is given that needs these others, or comes after them, and what is to be said of it.

    Raises:
        UsageError, HomeError: the run has not what is needed.
        RunNotFound: there is no such run.
    """
    run, findings = _run_that_has(needs, after, earlier, store)
    records = {key: from_json(StageRecord, stored) for key, stored in run.stages.items()}
    done = [key for key in after if key in records and records[key].state is StageState.SUCCEEDED]
    carried = tuple(_carried(run, need) for need in (*needs, *done))
    findings += [_nothing_from(run, one.stage) for one in carried if not one.files]
    return tuple(one for one in carried if one.files), tuple(findings)


def _run_that_has(
    needs: Sequence[str], after: Sequence[str], text: str, store: Store
) -> tuple[RunRow, list[Finding]]:
    """Return the run that a person means: of a name, the newest run that has done what is needed and has it at home.

    For a stage that only comes after others, the newest run in which one of them has succeeded, else the newest.

    Raises:
        UsageError: none of them has; says what each lacks.
        RunNotFound: there is no such run.
    """
    found = store.find_run(text)
    if text == found.run_id or text != found.name or not (needs or after):
        return found, []
    lacking: list[tuple[RunRow, LaunchError]] = []
    for run in store.runs_named(text):
        try:
            for need in needs or _any_of(run, after):
                require_at_home(_carried(run, need))
        except LaunchError as err:
            lacking.append((run, err))
            continue
        newer = f"; newer ones lack it: {'; '.join(err.message for _, err in lacking)}" if lacking else ""
        words = f"outputs of {', '.join(needs or after)} are taken from {run.run_id}{newer}"
        level = Level.WARNING if lacking else Level.OK
        return run, [Finding(check="stages", level=level, message=words)]
    if not needs:  # which runs all the same, as it would have there
        return found, [Finding(check="stages", level=Level.WARNING, message=lacking[0][1].message)]
    if len(lacking) == 1:
        raise lacking[0][1]
    told = [err.message for _, err in lacking[:MOST_TOLD]]
    more = f"; and {len(lacking) - MOST_TOLD} more" if len(lacking) > MOST_TOLD else ""
    raise UsageError(
        f"no run of the name {text} has what is needed: {'; '.join(told)}{more}",
        hint=f"run {', '.join(needs or after)} again, or name another run; `launch ls --all` shows them",
    )


def _any_of(run: RunRow, names: Sequence[str]) -> list[str]:
    """Return those of some stages that have succeeded in a run; one has to have."""
    records = {name: from_json(StageRecord, run.stages.get(name, {})) for name in names}
    done = [name for name, record in records.items() if record.state is StageState.SUCCEEDED]
    if not done:
        raise UsageError(f"none of {', '.join(names)} has succeeded in {run.run_id}")
    return done


def _carried(run: RunRow, name: str) -> Carried:
    """Return what a stage of an earlier run has left."""
    named = [str(stage["name"]) for stage in run.job.get("fields", {}).get("stages", ())]
    if name not in named:
        has = f"it has {', '.join(named)}" if named else "it has no stages"
        raise UsageError(f"{run.run_id} has no stage {name!r}", hint=f"{has}; `launch ls` shows other runs")
    record = from_json(StageRecord, run.stages.get(name, {}))
    if record.state is not StageState.SUCCEEDED:
        why = f": {record.words}" if record.words else ""
        raise UsageError(
            f"stage {name} of {run.run_id} has not succeeded, it is {record.state.value}{why}",
            hint=f"`launch status {run.run_id}`; `launch resume {run.run_id}` does what is missing",
        )
    if record.missing:
        raise UsageError(
            f"stage {name} of {run.run_id} ended without {', '.join(record.missing)} (its outputs)",
            hint=f"run {name} again, or take what it does not make out of its `outputs`",
        )
    return Carried(stage=name, attempt=0, start=0, root=Path(run.results_dir), files=record.files)


def _nothing_from(run: RunRow, stage: str) -> Finding:
    return Finding(
        check="stages",
        level=Level.WARNING,
        message=f"stage {stage} of {run.run_id} left no outputs for others: nothing of it is given to this stage",
        fix=f"name them in `outputs` of {stage}, and run it again",
    )
