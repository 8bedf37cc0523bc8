"""Places beside the results, for files that others of the same name take the place of.

What is kept is linked there first and written down second, so that a step that was cut off in between is repeated
without harm.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from launcher.remote.onboard.files import sha256_of

__all__ = ["keep"]


def keep(dest: Path, folder: str, owner: str, path: Path, digest: str) -> tuple[Path, str] | None:
    """Keep a file of ``dest`` that is about to be replaced, and return the place that has it, and its digest.

    ``digest``: what ``owner`` had brought. None: that is kept already, and what is here now has taken its place in a
    step that was cut off.

    Raises:
        OSError: it could not be kept.
    """
    here = sha256_of(path)
    if here != digest and any(_holds(place, digest) for place in _taken_places(dest, folder, owner, path)):
        return None
    places = _every_place(dest, folder, owner, path)
    place = next(place for place in places if _is_free(place) or _holds(place, here))
    if not place.exists():
        _link(path, place)
    return place, here


def _every_place(dest: Path, folder: str, owner: str, path: Path) -> Iterator[Path]:
    """Where a file of ``dest`` may be kept, the first choice first: ``<folder>/<owner>/<its path>``.

    Where a job has made a file of the folder's name it is ``<folder>.kept``; who has left a second file of the name,
    as a stage that was done again, gets a second folder.
    """
    above = dest / (f"{folder}.kept" if (dest / folder).is_file() else folder)
    for number in itertools.count(1):
        own = owner if number == 1 else f"{owner}.{number}"  # no name of a stage has a dot
        yield above / own / path.relative_to(dest)


def _taken_places(dest: Path, folder: str, owner: str, path: Path) -> Iterator[Path]:
    """Where files of this path are kept."""
    return itertools.takewhile(lambda place: not _is_free(place), _every_place(dest, folder, owner, path))


def _is_free(place: Path) -> bool:
    """Whether nothing is there, nor a file in the way of its folder."""
    above = place.parent
    while not os.path.lexists(above):
        above = above.parent
    return above.is_dir() and not os.path.lexists(place)


def _holds(place: Path, digest: str) -> bool:
    """Whether a place has the very file that is to be kept."""
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
