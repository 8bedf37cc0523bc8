"""How a wrong field is named: by its full path, with what was expected, what came and the nearest valid name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from launcher.errors import JobFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FieldError", "Path", "dotted", "nearest"]

Path = tuple[str | int, ...]
"""Where a field lies: keys of mappings and positions in lists, outermost first."""


class FieldError(JobFileError):
    """A `JobFileError` that can still be moved outwards, while the records around the field are being read."""

    def __init__(
        self, reason: str, *, path: Path = (), source: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(reason, field=dotted(path) or None, source=source, hint=hint)
        self.reason = reason
        self.path = path

    def under(self, *outer: str | int) -> FieldError:
        """Return the same error, seen from the record that holds this one as ``outer``."""
        return FieldError(self.reason, path=(*outer, *self.path), source=self.source, hint=self.hint)

    def in_source(self, source: str) -> FieldError:
        """Return the same error with the file (or flag) that it came from."""
        return FieldError(self.reason, path=self.path, source=source, hint=self.hint)


def dotted(path: Path) -> str:
    """Write a path as people do: ``resources.cpus``, ``stages[0].run``, ``file_outputs["*.csv"]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that was probably meant, or None when none is close."""
    by_shape = {_shape(candidate): candidate for candidate in valid}
    shape = _shape(name)
    from difflib import get_close_matches  # a slow import that only a mistake needs

    close = get_close_matches(shape, by_shape, n=1, cutoff=0.65)
    longer = [other for other in by_shape if len(other) > 2 and shape.startswith(other)]
    return next((by_shape[found] for found in (*close, *longer)), None)


def _shape(name: str) -> str:
    return name.lower().replace("-", "_")
