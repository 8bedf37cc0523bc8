"""What earlier runs teach about the next one: how fast this job went and how long it took, on what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launcher.forecast.account import Account
from launcher.forecast.experience import Experience, StageRun
from launcher.forecast.throughput import EarlierRun
from launcher.forecast.times import EarlierTime
from launcher.forecast.worktime import gpus_at_work
from launcher.records import from_json, to_json
from launcher.store import AccountRow, AttemptRow, RunRow, SpeedRow, Store, WorkRow
from provisioning import Offer
from trainer.contract import Cause

if TYPE_CHECKING:
    from launcher.runners.base import Progress

__all__ = [
    "account_row",
    "accounts",
    "earlier_runs",
    "earlier_times",
    "experience",
    "hours_beside",
    "job_digest",
    "speed_row",
    "stage_runs",
    "was_told_to_leave",
    "work_digest",
    "work_row",
]

WHAT_MAKES_A_JOB = ("name", "setup", "run", "stages", "environment")
"""Fields of the job file that make it the same job: limits, names of folders and places to run do not."""

SHORTEST_WORK_S = 0.01
"""What is over at once has taken some time all the same."""


def job_digest(fields: Mapping[str, Any], stage: str = "") -> str:
    """Name a job by what it runs; ``stage``: that it is one of several, which may all run the same command."""
    same = {name: fields.get(name) for name in WHAT_MAKES_A_JOB}
    return _digest({**same, "stage": stage} if stage else same)


def work_digest(fields: Mapping[str, Any], stage: str = "") -> str:
    """Name a job by what it runs and with what: variables say how much a program has to do as its arguments do.

    Whoever says other hours than before says that it is another amount of work; steps are reckoned with.
    """
    work = fields.get("work") or {}
    said = {name: work.get(name) for name in ("hours", "on")}
    return _digest({"job": job_digest(fields, stage), "envs": fields.get("envs") or {}, "work": said})


def _digest(same: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(same, sort_keys=True, default=str).encode()).hexdigest()[:16]


def earlier_runs(store: Store, fields: Mapping[str, Any], stage: str = "") -> tuple[EarlierRun, ...]:
    """Return what the record knows of the pace of a job, or of one stage by its ``fields`` and name, newest first."""
    return tuple(
        EarlierRun(
            steps_per_s=row.steps_per_s,
            gpu_name=row.gpu_name,
            provider=row.provider,
            gpu_memory_gib=row.gpu_memory_gib,
            instance_type=row.instance_type,
            vcpus=row.vcpus,
            steps=row.total_steps,
            label=row.run_id,
            beside_share=row.beside_share,
            batch_size=row.batch_size,
            precision=row.precision,
        )
        for row in store.speeds(job_digest(fields, stage))
    )


def earlier_times(store: Store, fields: Mapping[str, Any], stage: str = "") -> tuple[EarlierTime, ...]:
    """Return what a job, or one stage, took in earlier runs that did all of it in one piece, newest first."""
    return tuple(
        EarlierTime(
            work_s=row.work_s,
            gpu_name=row.gpu_name,
            provider=row.provider,
            gpu_count=row.gpu_count,
            gpu_memory_gib=row.gpu_memory_gib,
            instance_type=row.instance_type,
            vcpus=row.vcpus,
            steps=row.steps,
            label=row.run_id,
        )
        for row in store.works(work_digest(fields, stage))
        if row.work_s is not None
    )


def stage_runs(store: Store, fields: Mapping[str, Any], stage: str) -> tuple[StageRun, ...]:
    """Return what earlier runs of one stage showed beside its time, newest first."""
    return tuple(
        StageRun(
            run_id=row.run_id,
            provider=row.provider,
            stays=row.stays,
            setup_s=row.setup_s,
            checkpoint_bytes=row.checkpoint_bytes,
            output_bytes=row.output_bytes,
        )
        for row in store.works(work_digest(fields, stage))
    )


def work_row(
    run: RunRow,
    attempts: Sequence[AttemptRow],
    fields: Mapping[str, Any],
    offer: Offer,
    at: datetime,
    *,
    stage: str = "",
    stays: bool = False,
    output_bytes: int | None = None,
    gpus_used: int | None = None,
) -> WorkRow:
    """Return what a job that has done all its work, or a stage of it, is remembered by.

    ``attempts``: all that there were at it, of which the last one was not told to leave (`was_told_to_leave`). Work that
    was done in several pieces has no time: how much of it was done twice, and what a killed machine had done, is not
    known to the second. ``gpus_used``: of the machine's GPUs; None: all.
    """
    last = attempts[-1]
    progress = _progress(last)
    in_one_piece = len(attempts) == 1 and last.starts == 1
    saved = () if progress is None else progress.checkpoints
    took_s = progress.run_s if progress is not None and in_one_piece else None
    return WorkRow(
        run_id=run.run_id,
        stage=stage,
        work_digest=work_digest(fields, stage),
        provider=offer.provider,
        instance_type=offer.instance_type,
        gpu_name=offer.gpu_name,
        gpu_count=gpus_at_work(offer, gpus_used),
        gpu_memory_gib=offer.gpu_memory_gib,
        vcpus=offer.vcpus,
        measured_at=at,
        work_s=None if took_s is None else max(took_s, SHORTEST_WORK_S),
        steps=(fields.get("work") or {}).get("steps"),
        stays=stays,
        setup_s=progress.setup_s if progress is not None and last.starts == 1 else None,
        checkpoint_bytes=max((entry.size_bytes for entry in saved[-3:]), default=0) if stage else None,
        output_bytes=output_bytes,
    )


def was_told_to_leave(attempt: AttemptRow) -> bool:
    """Whether the job was told to leave before it ended: many programs answer with exit 0, wherever they are.

    Then what it took, left and cost is not what all of its work does.
    """
    progress = _progress(attempt)
    return progress is not None and progress.cause is not Cause.NONE


def _progress(attempt: AttemptRow) -> Progress | None:
    from launcher.runners.base import Progress  # with all of a runner, which no first estimate needs

    return None if attempt.progress is None else from_json(Progress, attempt.progress)


def experience(store: Store, fields: Mapping[str, Any]) -> Experience:
    """Return what the accounts of this computer's runs teach about a job, those of the job itself first."""
    digest = job_digest(fields)
    rows = {row.run_id: row for row in (*store.accounts(digest, limit=20), *store.accounts(limit=100))}
    newest = sorted(rows.values(), key=lambda row: row.ended_at, reverse=True)
    return Experience(digest=digest, accounts=tuple(from_json(Account, row.account) for row in newest))


def accounts(
    store: Store, fields: Mapping[str, Any] | None = None, *, limit: int = 100
) -> tuple[Account, ...]:
    """Return the accounts of a job's runs, or of all, newest first."""
    digest = None if fields is None else job_digest(fields)
    return tuple(from_json(Account, row.account) for row in store.accounts(digest, limit=limit))


def account_row(account: Account) -> AccountRow:
    """Return what is stored of an account."""
    return AccountRow(
        run_id=account.run_id,
        job_digest=account.job_digest,
        ended_at=account.ended_at,
        account=to_json(account),
    )


def hours_beside(run: RunRow, work: WorkRow) -> float | None:
    """Hours of a stage that its steps do not explain: its start, evaluation, its end; None where they are not known."""
    if work.work_s is None or not run.step or not run.steps_per_s:
        return None
    return max(0.0, work.work_s - run.step / run.steps_per_s) / 3600.0


def speed_row(
    run: RunRow,
    attempt: AttemptRow,
    offer: Offer,
    at: datetime,
    *,
    beside_h: float | None = None,
    fields: Mapping[str, Any] | None = None,
    stage: str = "",
) -> SpeedRow | None:
    """Return the speed that an attempt showed; None where it showed none.

    ``fields`` and ``stage``: of what it is remembered of, where that is a stage of the run's job.

    ``beside_h``: hours that the whole run was at work beside its steps, where the whole of it was seen. The batch is
    what the program reported as ``batch_size``, the precision its ``precision_bits``.
    """
    steps = (attempt.step_last or 0) - (attempt.step_at_attempt or 0)
    if run.steps_per_s is None or run.steps_per_s <= 0 or steps <= 0:
        return None
    return SpeedRow(
        run_id=run.run_id,
        job_digest=job_digest(run.job["fields"] if fields is None else fields, stage),
        provider=offer.provider,
        instance_type=offer.instance_type,
        gpu_name=offer.gpu_name,
        gpu_memory_gib=offer.gpu_memory_gib,
        vcpus=offer.vcpus,
        steps_per_s=run.steps_per_s,
        total_steps=run.total,
        measured_at=at,
        beside_share=_beside_share(run, beside_h),
        batch_size=run.metrics.get("batch_size"),
        precision=f"{bits:g} bit" if (bits := run.metrics.get("precision_bits")) else None,
    )


def _beside_share(run: RunRow, beside_h: float | None) -> float | None:
    if beside_h is None or not run.step or not run.steps_per_s:
        return None
    return beside_h / (run.step / run.steps_per_s / 3600.0)
