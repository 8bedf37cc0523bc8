"""Files of one name that several machines bring home in turn, as a stage moves from one to the next.

A program that goes on from its checkpoint writes its results anew on the next machine, and one that appends to a file
begins it again there. Text that an earlier machine has brought home is therefore kept before it is replaced, as
``earlier/<number of the attempt>/<its path>``; where the new file begins with all of the old one nothing is lost, and
the old one goes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.kept_places import keep
from launcher.remote.onboard.files import sha256_of
from launcher.runners.base import Handle
from launcher.store import AttemptRow

__all__ = ["keep_of_earlier_machines", "settle_what_is_kept"]

FOLDER = "earlier"
MOST_BYTES = 64 << 20
"""Larger files are data, of which the newest is wanted: one for each machine would fill the disk."""
BLOCK_BYTES = 1 << 20


def keep_of_earlier_machines(context: RunContext, handle: Handle, dest: Path, paths: Sequence[Path]) -> None:
    """Keep the text among ``paths``, files in ``dest`` about to be replaced, that earlier machines have brought home.

    Raises:
        OSError: one of them could not be kept; nothing was replaced.
    """
    earlier = _attempts_elsewhere(context, handle)
    if not earlier:
        return
    stage = handle.stage if context.job.stages else ""
    home = {
        path: (digest, at) for path, digest, at in context.store.outputs_with_times(context.run_id, stage)
    }
    began = next(
        row.started_at for row in context.attempts if (row.stage, row.n) == (handle.stage, handle.attempt)
    )
    for path in paths:
        digest, at = home.get(str(path), ("", began))
        owner = next((row.n for row in reversed(earlier) if row.started_at <= at), None)
        if at >= began or owner is None or not _may_grow(path):
            continue
        keep(dest, FOLDER, str(owner), path, digest)


def settle_what_is_kept(context: RunContext, handle: Handle, dest: Path) -> None:
    """Drop what is kept of files that go on where it ends; write down the rest, and say where it is.

    What is kept and not on record is what is not settled yet, also after a step that was cut off. What the job has
    brought home itself has to be on record before.
    """
    if not _attempts_elsewhere(context, handle):
        return
    known = {path for path, _, _ in context.store.outputs(context.run_id)}
    left: dict[Path, list[Path]] = {}
    for folder in sorted(dest.glob(f"{FOLDER}*/[0-9]*")):
        for place in sorted(folder.rglob("*")):
            if str(place) in known or place.is_symlink() or not place.is_file():
                continue
            if _goes_on(place, dest / place.relative_to(folder)):
                _drop(place, dest)
            else:
                left.setdefault(folder, []).append(place)
    stage = handle.stage if context.job.stages else ""
    for folder, places in left.items():
        names = ", ".join(str(place.relative_to(folder)) for place in places[:3])
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        words = f"{names}{more}: begun again on another machine; what attempt {folder.name} had brought home is kept in {folder}"
        rows = [(str(place), place.stat().st_size, sha256_of(place)) for place in places]
        with context.store.together():
            context.store.add_outputs(context.run_id, rows, context.clock(), stage=stage)
            context.report(Kind.WARNING, words, action="kept", folder=str(folder), files=len(places))


def _attempts_elsewhere(context: RunContext, handle: Handle) -> list[AttemptRow]:
    """The earlier attempts at this stage, oldest first, whose machine was another one than this one."""
    rows = [row for row in context.attempts if row.stage == handle.stage and row.n <= handle.attempt]
    if not rows or rows[-1].n != handle.attempt:
        return []
    return [row for row in rows[:-1] if context.may_be_elsewhere(row, rows[-1])]


def _may_grow(path: Path) -> bool:
    """Whether a program may have written a file line by line; weights and images it writes whole."""
    if path.stat().st_size > MOST_BYTES:
        return False
    with path.open("rb") as file:
        return b"\0" not in file.read(BLOCK_BYTES)


def _goes_on(place: Path, path: Path) -> bool:
    """Whether the file that took the place begins with all that was there."""
    try:
        with place.open("rb") as old, path.open("rb") as new:
            return all(block == new.read(len(block)) for block in _blocks(old))
    except OSError:
        return False


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _drop(place: Path, dest: Path) -> None:
    """Remove a file and the folders that were made for it."""
    with contextlib.suppress(OSError):
        place.unlink()
        for folder in place.parents:
            if folder == dest:
                break
            folder.rmdir()
