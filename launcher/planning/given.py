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

    Of a stage that it only comes after it is given what there is, as within one run; what is lacking is said.

    Raises:
        UsageError, HomeError: the run has not what is needed.
        RunNotFound: there is no such run.
    """
    run, findings = _run_that_has(needs, after, earlier, store)
    carried = [_carried(run, need) for need in needs]
    findings += [_nothing_from(run, one.stage) for one in carried if not one.files]
    for name in after:
        there, said = _what_there_is(run, name)
        carried += there
        findings += said
    return tuple(one for one in carried if one.files), tuple(findings)


def _run_that_has(
    needs: Sequence[str], after: Sequence[str], text: str, store: Store
) -> tuple[RunRow, list[Finding]]:
    """Return the run that a person means: of a name, the newest run that has all of it, done and at home.

    Where none has all, the newest that has what is needed: of what a stage only comes after, anything may be lacking.

    Raises:
        UsageError: none has what is needed; says what each lacks.
        RunNotFound: there is no such run.
    """
    found = store.find_run(text)
    if text == found.run_id or text != found.name or not (needs or after):
        return found, []
    lacking: list[tuple[RunRow, LaunchError]] = []
    next_best: tuple[RunRow, list[Finding]] | None = None
    for run in store.runs_named(text):
        try:
            _require(run, needs)
            next_best = next_best or (run, [_taken_from(run, needs, lacking)] if needs else [])
            _require(run, _any_of(run, after) if after else ())
        except LaunchError as err:
            lacking.append((run, err))
            continue
        return run, [_taken_from(run, (*needs, *after), lacking)]
    if next_best is not None:
        return next_best
    if len(lacking) == 1:
        raise lacking[0][1]
    told = [err.message for _, err in lacking[:MOST_TOLD]]
    more = f"; and {len(lacking) - MOST_TOLD} more" if len(lacking) > MOST_TOLD else ""
    raise UsageError(
        f"no run of the name {text} has what is needed: {'; '.join(told)}{more}",
        hint=f"run {', '.join(needs)} again, or name another run; `launch ls --all` shows them",
    )


def _taken_from(run: RunRow, names: Sequence[str], newer: Sequence[tuple[RunRow, LaunchError]]) -> Finding:
    """Say which run it is, and what is lacking in those that are ``newer``."""
    lack = f"; newer ones lack it: {'; '.join(err.message for _, err in newer)}" if newer else ""
    words = f"outputs of {', '.join(names)} are taken from {run.run_id}{lack}"
    return Finding(check="stages", level=Level.WARNING if newer else Level.OK, message=words)


def _require(run: RunRow, names: Sequence[str]) -> None:
    for name in names:
        require_at_home(_carried(run, name))


def _any_of(run: RunRow, names: Sequence[str]) -> list[str]:
    """Return those of some stages that have succeeded in a run; one has to have."""
    records = {name: _record(run, name) for name in names}
    done = [name for name, record in records.items() if record.state is StageState.SUCCEEDED]
    if not done:
        raise UsageError(f"none of {', '.join(names)} has succeeded in {run.run_id}")
    return done


def _carried(run: RunRow, name: str) -> Carried:
    """Return what a stage of an earlier run has left: all that it was to leave."""
    record = _succeeded(run, name)
    if record.missing:
        raise UsageError(
            f"stage {name} of {run.run_id} ended without {', '.join(record.missing)} (its outputs)",
            hint=f"run {name} again, or take what it does not make out of its `outputs`",
        )
    return _files_of(run, name, record)


def _what_there_is(run: RunRow, name: str) -> tuple[list[Carried], list[Finding]]:
    """Return what a stage has left of which nothing has to be there, and what is to be said of it."""
    try:
        record = _succeeded(run, name)
        carried = _files_of(run, name, record)
        require_at_home(carried)
    except LaunchError as err:
        words = f"{err.message}: nothing of {name} is given to this stage"
        return [], [Finding(check="stages", level=Level.WARNING, message=words, fix=err.hint)]
    if not carried.files:
        return [], [_nothing_from(run, name)]
    if record.missing:
        words = f"stage {name} of {run.run_id} ended without {', '.join(record.missing)}: this stage is given the rest"
        return [carried], [Finding(check="stages", level=Level.WARNING, message=words)]
    return [carried], []


def _succeeded(run: RunRow, name: str) -> StageRecord:
    """Return the record of a stage that has succeeded."""
    named = [str(stage["name"]) for stage in run.job.get("fields", {}).get("stages", ())]
    if name not in named:
        has = f"it has {', '.join(named)}" if named else "it has no stages"
        raise UsageError(f"{run.run_id} has no stage {name!r}", hint=f"{has}; `launch ls` shows other runs")
    record = _record(run, name)
    if record.state is not StageState.SUCCEEDED:
        why = f": {record.words}" if record.words else ""
        raise UsageError(
            f"stage {name} of {run.run_id} has not succeeded, it is {record.state.value}{why}",
            hint=f"`launch status {run.run_id}`; `launch resume {run.run_id}` does what is missing",
        )
    return record


def _record(run: RunRow, name: str) -> StageRecord:
    return from_json(StageRecord, run.stages.get(name, {}))


def _files_of(run: RunRow, name: str, record: StageRecord) -> Carried:
    return Carried(stage=name, attempt=0, start=0, root=Path(run.results_dir), files=record.files)


def _nothing_from(run: RunRow, stage: str) -> Finding:
    return Finding(
        check="stages",
        level=Level.WARNING,
        message=f"stage {stage} of {run.run_id} left no outputs for others: nothing of it is given to this stage",
        fix=f"name them in `outputs` of {stage}, and run it again",
    )
