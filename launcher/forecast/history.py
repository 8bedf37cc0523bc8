"""What earlier runs teach about the next one: how fast this job went, on what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from launcher.forecast.throughput import EarlierRun
from launcher.store import AttemptRow, RunRow, SpeedRow, Store
from provisioning import Offer

__all__ = ["earlier_runs", "job_digest", "speed_row"]

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
        )
        for row in store.speeds(job_digest(fields))
    )


def speed_row(run: RunRow, attempt: AttemptRow, offer: Offer, at: datetime) -> SpeedRow | None:
    """Return the speed that an attempt showed; None where it showed none."""
    steps = (attempt.step_last or 0) - (attempt.step_at_attempt or 0)
    if run.steps_per_s is None or run.steps_per_s <= 0 or steps <= 0:
        return None
    return SpeedRow(
        run_id=run.run_id,
        job_digest=job_digest(run.job["fields"]),
        provider=offer.provider,
        instance_type=offer.instance_type,
        gpu_name=offer.gpu_name,
        gpu_memory_gib=offer.gpu_memory_gib,
        vcpus=offer.vcpus,
        steps_per_s=run.steps_per_s,
        total_steps=run.total,
        measured_at=at,
    )
