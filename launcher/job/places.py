"""Places on the machine that must not lie in one another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from launcher.job.problem import FieldError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OUTPUT_DIR", "check_places"]

OUTPUT_DIR = "outputs"
"""``LAUNCH_OUTPUT_DIR``, relative to the working folder."""


def check_places(targets: Iterable[str], checkpoint_dir: str) -> None:
    """Refuse data inside of data, and a run's own folder inside of data: what is linked must not be written into.

    Raises:
        FieldError: with the path of the field.
    """
    seen: dict[str, str] = {}
    for target in targets:
        place = os.path.normpath(target)
        for other_place, other in seen.items():
            if _inside(place, other_place) or _inside(other_place, place):
                raise FieldError(
                    f"is the same place as {other}, or one lies in the other",
                    path=("file_mounts", target),
                    hint="give each source a place of its own: data/raw and data/lm",
                )
        seen[place] = target
    for folder, what in ((checkpoint_dir, "checkpoint.dir"), (OUTPUT_DIR, "LAUNCH_OUTPUT_DIR")):
        for place, target in seen.items():
            if _inside(os.path.normpath(folder), place):
                raise FieldError(
                    f"holds {what} ({folder}), which the run writes to", path=("file_mounts", target)
                )


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
