"""Whether a start did nothing that the start before it had not done: exit 75 can ask for another one for ever."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Dict, List, Optional

from .files import read_text, replace_file

OUR_OWN = ("control", "logs")
"""Folders of a run that change whatever the job does."""
MOST_ENTRIES = 200_000


class Repetition:
    """Compares what a job wrote and said in this start with the start before it, from its first byte on."""

    def __init__(self, paths: Dict[str, str]) -> None:
        self._root = paths["run"]
        self._mark = os.path.join(paths["stage_control"], "began")
        self._note = os.path.join(paths["stage_control"], "said.sha256")
        self._began_ns: Optional[int] = None
        self._said = hashlib.sha256()

    def begin(self) -> None:
        """The job is about to start. The time is that of the disk, which need not be the clock's."""
        self._said = hashlib.sha256()
        with contextlib.suppress(OSError):
            replace_file(self._mark, b"")
            self._began_ns = os.stat(self._mark).st_mtime_ns

    def take(self, data: bytes) -> None:
        """The job has said something."""
        self._said.update(data)

    def look(self) -> bool:
        """Say whether no file of the run was written since, and what was said is word for word what was said before."""
        said, before = self._said.hexdigest(), read_text(self._note)
        with contextlib.suppress(OSError):
            replace_file(self._note, said.encode("ascii"))
        return said == before and self._began_ns is not None and not self._anything_newer(self._began_ns)

    def _anything_newer(self, moment_ns: int) -> bool:
        """Also what was made, renamed or deleted: that changes its folder. Yes where there is too much to look at."""
        folders, seen = self._folders(), 0
        while folders:
            folder = folders.pop()
            if os.stat(folder).st_mtime_ns >= moment_ns:
                return True
            for entry in os.scandir(folder):
                seen += 1
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif seen > MOST_ENTRIES or entry.stat(follow_symlinks=False).st_mtime_ns >= moment_ns:
                    return True
        return False

    def _folders(self) -> List[str]:
        names = [name for name in os.listdir(self._root) if name not in OUR_OWN]
        paths = [os.path.join(self._root, name) for name in names]
        return [path for path in paths if os.path.isdir(path) and not os.path.islink(path)]
