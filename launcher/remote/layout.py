"""Where everything of a run lies on the machine; said once, used by the runner, read by the watchdog.

::

    <work_root>/launch/<run_id>/
        work/<workdir>/        the program's working folder; in it links to the next two
        checkpoints/           the job's ``checkpoint.dir``; of a job with stages a folder for each in it
        outputs/
        data/                  what ``file_mounts`` brought, one folder each, linked where the job expects it
        logs/<stage>/          output segments, metrics.jsonl, system.csv
        control/               ours, private (0700): the watchdog, what it was told, what it tells
    <work_root>/cache/         environments by the hash of their inputs, shared by all runs
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.runners.base import Handle, Submission

__all__ = ["RunFolder", "Start"]

STAGE_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
OUTPUT_DIR = "outputs"
DATA_DIR = "data"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths that all stages and starts of a run share on one machine."""

    work_root: PurePosixPath
    run_id: str
    workdir_name: str
    checkpoint_dir: str
    checkpoint_below: str = ""
    """The stage whose own folder in there is meant; empty where a job has one stage."""

    def __post_init__(self) -> None:
        if not self.work_root.is_absolute():
            raise ValueError(f"work root {str(self.work_root)!r} is not absolute")
        if self.workdir_name in ("", ".", "..") or "/" in self.workdir_name or "\0" in self.workdir_name:
            raise ValueError(f"working folder {self.workdir_name!r} is not a folder's name")
        inside = PurePosixPath(self.checkpoint_dir)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts:
            raise ValueError(f"checkpoint folder {self.checkpoint_dir!r} does not lie in the working folder")
        if self.checkpoint_below and not STAGE_PATTERN.fullmatch(self.checkpoint_below):
            raise ValueError(f"{self.checkpoint_below!r} is no folder of a stage")

    @property
    def root(self) -> PurePosixPath:
        """The run folder itself."""
        return self.work_root / "launch" / self.run_id

    @property
    def workdir(self) -> PurePosixPath:
        """Where ``setup`` and ``run`` are executed."""
        return self.root / "work" / self.workdir_name

    @property
    def checkpoints(self) -> PurePosixPath:
        """``LAUNCH_CHECKPOINT_DIR``: the path that the program uses, in a link to ``<root>/checkpoints``."""
        return self.workdir / self.checkpoint_dir / self.checkpoint_below

    @property
    def saved(self) -> PurePosixPath:
        """The same folder, not through the working folder."""
        return self.root / "checkpoints" / self.checkpoint_below

    @property
    def outputs(self) -> PurePosixPath:
        """``LAUNCH_OUTPUT_DIR``: the path that the program uses, a link to ``<root>/outputs``."""
        return self.workdir / OUTPUT_DIR

    @property
    def data(self) -> PurePosixPath:
        """``LAUNCH_DATA_DIR``."""
        return self.workdir / DATA_DIR

    @property
    def links(self) -> dict[str, PurePosixPath]:
        """Links of the working folder: their names in it, and the folders of the run that they lead to."""
        links = {OUTPUT_DIR: self.root / "outputs"}
        links.setdefault(str(PurePosixPath(self.checkpoint_dir)), self.root / "checkpoints")
        return links

    @property
    def mounts(self) -> PurePosixPath:
        """Where fetched and uploaded ``file_mounts`` lie."""
        return self.root / "data"

    @property
    def control(self) -> PurePosixPath:
        """Ours; mode 0700."""
        return self.root / "control"

    @property
    def cache(self) -> PurePosixPath:
        """Shared by the runs of this machine."""
        return self.work_root / "cache"


@dataclass(frozen=True, slots=True)
class Start:
    """The paths of one start of one stage within a run folder."""

    folder: RunFolder
    stage: str
    attempt: int
    start: int

    def __post_init__(self) -> None:
        if not STAGE_PATTERN.fullmatch(self.stage):
            raise ValueError(f"stage {self.stage!r}: expected letters, digits, dots, dashes and underscores")

    @classmethod
    def of_submission(cls, work_root: PurePosixPath, submission: Submission) -> Start:
        """Where a submission goes."""
        folder = RunFolder(
            work_root,
            submission.run_id,
            submission.workdir_name,
            submission.checkpoint_dir,
            submission.checkpoint_below,
        )
        return cls(folder, submission.stage, submission.attempt, submission.start)

    @classmethod
    def of_handle(cls, handle: Handle) -> Start:
        """Where a submitted stage lies, from what its handle remembers."""
        data = handle.data
        folder = RunFolder(
            PurePosixPath(data["work_root"]),
            handle.run_id,
            data["workdir_name"],
            data["checkpoint_dir"],
            data.get("checkpoint_below", ""),
        )
        return cls(folder, handle.stage, handle.attempt, handle.start)

    @property
    def logs(self) -> PurePosixPath:
        """Of the stage: ``metrics.jsonl``, ``system.csv``, and the segments of every attempt."""
        return self.folder.root / "logs" / self.stage

    @property
    def segments(self) -> PurePosixPath:
        """Output of this attempt; its starts share one sequence of byte offsets."""
        return self.logs / str(self.attempt)

    @property
    def record(self) -> PurePosixPath:
        """What the job of this attempt really runs with."""
        return self.logs / f"environment-{self.attempt}.json"

    @property
    def metrics(self) -> PurePosixPath:
        """``LAUNCH_METRICS_FILE``."""
        return self.logs / "metrics.jsonl"

    @property
    def stage_control(self) -> PurePosixPath:
        """What the starts of the stage share: the lock, the marks of what is done once."""
        return self.folder.control / self.stage

    @property
    def control(self) -> PurePosixPath:
        """Of this start alone: ``run.json``, ``status.json``, scripts, signals."""
        return self.stage_control / f"{self.attempt}-{self.start}"

    @property
    def runfile(self) -> PurePosixPath:
        """What the watchdog is told."""
        return self.control / "run.json"

    @property
    def status(self) -> PurePosixPath:
        """What the watchdog tells; its only writer."""
        return self.control / "status.json"

    @property
    def secrets(self) -> PurePosixPath:
        """Mode 0600; read and deleted by the watchdog."""
        return self.control / "secrets.json"

    @property
    def bucket(self) -> PurePosixPath:
        """What the newest start of the stage may write to an object store; mode 0600."""
        return self.stage_control / "bucket.json"

    @property
    def home(self) -> PurePosixPath:
        """Written whenever the launcher is here to bring outputs home."""
        return self.stage_control / "home.json"

    def signal_file(self, signal: str) -> PurePosixPath:
        """Its appearance asks the watchdog for ``save`` or ``kill``."""
        return self.control / f"{signal}.json"
