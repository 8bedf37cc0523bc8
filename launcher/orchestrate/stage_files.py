"""Files of one name that several stages bring home: what an earlier stage has left is kept before it is replaced.

It goes to ``stages/<stage>/<its path>`` in the folder of results, and whatever needs it finds it there. The link comes
first and the record second, so that a step that was cut off in between is repeated without harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.kept_places import keep

__all__ = ["FOLDER", "keep_of_others"]

FOLDER = "stages"
"""In the folder of results."""


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
        found = keep(dest, FOLDER, owner, path, digest)
        if found is None:
            continue
        place, here = found
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
