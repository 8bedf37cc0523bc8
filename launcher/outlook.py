"""From a `Job` and its command line to what a plan asks for: the one place where the two vocabularies meet. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from launcher.conditions import Sizes
from launcher.job import Job
from launcher.plan import Wants
from launcher.throughput import EarlierRun, Work

__all__ = ["Flags", "wants_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What was asked for at launch and wins over the job file; None where nothing was said."""

    spot: bool | None = None
    max_cost_usd: float | None = None
    max_usd_per_hour: float | None = None
    max_duration_s: float | None = None
    until: datetime | None = None
    out: Path | None = None
    up_bytes_per_s: float | None = None
    down_bytes_per_s: float | None = None


def wants_of(
    job: Job, sizes: Sizes, *, history: Sequence[EarlierRun] = (), flags: Flags | None = None
) -> Wants:
    """Say what ``job`` asks of a plan. ``sizes`` come from the preflight's manifest, ``history`` newest first."""
    flags = flags or Flags()
    resources, checkpoint = job.resources, job.checkpoint
    return Wants(
        work=_work(job),
        sizes=sizes,
        history=tuple(history),
        has_environment=any(
            _makes_environment(stage.environment or job.environment) for stage in job.every_stage
        ),
        has_setup=any(stage.setup or job.setup for stage in job.every_stage),
        save_every_s=_seconds(checkpoint.every),
        mirrored=checkpoint.mirror != "none",
        mirror_every_s=_seconds(checkpoint.mirror_every),
        keep_checkpoints=checkpoint.keep,
        bucket_named=checkpoint.mirror not in ("home", "none"),
        disk_gib=None if resources.disk_size is None else resources.disk_size.gib,
        when_unattended=job.when_unattended,
        spot=bool(resources.use_spot if flags.spot is None else flags.spot),
        in_order=resources.ordered is not None,
        max_cost_usd=_first(flags.max_cost_usd, job.max_cost),
        max_usd_per_hour=_first(flags.max_usd_per_hour, resources.max_hourly_cost),
        max_duration_s=_first(flags.max_duration_s, _seconds(job.max_duration)),
        until=flags.until,
        up_bytes_per_s=flags.up_bytes_per_s,
        down_bytes_per_s=flags.down_bytes_per_s,
        out=flags.out,
    )


def _work(job: Job) -> Work:
    if job.work is None:
        return Work()
    return Work(steps=job.work.steps, hours=job.work.hours, on=job.work.on)


def _makes_environment(environment: object) -> bool:
    names = ("python", "requirements", "lock", "conda")
    return any(getattr(environment, name, None) is not None for name in names)


def _first(said: float | None, otherwise: float | None) -> float | None:
    return otherwise if said is None else said


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
