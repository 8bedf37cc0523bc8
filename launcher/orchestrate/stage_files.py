"""Files of one name that several stages bring home: what an earlier stage has left is kept before it is replaced.

It goes to ``stages/<stage>/<its path>`` in the folder of results, and whatever needs it finds it there. The link comes
first and the record second, so that a step that was cut off in between is repeated without harm.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.remote.onboard.files import sha256_of

__all__ = ["keep_of_others"]

FOLDERS = ("stages", "stages.kept")
"""The second where a job has made a file of the first one's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A file that another one is about to replace, and where it is kept."""

    stage: str
    path: Path
    place: Path
    size_bytes: int
    sha256: str
    is_new: bool
    """Nobody has written down before that it is there."""


def keep_of_others(context: RunContext, stage: str, dest: Path, paths: Sequence[Path]) -> None:
    """Keep those of ``paths``, files in ``dest`` that are about to be replaced, that other stages have brought home.

    Raises:
        OSError: one of them could not be kept; nothing was replaced.
    """
    rows = context.store.outputs_with_stages(context.run_id)
    known = {path: (owner, digest) for path, owner, digest in rows}
    kept: list[_Kept] = []
    for path in paths:
        owner, digest = known.get(str(path), ("", ""))
        if owner in ("", stage):
            continue
        here = sha256_of(path)
        if here != digest and any(_holds(place, digest) for place in _taken_places(dest, owner, path)):
            continue  # kept and replaced before, by a step that was cut off
        place = next(
            place for place in _every_place(dest, owner, path) if _is_free(place) or _holds(place, here)
        )
        if not place.exists():
            _link(path, place)
        is_new = known.get(str(place)) != (owner, here)
        size_bytes = place.stat().st_size
        kept.append(
            _Kept(stage=owner, path=path, place=place, size_bytes=size_bytes, sha256=here, is_new=is_new)
        )
    if kept:
        _note(context, stage, dest, kept)


def _note(context: RunContext, stage: str, dest: Path, kept: Sequence[_Kept]) -> None:
    """Write down where files are kept, let the records of the stages that left them point there, and say so."""
    main = Path(context.run.results_dir)
    moved = {
        (str(one.path.relative_to(main)), one.sha256): str(one.place.relative_to(main))
        for one in kept
        if one.path.is_relative_to(main)
    }
    with context.store.together():
        for owner in dict.fromkeys(one.stage for one in kept):
            own = [one for one in kept if one.stage == owner]
            rows = [(str(one.place), one.size_bytes, one.sha256) for one in own]
            context.store.add_outputs(context.run_id, rows, context.clock(), stage=owner)
            new = [one for one in own if one.is_new]
            if new:
                names = ", ".join(str(one.path.relative_to(dest)) for one in new[:3])
                more = f" and {len(new) - 3} more" if len(new) > 3 else ""
                folder = str(new[0].place).removesuffix(f"/{new[0].path.relative_to(dest)}")
                words = f"{names}{more} of stage {owner} would be replaced by what stage {stage} has left: kept in {folder}"
                context.report(Kind.WARNING, words, action="kept", stage=owner, folder=folder, files=len(new))
        for name, record in context.stage_records.items():
            files = tuple(
                replace(file, kept=moved.get((file.kept or file.name, file.sha256), file.kept))
                for file in record.files
            )
            if name != stage and files != record.files:
                context.update_stage(name, files=files)


def _every_place(dest: Path, owner: str, path: Path) -> Iterator[Path]:
    """Where a file may be kept, the first choice first; a stage that was done again has left a second one."""
    folder = next((dest / name for name in FOLDERS if not (dest / name).is_file()), dest / FOLDERS[-1])
    for number in itertools.count(1):
        own = owner if number == 1 else f"{owner}.{number}"  # no name of a stage has a dot
        yield folder / own / path.relative_to(dest)


def _taken_places(dest: Path, owner: str, path: Path) -> Iterator[Path]:
    """Where files of this path are kept."""
    return itertools.takewhile(lambda place: not _is_free(place), _every_place(dest, owner, path))


def _is_free(place: Path) -> bool:
    """Whether nothing is there, nor a file in the way of its folder."""
    above = place.parent
    while not os.path.lexists(above):
        above = above.parent
    return above.is_dir() and not os.path.lexists(place)


def _holds(place: Path, digest: str) -> bool:
    return place.is_file() and not place.is_symlink() and sha256_of(place) == digest


def _link(path: Path, place: Path) -> None:
    """Let a file be found in a second place, whole; the first is replaced by a rename and never written to."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, place)
    except OSError:  # a file system without hard links
        beside = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}.part")
        try:
            shutil.copy2(path, beside)
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
