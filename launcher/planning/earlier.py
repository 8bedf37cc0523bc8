"""One stage of a job by itself, given the outputs of an earlier run: ``--stage words --from RUN``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import UsageError
from launcher.job import Job
from launcher.job.stages import alone, stage_named
from launcher.planning.preflight import Finding, Level
from launcher.records import from_json
from launcher.store import RunRow, Store

if TYPE_CHECKING:
    from launcher.runners.base import Carried

__all__ = ["OneStage", "one_stage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneStage:
    """A job of one stage, and what it is given."""

    job: Job
    carried: tuple[Carried, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of all that it is given."""
        return sum(file.size_bytes for one in self.carried for file in one.files)


def one_stage(job: Job, name: str | None, earlier: str | None, store: Store) -> OneStage:
    """Return the job as it is for ``--stage`` and ``--from``; as it is where neither is given.

    Raises:
        UsageError: the stage needs others and no run is named, or the run has not what it needs.
        JobFileError: there is no such stage.
        RunNotFound: there is no such run.
    """
    if name is None:
        if earlier is not None:
            raise UsageError(
                "--from names the run that one stage is given outputs of", hint="name it with --stage"
            )
        return OneStage(job=job)
    if not job.stages:
        raise UsageError(
            f"--stage {name}: the job has no stages", hint="stages: [{name: …, run: …}] in the job file"
        )
    needs, after = stage_named(job, name).needs, stage_named(job, name).after
    if needs and earlier is None:
        raise UsageError(
            f"stage {name} needs {', '.join(needs)}, and no run is named that has done that",
            hint=f"launch … --stage {name} --from RUN; `launch ls` shows the runs",
        )
    if earlier is None:
        return OneStage(job=alone(job, name))
    from launcher.policy.stages import (
        StageRecord,
        StageState,
    )  # with all of a runner, which other jobs do not need

    run = store.find_run(earlier)
    records = {key: from_json(StageRecord, stored) for key, stored in run.stages.items()}
    done = [key for key in after if key in records and records[key].state is StageState.SUCCEEDED]
    carried = tuple(_carried(run, need) for need in (*needs, *done))
    empty = [one.stage for one in carried if not one.files]
    findings = [_nothing_from(run, stage) for stage in empty]
    return OneStage(
        job=alone(job, name), carried=tuple(one for one in carried if one.files), findings=tuple(findings)
    )


def _carried(run: RunRow, name: str) -> Carried:
    """Return what a stage of an earlier run has left."""
    from launcher.policy.stages import StageRecord, StageState
    from launcher.runners.base import Carried

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
