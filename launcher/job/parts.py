"""The smaller groups of a job file: environment, checkpoints, work, metric, recovery, notices, smoke, stages."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from launcher.job.conditions import Condition, ConditionRule, metric_name_problem
from launcher.job.lock_format import LockFormat, lock_format, requirements_name_problem
from launcher.job.names import NAME
from launcher.job.problem import FieldError
from launcher.job.record import Record, RecordOf
from launcher.job.resources import Resources
from launcher.job.rules import Choice, Duration, Folder, ListOf, MapOf, Number, Text, ruled

__all__ = [
    "Checkpoint",
    "Conditions",
    "Environment",
    "GiveUp",
    "Metric",
    "MetricMode",
    "Notify",
    "OnFailure",
    "Promote",
    "Recovery",
    "Smoke",
    "Stage",
    "Work",
]


def _python_problem(text: str) -> str | None:
    if re.fullmatch(r"3\.\d{1,2}(\.\d{1,3})?", text):
        return None
    return f"expected a Python version such as 3.11, came {text!r}"


def _lock_problem(text: str) -> str | None:
    try:
        lock_format(text.rpartition("/")[2])
    except ValueError as err:
        return f"{text} {err}"
    return None


def _mirror_problem(text: str) -> str | None:
    if text in ("home", "none") or re.fullmatch(r"(s3|gs)://[^/]+(/.*)?", text):
        return None
    return f"expected home, none, s3://bucket/path or gs://bucket/path, came {text!r}"


def _workload_problem(text: str) -> str | None:
    from launcher.forecast.benchmarks import workloads  # reads a table that few job files name

    known = workloads()
    return None if text in known else f"expected one of {', '.join(known)}, came {text!r}"


def _stage_name_problem(text: str) -> str | None:
    return None if NAME.fullmatch(text) else f"expected lower-case letters, digits and dashes, came {text!r}"


class MetricMode(str, enum.Enum):
    """Which direction of a metric is better."""

    MIN = "min"
    MAX = "max"


class OnFailure(str, enum.Enum):
    """What happens to the rest when a stage fails."""

    STOP = "stop"
    CONTINUE = "continue"


MOST_STEPS = 10**12
MOST_HOURS = 87_600
"""Ten years: no machine is rented for longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment(Record):
    """The Python environment of a job or a stage; the machine's own when nothing is said (``system``)."""

    python: str | None = field(
        default=None, metadata=ruled(Text(what="a Python version", check=_python_problem))
    )
    """Version, as text: ``"3.11"``."""
    requirements: str | None = field(
        default=None, metadata=ruled(Text(what="a path", check=requirements_name_problem))
    )
    """A requirements file of pip, relative to the job file; or the project's own ``pyproject.toml`` or ``setup.py``."""
    lock: str | None = field(default=None, metadata=ruled(Text(what="a path", check=_lock_problem)))
    """A lock file of uv (``uv.lock``, ``pylock.toml``) or pip-tools, relative to the job file."""
    extras: tuple[str, ...] = field(
        default=(), metadata=ruled(ListOf(item=Text(what="an extra's name"), single=True))
    )
    """Extras of the project whose ``uv.lock`` or ``pyproject.toml`` is named: ``[project.optional-dependencies]``."""
    groups: tuple[str, ...] = field(
        default=(), metadata=ruled(ListOf(item=Text(what="a group's name"), single=True))
    )
    """Dependency groups of that project: ``[dependency-groups]``."""
    conda: str | None = field(default=None, metadata=ruled(Text(what="a path")))
    """A conda environment file, relative to the job file."""

    @classmethod
    def prepare(cls, value: object) -> object:
        """Understand the word ``system``."""
        return {} if value == "system" else value

    def check(self) -> None:
        """Refuse two ways to say the same."""
        files = [name for name in ("requirements", "lock", "conda") if getattr(self, name) is not None]
        if len(files) > 1:
            raise FieldError(f"contradicts {files[0]}; give one of the two", path=(files[1],))
        if self.conda is not None and self.python is not None:
            raise FieldError("contradicts conda: its file says which Python", path=("python",))
        is_of_a_project = (self.lock or "").endswith(LockFormat.UV.value) or self.is_pyproject
        for name in ("extras", "groups"):
            if getattr(self, name) and not is_of_a_project:
                raise FieldError("belongs to a uv.lock or a pyproject.toml", path=(name,))

    @property
    def is_pyproject(self) -> bool:
        """Its requirements are those that a project declares."""
        return (self.requirements or "").rpartition("/")[2] == "pyproject.toml"

    @property
    def is_made(self) -> bool:
        """It is made on the machine, and not the machine's own."""
        return any((self.python, self.requirements, self.lock, self.conda))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Record):
    """Where the program saves its state, and what is done with it."""

    dir: str = field(
        default="checkpoints", metadata=ruled(Folder("a folder in which the program saves its checkpoints"))
    )
    """Relative to the working folder; ``LAUNCH_CHECKPOINT_DIR`` is its absolute form."""
    every: timedelta | None = field(default=None, metadata=ruled(Duration()))
    """How often the program saves, to the machine's disk; None when nobody said."""
    mirror: str = field(default="home", metadata=ruled(Text(what="a place", check=_mirror_problem)))
    """Where complete checkpoints are copied to: ``home``, ``s3://…``, ``gs://…`` or ``none``."""
    mirror_every: timedelta | None = field(default=None, metadata=ruled(Duration(word="auto")))
    """None (``auto``): chosen from size, link speed and the price of egress."""
    keep: int = field(
        default=3, metadata=ruled(Number(kind=int, what="a whole number of checkpoints", at_least=1))
    )
    """How many the mirror keeps; the program's own files on the machine are never deleted."""

    def check(self) -> None:
        """Refuse the working folder itself."""
        if all(part in ("", ".") for part in self.dir.split("/")):
            raise FieldError("must be a folder of its own, not the working folder itself", path=("dir",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Record):
    """How much there is to do, for the estimate: steps, or hours measured on some GPU."""

    steps: int | None = field(
        default=None,
        metadata=ruled(Number(kind=int, what="a whole number of steps", at_least=1, at_most=MOST_STEPS)),
    )
    like: str | None = field(default=None, metadata=ruled(Text(what="a workload", check=_workload_problem)))
    """A workload of ``benchmarks/`` whose steps are as long as these."""
    hours: float | None = field(
        default=None,
        metadata=ruled(Number(kind=float, what="a number of hours", more_than=0, at_most=MOST_HOURS)),
    )
    on: str | None = field(default=None, metadata=ruled(Text(what="a GPU")))
    """The GPU (or ``cpu``) that took ``hours``."""
    evaluation: timedelta | None = field(default=None, metadata=ruled(Duration()))
    """What comes beside the steps: evaluation, writing results."""

    def check(self) -> None:
        """Refuse both, neither, and hours without the GPU they were measured on."""
        if self.evaluation is not None and self.evaluation > timedelta(hours=MOST_HOURS):
            raise FieldError(f"must be at most {MOST_HOURS:,} hours", path=("evaluation",))
        if (self.steps is None) == (self.hours is None):
            raise FieldError("give either steps, or hours and on")
        if self.hours is not None and self.on is None:
            raise FieldError("is missing: the GPU that took these hours", path=("on",))
        if self.steps is not None and self.on is not None:
            raise FieldError("belongs to hours, not to steps", path=("on",))
        if self.steps is None and self.like is not None:
            raise FieldError("belongs to steps, not to hours", path=("like",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(Record):
    """The number that says how good the result is."""

    name: str = field(metadata=ruled(Text(what="a metric's name")))
    """As the program writes it to ``LAUNCH_METRICS_FILE``, or as ``progress`` finds it."""
    mode: MetricMode = field(default=MetricMode.MIN, metadata=ruled(Choice(of=MetricMode)))


def Conditions() -> MapOf[Condition]:
    """Metric → what it is asked to be."""
    return MapOf(
        item=ConditionRule(), what="a mapping of metrics to conditions", check_key=metric_name_problem
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp(Record):
    """When a run that leads nowhere is ended early."""

    unless: Mapping[str, Condition] = field(metadata=ruled(Conditions()))
    """Metric → what it has to be by then."""
    after_steps: int | None = field(
        default=None, metadata=ruled(Number(kind=int, what="a whole number of steps", at_least=1))
    )
    after: timedelta | None = field(default=None, metadata=ruled(Duration()))
    """Of the program's work."""

    def check(self) -> None:
        """Refuse no moment, two, and a run that is asked for nothing."""
        if (self.after_steps is None) == (self.after is None):
            raise FieldError("give either after_steps or after")
        if not self.unless:
            raise FieldError("names no metric", path=("unless",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery(Record):
    """What happens when the program fails by itself; interruptions are always recovered from."""

    max_restarts_on_errors: int = field(
        default=0, metadata=ruled(Number(kind=int, what="a whole number of restarts", at_least=0))
    )


_NOTICES = ("interrupted", "recovered", "finished", "limit")


def _notice_problem(text: str) -> str | None:
    return None if text in _NOTICES else f"expected one of {', '.join(_NOTICES)}, came {text!r}"


def _webhook_problem(text: str) -> str | None:
    return None if re.match(r"https?://[^/]+", text) else f"expected an https:// address, came {text!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify(Record):
    """Who is told, at home, when something happens to the run."""

    command: str | None = field(default=None, metadata=ruled(Text(what="a shell command")))
    webhook: str | None = field(default=None, metadata=ruled(Text(what="an address", check=_webhook_problem)))
    on: tuple[str, ...] = field(
        default=_NOTICES,
        metadata=ruled(ListOf(item=Text(what="an occasion", check=_notice_problem), single=True)),
    )
    """Any of ``interrupted``, ``recovered``, ``finished``, ``limit``."""

    def check(self) -> None:
        """Refuse a notice to nobody."""
        if self.command is None and self.webhook is None:
            raise FieldError("give a command or a webhook")


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke(Record):
    """A small run on the real provider before the long one."""

    run: str = field(metadata=ruled(Text(what="a shell command")))
    max_duration: timedelta = field(default=timedelta(minutes=15), metadata=ruled(Duration()))
    max_cost: float = field(
        default=0.5, metadata=ruled(Number(kind=float, what="an amount in USD", more_than=0))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(Record):
    """Replaces a file at home by a stage's result, when that is better."""

    file: str = field(metadata=ruled(Folder("a path in the working folder")))
    metric: str = field(metadata=ruled(Text(what="a metric's name")))
    mode: MetricMode = field(default=MetricMode.MIN, metadata=ruled(Choice(of=MetricMode)))
    by: float = field(default=0.0, metadata=ruled(Number(kind=float, what="a number", at_least=0)))
    """How much better it has to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Record):
    """One step of a job; what it does not say, the job says."""

    name: str = field(metadata=ruled(Text(what="a stage's name", check=_stage_name_problem)))
    run: str = field(metadata=ruled(Text(what="a shell script")))
    needs: tuple[str, ...] = field(default=(), metadata=ruled(ListOf(item=Text(), single=True)))
    """Stages that must have succeeded, and whose outputs are placed first."""
    after: tuple[str, ...] = field(default=(), metadata=ruled(ListOf(item=Text(), single=True)))
    """Stages that must be over, however they ended."""
    outputs: tuple[str, ...] = field(
        default=(),
        metadata=ruled(ListOf(item=Folder("a pattern of files in the working folder"), single=True)),
    )
    """What later stages are given."""
    resources: Resources | None = field(default=None, metadata=ruled(RecordOf(type=lambda: Resources)))
    environment: Environment | None = field(default=None, metadata=ruled(RecordOf(type=lambda: Environment)))
    setup: str | None = field(default=None, metadata=ruled(Text(what="a shell script")))
    work: Work | None = field(default=None, metadata=ruled(RecordOf(type=lambda: Work)))
    """How much there is to do in this stage: what its part of the estimate scales."""
    on_failure: OnFailure = field(default=OnFailure.STOP, metadata=ruled(Choice(of=OnFailure)))
    promote: Promote | None = field(default=None, metadata=ruled(RecordOf(type=lambda: Promote)))

    refused: ClassVar[Mapping[str, str]] = {"depends_on": "write `needs: [name]`"}
