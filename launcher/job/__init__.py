"""The job: what to run, read from YAML, a command or Python, checked field by field.

`Job` and the records that it is made of are the vocabulary of ``docs/job-file.md``.
"""

from __future__ import annotations

from launcher.job.conditions import Condition
from launcher.job.find import JOB_FILE, find_job_file
from launcher.job.model import Job
from launcher.job.names import derive_name, new_run_id
from launcher.job.parts import (
    Checkpoint,
    Environment,
    GiveUp,
    Metric,
    MetricMode,
    Notify,
    OnFailure,
    Promote,
    Recovery,
    Smoke,
    Stage,
    Work,
)
from launcher.job.resources import Accelerator, Resources
from launcher.job.support import require_supported, unsupported
from launcher.job.units import Amount, MemoryAmount, Size, format_duration, parse_duration

__all__ = [
    "JOB_FILE",
    "Accelerator",
    "Amount",
    "Checkpoint",
    "Condition",
    "Environment",
    "GiveUp",
    "Job",
    "MemoryAmount",
    "Metric",
    "MetricMode",
    "Notify",
    "OnFailure",
    "Promote",
    "Recovery",
    "Resources",
    "Size",
    "Smoke",
    "Stage",
    "Work",
    "derive_name",
    "find_job_file",
    "format_duration",
    "new_run_id",
    "parse_duration",
    "require_supported",
    "unsupported",
]
