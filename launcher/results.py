"""Where results lie at home, and what is fetched there.

``<base>/<run_id>/`` belongs to one run for ever (a marker file says so); every file keeps the path that it had in
the working folder. ``<base>/latest`` is a link to the run that was fetched last.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import HomeError, UsageError
from launcher.runners.areas import Area

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.job import Job
    from launcher.runners.base import Carried, FetchReport

__all__ = [
    "LOGS_DIR",
    "MARKER",
    "Fetch",
    "claim",
    "everything_changed",
    "point_latest",
    "require_at_home",
    "results_bases",
    "results_dir",
    "taken_by_another",
    "wanted",
    "why_everything",
]

MARKER = ".launch-run"
"""In every folder of results: the id of the run that it belongs to."""
DEFAULT_BASE = "results"
LATEST = "latest"
LOGS = ("**/metrics.jsonl", "**/system.csv", "**/environment-*.json")
"""Beside the output, which comes home as it grows: metrics, curves of the machine, and what the job ran with."""
LOGS_DIR = "logs"
"""Where metrics and machine curves lie in the folder of results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One call of `launcher.runners.base.Runner.fetch`."""

    patterns: tuple[str, ...]
    dest: Path
    area: Area = Area.WORK


def results_bases(job: Job, *, out: Path | None = None) -> tuple[Path, ...]:
    """Return the folders in which folders of results are made: absolute, the first is the main one.

    ``out`` (``--out``) replaces whatever ``file_outputs`` says; without either it is ``results`` beside the job file.
    """
    if out is not None:
        return (out.expanduser().absolute(),)
    named = [_normal(job.home_path(folder)) for folder in job.file_outputs.values()]
    return tuple(dict.fromkeys(named)) or (_normal(job.home_path(DEFAULT_BASE)),)


def results_dir(job: Job, run_id: str, *, out: Path | None = None) -> Path:
    """Return the main folder of a run's results."""
    return results_bases(job, out=out)[0] / run_id


def wanted(job: Job, run_id: str, *, out: Path | None = None, stage: str = "") -> tuple[Fetch, ...]:
    """Return what is to be brought home: ``file_outputs`` by folder, then the metrics and the machine's curves.

    Without ``file_outputs`` that is everything that the run changed. When every pattern of ``file_outputs`` has
    matched nothing, `everything_changed` is the fallback, and `why_everything` the warning. ``stage``: of a job with
    several, whose metrics and curves lie in folders of their own.
    """
    by_base: dict[Path, list[str]] = {}
    for pattern, folder in job.file_outputs.items():
        base = results_bases(job, out=out)[0] if out is not None else _normal(job.home_path(folder))
        by_base.setdefault(base, []).append(pattern)
    main = results_dir(job, run_id, out=out)
    outputs = tuple(Fetch(patterns=tuple(names), dest=base / run_id) for base, names in by_base.items())
    logs = Fetch(patterns=LOGS, dest=main / LOGS_DIR / stage, area=Area.LOGS)
    return (*(outputs or (everything_changed(job, run_id, out=out),)), logs)


def everything_changed(job: Job, run_id: str, *, out: Path | None = None) -> Fetch:
    """Return the fetch of all that the run made or changed, outside data and environment."""
    return Fetch(patterns=("**",), dest=results_dir(job, run_id, out=out), area=Area.CHANGED)


def why_everything(job: Job, reports: Sequence[FetchReport]) -> str | None:
    """Return why everything that changed has to be fetched, as a warning; None when the patterns brought something.

    ``reports``: what the fetches of ``file_outputs`` brought, in `Area.WORK`.
    """
    if not job.file_outputs:
        return "file_outputs is not given: everything that the run changed is brought home"
    if any(report.files for report in reports):
        return None
    names = ", ".join(job.file_outputs)
    return f"file_outputs ({names}) matched nothing: everything that the run changed is brought home"


def taken_by_another(folder: Path, run_id: str) -> str | None:
    """Say why ``folder`` cannot hold the results of ``run_id``; None when it can. Touches nothing."""
    try:
        owner = (folder / MARKER).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        owner = None
    except (OSError, UnicodeDecodeError) as err:
        return f"{folder / MARKER} cannot be read: {err}"
    if owner == run_id:
        return None
    if owner:
        return f"{folder} holds the results of run {owner}"
    if folder.is_dir():
        others = [path for path in folder.iterdir() if not path.name.startswith(MARKER)]
        return f"{folder} exists and was not made for a run" if others else None
    return f"{folder} is not a folder" if os.path.lexists(folder) else None


def claim(folder: Path, run_id: str) -> Path:
    """Make the folder of a run's results, or go on with it, and return it. Calling again is fine.

    Raises:
        UsageError: it exists and is another run's, or nobody's.
        HomeError: it cannot be made or written.
    """
    problem = taken_by_another(folder, run_id)
    if problem is not None:
        raise UsageError(problem, hint="name another folder with --out")
    marker = folder / MARKER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _mark(marker, run_id)
        problem = taken_by_another(folder, run_id)
    except OSError as err:
        raise HomeError(
            f"results cannot be written to {folder}: {err.strerror}", hint="name another folder with --out"
        ) from err
    if problem is not None:
        raise UsageError(problem, hint="name another folder with --out")
    return folder


def _mark(marker: Path, run_id: str) -> None:
    """Write the marker whole or not at all, unless somebody has; the disk may be full, and we may be killed."""
    from secrets import token_hex  # on use: looking at results needs none

    beside = marker.with_name(f"{MARKER}.{token_hex(4)}")
    try:
        beside.write_text(run_id + "\n", encoding="utf-8")
        with contextlib.suppress(FileExistsError):  # ours from before, or another process was faster
            os.link(beside, marker)
    except PermissionError:  # a file system without hard links
        if not marker.exists():
            beside.replace(marker)
    finally:
        beside.unlink(missing_ok=True)


def point_latest(folder: Path) -> str | None:
    """Let ``latest`` beside ``folder`` point to it, at once; return a warning where that is not possible."""
    link = folder.parent / LATEST
    if os.path.lexists(link) and not link.is_symlink():
        return f"{link} is not ours to replace; the results are in {folder}"
    from secrets import token_hex

    beside = link.with_name(f".{LATEST}-{token_hex(4)}")
    try:
        beside.symlink_to(folder.name, target_is_directory=True)
        beside.replace(link)
    except OSError as err:
        beside.unlink(missing_ok=True)
        return f"{link} could not be made: {err.strerror}; the results are in {folder}"
    return None


def require_at_home(carried: Carried) -> None:
    """Raise `HomeError` for the first file that is not there with its size."""
    for file in carried.files:
        path = file.below(carried.root)
        try:
            size_bytes = path.stat().st_size
        except OSError as err:
            raise HomeError(
                f"{file.name}, an output of stage {carried.stage}, is not at home any more: {path}: {err.strerror}",
                hint="put it back there, or run that stage again",
            ) from err
        if size_bytes != file.size_bytes:
            raise HomeError(
                f"{path}, an output of stage {carried.stage}, was changed since it came home:"
                f" {size_bytes} bytes instead of {file.size_bytes}",
                hint="put back what the stage has made, or run it again",
            )


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))
