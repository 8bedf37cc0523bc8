"""One stage of a job by itself, given the outputs of an earlier run: ``--stage words --from RUN``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import UsageError
from launcher.job import Job
from launcher.job.stages import alone, stage_named
from launcher.planning.preflight import Finding
from launcher.store import Store

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
        UsageError, HomeError: the stage needs others and no run is named, or the run has not what it needs.
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
    from launcher.planning.given import given_by  # with all of a runner, which other jobs do not need

    carried, findings = given_by(earlier, needs, after, store)
    return OneStage(job=alone(job, name), carried=carried, findings=findings)
