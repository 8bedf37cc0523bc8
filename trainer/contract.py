"""The language that the trainer, any other program, the watchdog and the launcher share.

Standard library only and free of side effects: the launcher imports this module on a laptop without
torch, and the trainer imports it on the machine. What it says in constants, ``docs/run-directory.md``
says in words.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DIGEST_SUFFIX", "Cause", "Exit", "JobEnvironment", "Phase", "Variable"]

DIGEST_SUFFIX = ".sha256"
"""``<checkpoint>.sha256`` beside a checkpoint, in the format of ``sha256sum``; readable by ``sha256sum -c``."""


class Exit(enum.IntEnum):
    """Exit codes of a job's program."""

    DONE = 0
    FAILED = 1
    BAD_CONFIG = 2
    """The configuration or the data are wrong: trying again cannot help, so nobody does."""
    INTERRUPTED = 75
    """Saved on request (``EX_TEMPFAIL``): start me again with ``LAUNCH_RESUME_FROM``."""


class Cause(str, enum.Enum):
    """Why the watchdog asked the job to leave; written to ``status.json`` *before* the signal is sent."""

    NONE = "none"
    STOP = "stop"
    NOTICE = "notice"
    DEADLINE = "deadline"
    IDLE = "idle"


class Phase(str, enum.Enum):
    """What the watchdog is doing, as ``status.json`` names it."""

    STARTING = "starting"
    SETUP = "setup"
    RUNNING = "running"
    LEAVING = "leaving"
    """The job has been asked to leave and has not left yet."""
    ENDED = "ended"


class Variable(str, enum.Enum):
    """Environment variables that every job is given."""

    RUN_ID = "LAUNCH_RUN_ID"
    ATTEMPT = "LAUNCH_ATTEMPT"
    STAGE = "LAUNCH_STAGE"
    CHECKPOINT_DIR = "LAUNCH_CHECKPOINT_DIR"
    OUTPUT_DIR = "LAUNCH_OUTPUT_DIR"
    DATA_DIR = "LAUNCH_DATA_DIR"
    RESUME_FROM = "LAUNCH_RESUME_FROM"
    METRICS_FILE = "LAUNCH_METRICS_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnvironment:
    """What a program can learn about the run that it is part of; every field is None outside of one."""

    run_id: str | None
    attempt: int | None
    checkpoint_dir: Path | None
    output_dir: Path | None
    data_dir: Path | None
    resume_from: Path | None
    metrics_file: Path | None

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> JobEnvironment:
        """Read the variables of `Variable`; empty counts as absent."""
        env = os.environ if environ is None else environ

        def path(variable: Variable) -> Path | None:
            value = env.get(variable.value)
            return Path(value) if value else None

        attempt = env.get(Variable.ATTEMPT.value, "")
        return cls(
            run_id=env.get(Variable.RUN_ID.value) or None,
            attempt=int(attempt) if attempt.isdigit() else None,
            checkpoint_dir=path(Variable.CHECKPOINT_DIR),
            output_dir=path(Variable.OUTPUT_DIR),
            data_dir=path(Variable.DATA_DIR),
            resume_from=path(Variable.RESUME_FROM),
            metrics_file=path(Variable.METRICS_FILE),
        )
