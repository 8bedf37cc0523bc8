"""Finding the state that a run goes on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainer.checkpoint import Checkpoint, load, newest_good, step_files
from trainer.contract import Exit, JobEnvironment
from trainer.errors import CheckpointCorrupt, ConfigError, NoCheckpoint
from trainer.run_folder import RunFolder

__all__ = ["find_checkpoint"]

Report = Callable[[str], None]


def find_checkpoint(wanted: str, folder: RunFolder, job: JobEnvironment, warn: Report) -> Checkpoint | None:
    """The checkpoint to resume from; None means a fresh start.

    `wanted` is ``auto`` (what ``LAUNCH_RESUME_FROM`` names, else the newest good one of the run), ``never``
    or a path: of a state, of their folder, or of a run folder. Raises `NoCheckpoint` or `CheckpointCorrupt` when
    there are checkpoints, or one was named, and none can be used, and `ConfigError` when ``never`` meets a folder
    with checkpoints. Only what a person has named is bad configuration: the launcher may name another one in the
    next attempt.
    """
    if wanted == "never":
        old = step_files(folder.checkpoints)
        if old:
            raise ConfigError(
                f"--resume never, but {folder.checkpoints} holds checkpoints of an earlier run, up to {old[-1].name}",
                hint="name another --run-dir, or delete that folder",
            )
        return None
    named = Path(wanted) if wanted != "auto" else job.resume_from
    by_a_person = named != job.resume_from
    if named is None:
        return _newest(folder.checkpoints, warn)
    try:
        return _named(named, warn)
    except (NoCheckpoint, CheckpointCorrupt) as error:
        error.exit_code = Exit.BAD_CONFIG if by_a_person else Exit.FAILED
        raise


def _newest(folder: Path, warn: Report) -> Checkpoint | None:
    found, files = newest_good(folder, warn), step_files(folder)
    if found is None and files:  # a fresh start would overwrite what may still be mended
        raise CheckpointCorrupt(
            f"none of the {len(files)} checkpoints in {folder} can be used",
            left_behind="they and metrics.csv are untouched",
            hint="start anew in another --run-dir, or delete them",
        )
    return found


def _named(path: Path, warn: Report) -> Checkpoint:
    if path.is_dir():
        inside = path / "checkpoints"
        found = newest_good(inside if inside.is_dir() and not step_files(path) else path, warn)
        if found is None:
            raise NoCheckpoint(f"{path} holds no checkpoint that can be resumed from")
        return found
    try:
        return Checkpoint(path, 0, load(path))
    except CheckpointCorrupt as error:
        warn(f"{error}: falling back to the one before")
        older = newest_good(path.parent, warn, before=path)
        if older is None:
            raise CheckpointCorrupt(
                f"{path} is damaged and there is no older checkpoint beside it",
                left_behind=f"{path} is untouched",
                hint="--resume never starts anew in another --run-dir",
            ) from error
        return older
