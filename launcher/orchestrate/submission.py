"""What a machine is handed: built from the record alone, so that a recovery months later hands out the same."""

from __future__ import annotations

from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.homecoming import is_newest, resume_source
from launcher.orchestrate.leaving import record_to_leave
from launcher.orchestrate.signing import with_signatures
from launcher.records import from_json
from launcher.runners.base import Environment, Submission
from launcher.secrets import read_secrets
from launcher.store import AttemptRow
from provisioning import Instance

__all__ = ["submission_for"]


def submission_for(context: RunContext, attempt: AttemptRow, instance: Instance) -> Submission:
    """Return the present start of an attempt as a submission for ``instance``."""
    job, stored = context.job, context.run.job
    stage = job.every_stage[0]
    provider = context.provider(instance.ref.provider)
    deadlines = deadlines_now(context, context.offer_of(attempt))
    idle = job.idle_stop
    checkpoint = resume_source(context)
    submission = Submission(
        run_id=context.run_id,
        attempt=attempt.n,
        stage=stage.name,
        start=attempt.starts,
        workdir_name=job.workdir_path.name or "work",
        snapshot=context.paths.snapshot,
        mounts=job.mounts,
        environment=from_json(Environment, stored["environment"]),
        setup=stage.setup,
        run=stage.run,
        envs=stored["envs"],
        secrets=read_secrets(context.paths.secrets, job.secrets),
        checkpoint_dir=job.checkpoint.dir,
        resume_from=checkpoint,
        resume_is_newest=is_newest(context, attempt, checkpoint),
        soft_deadline=deadlines.soft,
        hard_deadline=deadlines.hard,
        notice=provider.notice(instance),
        self_destroy=provider.self_destroy(instance),
        record=record_to_leave(context),
        gpus=context.offer_of(attempt).gpu_count,
        progress=job.progress,
        best_of=None if job.metric is None else (job.metric.name, job.metric.mode.value),
        idle_stop_s=idle.total_seconds() if idle is not None else None,
    )
    return with_signatures(context, attempt, submission)
