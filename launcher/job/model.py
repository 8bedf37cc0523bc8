"""`Job`: everything that a run needs to be told, from a file, a command or Python, checked the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from launcher.job.command import shell_line
from launcher.job.conditions import Condition, pattern_problem
from launcher.job.names import derive_name, name_of_command
from launcher.job.order import check_stages
from launcher.job.overrides import replaced
from launcher.job.parts import (
    Checkpoint,
    Conditions,
    Environment,
    GiveUp,
    Metric,
    Notify,
    Recovery,
    Smoke,
    Stage,
    Work,
)
from launcher.job.places import check_places
from launcher.job.problem import FieldError
from launcher.job.reading import tree_of_file
from launcher.job.record import Record, RecordOf, names_of
from launcher.job.resources import Resources
from launcher.job.rules import (
    Choice,
    Duration,
    ListOf,
    MapOf,
    Number,
    Text,
    VariableText,
    came,
    outside_working_folder,
    ruled,
)
from launcher.job.sources import mount_target_problem, source_problem
from launcher.job.special import NodesRule, ProviderOptionsRule, name_problem, variable_problem
from provisioning.models import WhenUnattended

if TYPE_CHECKING:
    from launcher.runners.mounts import Mount

__all__ = ["Job"]

ONLY_STAGE = "main"
"""The stage of a job that has ``run`` instead of ``stages``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Record):
    """What to run: code, data, environment, commands, resources, checkpoints, outputs and limits.

    Paths at home (``workdir``, sources of ``file_mounts``, files of ``environment``, folders of
    ``file_outputs``) are relative to ``base_dir``, the folder of the job file; paths on the machine are relative
    to the working folder. Building a Job reads no file but the job file: whether the others exist is asked by
    preflight. Raises `launcher.errors.JobFileError`, which names the field, for anything wrong.
    """

    name: str = field(default="", metadata=ruled(Text(what="a name", check=name_problem)))
    """Also the first part of the run's id; made from the file or folder when not given."""
    workdir: str = field(default=".", metadata=ruled(Text(what="a folder")))
    """The code: sent as a snapshot, and the folder in which everything starts."""
    num_nodes: int = field(default=1, metadata=ruled(NodesRule()))
    resources: Resources = field(default_factory=Resources, metadata=ruled(RecordOf(type=lambda: Resources)))
    file_mounts: Mapping[str, str] = field(
        default_factory=dict,
        metadata=ruled(
            MapOf(
                item=Text(what="a path or an address", check=source_problem),
                what="a mapping of places on the machine to sources",
                check_key=mount_target_problem,
            )
        ),
    )
    """Place on the machine → local path, ``https://``, ``s3://``, ``gs://`` or ``kaggle://``."""
    envs: Mapping[str, str | None] = field(
        default_factory=dict,
        metadata=ruled(
            MapOf(item=VariableText(), what="a mapping of variables", check_key=variable_problem, null=True)
        ),
    )
    """Environment variables; one without a value is taken from ``--env`` or the environment at home."""
    secrets: Mapping[str, str | None] = field(
        default_factory=dict,
        repr=False,
        metadata=ruled(
            MapOf(item=VariableText(), what="a mapping of variables", check_key=variable_problem, null=True)
        ),
    )
    """Like ``envs``, and never shown, logged or recorded: `to_dict` leaves the values out."""
    setup: str | None = field(default=None, metadata=ruled(Text(what="a shell script")))
    """Runs once on each machine, before ``run``, under ``bash -eo pipefail``."""
    run: str | None = field(default=None, metadata=ruled(Text(what="a shell script")))
    """The job itself, under ``bash -eo pipefail``; or the path of a notebook, which is executed cell by cell."""
    environment: Environment = field(
        default_factory=Environment, metadata=ruled(RecordOf(type=lambda: Environment))
    )
    file_outputs: Mapping[str, str] = field(
        default_factory=dict,
        metadata=ruled(
            MapOf(
                item=Text(what="a folder at home"),
                what="a mapping of patterns on the machine to folders at home",
                check_key=outside_working_folder,
            )
        ),
    )
    """Pattern on the machine → folder at home. Empty: everything that the run changed."""
    checkpoint: Checkpoint = field(
        default_factory=Checkpoint, metadata=ruled(RecordOf(type=lambda: Checkpoint))
    )
    max_duration: timedelta | None = field(default=None, metadata=ruled(Duration()))
    """Over all attempts. None: twice the high estimate, at least one hour."""
    max_cost: float | None = field(
        default=None, metadata=ruled(Number(kind=float, what="an amount in USD", more_than=0))
    )
    """USD over all attempts. None: twice the high estimate."""
    when_unattended: WhenUnattended | None = field(default=None, metadata=ruled(Choice(of=WhenUnattended)))
    """How the machine ends when nobody has fetched. None: the safest that the provider has."""
    work: Work | None = field(default=None, metadata=ruled(RecordOf(type=lambda: Work)))
    progress: tuple[str, ...] = field(
        default=(),
        metadata=ruled(
            ListOf(item=Text(what="a regular expression", check=pattern_problem), what="a list", single=True)
        ),
    )
    """Regular expressions that read ``step``, ``total`` and metrics, by named group, from the program's output."""
    metric: Metric | None = field(default=None, metadata=ruled(RecordOf(type=lambda: Metric)))
    expect: Mapping[str, Condition] = field(default_factory=dict, metadata=ruled(Conditions()))
    """Metric → what it has to be at the end: the run's verdict."""
    give_up: GiveUp | None = field(default=None, metadata=ruled(RecordOf(type=lambda: GiveUp)))
    requires: tuple[str, ...] = field(
        default=(),
        metadata=ruled(
            ListOf(item=Text(what="a path in the working folder", check=outside_working_folder), single=True)
        ),
    )
    """Paths in the working folder without which nothing is rented."""
    recovery: Recovery = field(default_factory=Recovery, metadata=ruled(RecordOf(type=lambda: Recovery)))
    notify: Notify | None = field(default=None, metadata=ruled(RecordOf(type=lambda: Notify)))
    idle_stop: timedelta | None = field(default=None, metadata=ruled(Duration()))
    """End the run when the GPU has done nothing for so long. None: never."""
    smoke: Smoke | None = field(default=None, metadata=ruled(RecordOf(type=lambda: Smoke)))
    provider_options: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict, metadata=ruled(ProviderOptionsRule())
    )
    """Provider → what only that provider knows."""
    stages: tuple[Stage, ...] = field(
        default=(),
        metadata=ruled(
            ListOf(
                item=RecordOf(type=lambda: Stage), if_empty="has no stage; a job without any has run instead"
            )
        ),
    )
    """Several steps, instead of ``run``."""
    base_dir: Path = field(default_factory=Path.cwd, compare=False)
    """What paths at home are relative to; no part of the job file."""

    refused: ClassVar[Mapping[str, str]] = {
        "command": "write `run: …`",
        "cmd": "write `run: …`",
        "script": "write `run: …`",
        "env": "write `envs: {NAME: value}`",
        "timeout": "write `max_duration: 8h`",
        "max_price": "write `resources: {max_hourly_cost: 0.5}`",
        "outputs": "write `file_outputs: {pattern: folder at home}`",
        "autostop": "write `idle_stop: 20m`; a machine ends with its job anyway",
        "service": "this launcher runs jobs that end, and serves nothing",
        "data": "write `file_mounts: {data: /where/it/is}`",
        "gpu": "write `resources: {accelerators: T4:1}`",
        "accelerators": "it belongs under resources",
        "use_spot": "it belongs under resources",
        "infra": "it belongs under resources",
        "cloud": "it belongs under resources",
    }

    def check(self) -> None:
        """Refuse a job with nothing to run, with two ways to run, or whose stages cannot be ordered."""
        base = Path(self.base_dir).expanduser().absolute()
        object.__setattr__(self, "base_dir", base)
        object.__setattr__(self, "name", self.name or derive_name(self.workdir_path.name))
        if self.run is not None and self.stages:
            raise FieldError("a job has either run or stages, and this one has both", path=("stages",))
        if not (self.run or "").strip() and not self.stages:
            raise FieldError("is missing: what shall be run", path=("run",))
        twice = sorted(set(self.envs) & set(self.secrets))
        if twice:
            raise FieldError(f"{twice[0]} is given in envs too", path=("secrets", twice[0]))
        check_places(self.file_mounts, self.checkpoint.dir)
        check_stages(self.stages)

    # -- where it comes from ---------------------------------------------------------------------------

    @classmethod
    def from_yaml(cls, path: Path | str) -> Job:
        """Read a job file; its folder is ``base_dir``, and names the job when the file does not.

        Raises:
            JobFileError: the file cannot be read, or something in it is wrong; names the field.
        """
        file = Path(path).expanduser()
        try:
            tree = tree_of_file(file, also_meant=cls.refused, known=names_of(cls))
            base = file.absolute().parent
            stem = base.name if file.stem in ("launch", "job") else file.stem
            return cls._from_tree({"name": derive_name(stem), **_said(tree)}, base)
        except FieldError as err:
            raise err.in_source(str(path)) from None

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], *, base_dir: Path | None = None) -> Job:
        """Build a job from plain data with the names of the job file; the reverse of `to_dict`."""
        if not isinstance(mapping, Mapping):
            raise FieldError(f"expected a mapping of fields, came {came(mapping)}")
        return cls._from_tree(mapping, Path.cwd() if base_dir is None else base_dir)

    @classmethod
    def from_command(
        cls, argv: Sequence[str], *, base_dir: Path | None = None, fields: Mapping[str, Any] | None = None
    ) -> Job:
        """Build a job that runs one command, its arguments passed exactly; named after the program.

        ``fields`` are further fields of the job file.
        """
        named = {"name": name_of_command(argv), **_said(fields or {}), "run": shell_line(argv)}
        return cls.from_dict(named, base_dir=base_dir)

    @classmethod
    def _from_tree(cls, tree: Mapping[str, Any], base_dir: Path) -> Job:
        base = base_dir.expanduser().absolute()
        workdir = tree.get("workdir") or "."
        folder = (base / str(workdir)).resolve().name
        return RecordOf(type=lambda: cls).read({"name": derive_name(folder), **_said(tree)}, base_dir=base)

    # -- and where it goes -----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain data in the words of the job file, defaults left out.

        ``Job.from_dict(job.to_dict(), base_dir=job.base_dir) == job``, but for values of ``secrets``: these
        become None, so that a record never holds them.
        """
        tree = self._tree()
        if self.secrets:
            tree["secrets"] = dict.fromkeys(self.secrets)
        return tree

    def _tree(self) -> dict[str, Any]:
        return RecordOf(type=lambda: Job).write(self)

    def with_overrides(self, overrides: Mapping[str, Any]) -> Job:
        """Return the job with fields replaced by dotted path, checked as in a file; None removes a field.

        A text is read as YAML: ``{"resources.accelerators": "T4:2", "envs.LR": "0.1"}``.

        Raises:
            JobFileError: no such field, a wrong value, or a path through something that holds no fields.
        """
        tree = self._tree()
        for path, value in overrides.items():
            tree = replaced(tree, path, value)
        return Job._from_tree(tree, self.base_dir)

    def with_envs(self, given: Mapping[str, str]) -> Job:
        """Return the job with variables set: as a secret where the job declares one of that name."""
        secrets = {name: given.get(name, value) for name, value in self.secrets.items()}
        envs = {**self.envs, **{name: value for name, value in given.items() if name not in secrets}}
        return dataclasses.replace(self, envs=envs, secrets=secrets)

    # -- what follows from it --------------------------------------------------------------------------

    @property
    def workdir_path(self) -> Path:
        """The working folder at home, absolute, links resolved. It may not exist."""
        return (self.base_dir / Path(self.workdir).expanduser()).resolve()

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """``file_mounts`` with local sources made absolute."""
        from launcher.runners.mounts import Mount

        return tuple(
            Mount(target=target, source=source if "://" in source else str(self.home_path(source)))
            for target, source in self.file_mounts.items()
        )

    def home_path(self, text: str) -> Path:
        """Return a path of the job file at home as an absolute one; ``~`` is this user's home folder."""
        return self.base_dir / Path(text).expanduser()

    @property
    def every_stage(self) -> tuple[Stage, ...]:
        """The stages, each complete: what a stage does not say is the job's. A ``run`` is the stage ``main``."""
        if self.run is not None:
            only = Stage(name=ONLY_STAGE, run=self.run, setup=self.setup, outputs=tuple(self.file_outputs))
            return (dataclasses.replace(only, resources=self.resources, environment=self.environment),)
        return tuple(
            dataclasses.replace(
                stage,
                setup=stage.setup if stage.setup is not None else self.setup,
                resources=stage.resources.over(self.resources) if stage.resources else self.resources,
                environment=stage.environment if stage.environment is not None else self.environment,
                work=stage.work if stage.work is not None else self.work,
            )
            for stage in self.stages
        )


def _said(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that stand there and say nothing, so that a default can take their place."""
    return {str(key): value for key, value in tree.items() if not (key == "name" and value is None)}
