"""What earlier runs teach about the next one: how fast this job went, on what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from launcher.forecast.account import Account
from launcher.forecast.experience import Experience
from launcher.forecast.throughput import EarlierRun
from launcher.records import from_json, to_json
from launcher.store import AccountRow, AttemptRow, RunRow, SpeedRow, Store
from provisioning import Offer

__all__ = ["account_row", "accounts", "earlier_runs", "experience", "job_digest", "speed_row"]

WHAT_MAKES_A_JOB = ("name", "setup", "run", "stages", "environment")
"""Fields of the job file that make it the same job: limits, names of folders and places to run do not."""


def job_digest(fields: Mapping[str, Any]) -> str:
    """Name a job by what it runs."""
    same = {name: fields.get(name) for name in WHAT_MAKES_A_JOB}
    return hashlib.sha256(json.dumps(same, sort_keys=True, default=str).encode()).hexdigest()[:16]


def earlier_runs(store: Store, fields: Mapping[str, Any]) -> tuple[EarlierRun, ...]:
    """Return what the record knows of earlier runs of a job, newest first."""
    return tuple(
        EarlierRun(
            steps_per_s=row.steps_per_s,
            gpu_name=row.gpu_name,
            gpu_memory_gib=row.gpu_memory_gib,
            instance_type=row.instance_type,
            vcpus=row.vcpus,
            steps=row.total_steps,
            label=row.run_id,
            beside_share=row.beside_share,
            batch_size=row.batch_size,
            precision=row.precision,
        )
        for row in store.speeds(job_digest(fields))
    )


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


def speed_row(
    run: RunRow,
    attempt: AttemptRow,
    offer: Offer,
    at: datetime,
    *,
    beside_h: float | None = None,
    fields: Mapping[str, Any] | None = None,
) -> SpeedRow | None:
    """Return the speed that an attempt showed; None where it showed none.

    ``fields``: of the job that it is remembered of, where that is a stage of the run's.

    ``beside_h``: hours that the whole run was at work beside its steps, where the whole of it was seen. The batch is
    what the program reported as ``batch_size``, the precision its ``precision_bits``.
    """
    steps = (attempt.step_last or 0) - (attempt.step_at_attempt or 0)
    if run.steps_per_s is None or run.steps_per_s <= 0 or steps <= 0:
        return None
    return SpeedRow(
        run_id=run.run_id,
        job_digest=job_digest(run.job["fields"] if fields is None else fields),
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
