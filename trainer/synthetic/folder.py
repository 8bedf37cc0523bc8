"""The folder of a data set: what is in it, who may write it, and how a new set gets in whole.

Everything is written into a hidden folder inside the output folder and moved into place by renames, the record first
and the data last, so that data that are there are whole. A run that was killed leaves only its hidden folder, which
the next run removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.synthetic.errors import CannotWrite, FolderTaken
from trainer.synthetic.layout import DATA_FOLDER, is_synthetic

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DESCRIPTION",
    "RECORD",
    "move_into_place",
    "partial_folder",
    "present_record",
    "refuse_small_disk",
    "refuse_taken",
    "remove_stale",
    "writable",
]

RECORD = "synthetic.json"
DESCRIPTION = "t15_copyTaskData_description.csv"
"""Block by block, which corpus was spoken: the official evaluation looks every trial up in it."""

_PARTIAL = ".synthetic-partial-"
_SPARE = 1.15
"""Room asked of the disk, beside the expected size."""


def present_record(root: Path) -> dict[str, Any] | None:
    """The record of the synthetic data set in `root`, or None when there is no whole one."""
    if not (root / DATA_FOLDER).is_dir():
        return None
    try:
        record = json.loads((root / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("synthetic") is True else None


def refuse_taken(root: Path, present: dict[str, Any] | None, force: bool) -> None:
    """Raise `FolderTaken` for data of others always, and for anything else unless `force`."""
    foreign = [p for p in sorted((root / DATA_FOLDER).glob("*/*.hdf5")) if not _marked(p)]
    if foreign:
        raise FolderTaken(
            f"{root} holds data that were not synthesized, such as {foreign[0].relative_to(root)}",
            hint="choose another --out; data that are not synthetic are never replaced",
        )
    if force:
        return
    if present is not None:
        raise FolderTaken(
            f"{root} holds a synthetic data set with other parameters (see {RECORD})",
            hint="choose another --out, or replace it with --force",
        )
    own = {RECORD, DESCRIPTION}
    others = sorted(p.name for p in root.iterdir() if p.name not in own and not p.name.startswith(_PARTIAL))
    if others:
        raise FolderTaken(
            f"{root} is not empty: it holds {', '.join(others[:3])}{', …' if len(others) > 3 else ''}",
            hint="choose another --out, or add the data set beside these files with --force",
        )


def _marked(path: Path) -> bool:
    try:
        return is_synthetic(path)
    except OSError:
        return False


def refuse_small_disk(root: Path, needed: int) -> None:
    """Raise `CannotWrite` when the disk under `root` has no room for `needed` bytes and some to spare."""
    free = shutil.disk_usage(root).free
    if free < needed * _SPARE:
        raise CannotWrite(
            f"the data set needs about {needed / 1e9:.2f} GB and {root} has {free / 1e9:.2f} GB free",
            hint="choose a smaller --size or another disk",
        )


@contextlib.contextmanager
def writable(out: Path) -> Iterator[Path]:
    """Create `out`, turn failures of the file system into ours, and remove `out` again if it is left empty."""
    created: list[Path] = []
    try:
        created += [p for p in (out, *out.parents) if not p.exists()]
        out.mkdir(parents=True, exist_ok=True)
        yield out.resolve()
    except (FileExistsError, NotADirectoryError) as error:
        raise CannotWrite(f"{out} is not a folder", hint="choose another --out") from error
    except OSError as error:
        what = error.strerror or str(error)
        raise CannotWrite(f"cannot write {error.filename or out}: {what}", hint="check --out") from error
    finally:
        for folder in created:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock on a folder, which ends with this process; raises BlockingIOError if not to wait for it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def partial_folder(root: Path) -> Iterator[Path]:
    """A folder for what is not whole yet, locked while its writer lives and removed when it ends."""
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=root))
    with _locked(partial, wait=True):
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def remove_stale(root: Path) -> None:
    """Remove what killed runs left; a folder whose writer lives is locked and stays."""
    for partial in root.glob(f"{_PARTIAL}*"):
        # Gone meanwhile, or in use: either way it is not ours to remove.
        with contextlib.suppress(FileNotFoundError, BlockingIOError), _locked(partial, wait=False):
            shutil.rmtree(partial, ignore_errors=True)


def move_into_place(partial: Path, root: Path, *, replace: bool) -> None:
    """Old data away, new record, new data: at every moment the data that are there are whole and described."""
    data = root / DATA_FOLDER
    with _locked(root, wait=True):
        if data.exists() and not replace:
            raise FolderTaken(
                f"another process wrote {data} in the meantime", hint="look at it, or choose another --out"
            )
        if data.exists():
            data.rename(partial / "replaced")
        (partial / DESCRIPTION).replace(root / DESCRIPTION)
        (partial / RECORD).replace(root / RECORD)
        (partial / DATA_FOLDER).rename(data)
