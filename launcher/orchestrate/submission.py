"""What a machine is handed: built from the record alone, so that a recovery months later hands out the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.homecoming import is_newest, resume_source
from launcher.orchestrate.leaving import record_to_leave
from launcher.orchestrate.signing import with_signatures
from launcher.orchestrate.stage_outputs import carried_to
from launcher.records import from_json
from launcher.runners.base import Environment, Submission
from launcher.secrets import read_secrets
from launcher.store import AttemptRow
from provisioning import Instance

__all__ = ["submission_for"]


def submission_for(context: RunContext, attempt: AttemptRow, instance: Instance) -> Submission:
    """Return the present start of an attempt as a submission for ``instance``."""
    job, stored = context.job_of(attempt), context.run.job
    has_stages = bool(context.job.stages)
    provider = context.provider(instance.ref.provider)
    deadlines = deadlines_now(context, context.offer_of(attempt))
    idle = job.idle_stop
    is_without_gpu = (
        has_stages and job.resources.gpus_wanted is None
    )  # its GPU idles because it has no use for one
    checkpoint = resume_source(context, attempt)
    submission = Submission(
        run_id=context.run_id,
        attempt=attempt.n,
        stage=attempt.stage,
        start=attempt.starts,
        workdir_name=job.workdir_path.name or "work",
        snapshot=context.paths.snapshot,
        mounts=job.mounts,
        environment=from_json(Environment, _environment(stored, attempt.stage)),
        setup=job.setup,
        run=job.run or "",
        envs=stored["envs"],
        secrets=read_secrets(context.paths.secrets, job.secrets),
        checkpoint_dir=job.checkpoint.dir,
        checkpoint_below=attempt.stage if has_stages else "",
        carried=carried_to(context, attempt),
        resume_from=checkpoint,
        resume_is_newest=is_newest(context, attempt, checkpoint),
        soft_deadline=deadlines.soft,
        hard_deadline=deadlines.hard,
        notice=provider.notice(instance),
        self_destroy=provider.self_destroy(instance),
        code=stored.get("code", {}),
        record=record_to_leave(context),
        gpus=context.offer_of(attempt).gpu_count,
        progress=job.progress,
        best_of=None if job.metric is None else (job.metric.name, job.metric.mode.value),
        idle_stop_s=idle.total_seconds() if idle is not None and not is_without_gpu else None,
    )
    return with_signatures(context, attempt, submission)


def _environment(stored: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    """What the environment of a stage was made from at launch; a job without stages has one."""
    by_stage: Mapping[str, Any] = stored.get("environments", {})
    found: Mapping[str, Any] = by_stage.get(stage, stored["environment"])
    return found
