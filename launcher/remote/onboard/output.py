"""The job's output, kept in segments."""

from __future__ import annotations

import contextlib
import os
import re

from .files import remove


class Output:
    """The job's output in segments of exactly ``segment_bytes``, each named by the offset of its first byte.

    Offsets count from the first byte of the attempt and stay true when old segments are dropped, so a reader
    knows from an offset alone which file holds it. A full disk loses output, never the job: what was lost is
    counted and said as soon as there is room.
    """

    def __init__(self, folder: str, segment_bytes: int, total_bytes: int) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._keep = max(2, total_bytes // segment_bytes)
        self._descriptor = -1
        self._lost = 0
        self._echo = True
        os.makedirs(folder, exist_ok=True)
        self._starts = sorted(
            int(name[:-4]) for name in os.listdir(folder) if re.fullmatch(r"\d+\.log", name)
        )
        self.end = self._starts[-1] + os.path.getsize(self._path(self._starts[-1])) if self._starts else 0
        try:
            os.set_blocking(1, False)
        except OSError:
            self._echo = False

    @property
    def start(self) -> int:
        """The oldest offset that is still there."""
        return self._starts[0] if self._starts else self.end

    def say(self, text: str) -> None:
        """A line of the watchdog's own."""
        self.write(("[launch] %s\n" % text).encode("utf-8", "replace"))

    def write(self, data: bytes) -> None:
        """Append to the segments, and show it in the pane as far as the pane keeps up."""
        self._show(data)
        if self._lost:
            notice = "\n[launch] %d bytes of output are missing here: the disk was full\n" % self._lost
            if self._append(notice.encode()) < len(notice):
                self._lost += len(data)
                return
            self._lost = 0
        self._lost += len(data) - self._append(data)

    def _append(self, data: bytes) -> int:
        """How many bytes could be written."""
        written = 0
        with contextlib.suppress(OSError):
            while written < len(data):
                room = self._segment_bytes - self.end % self._segment_bytes
                if self._descriptor < 0 or room == self._segment_bytes:
                    self._open_segment()
                count = os.write(self._descriptor, data[written : written + room])
                self.end += count
                written += count
        return written

    def _open_segment(self) -> None:
        start = self.end - self.end % self._segment_bytes
        descriptor = os.open(self._path(start), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        if start not in self._starts:
            self._starts.append(start)
        while len(self._starts) > self._keep:
            remove(self._path(self._starts.pop(0)))

    def _show(self, data: bytes) -> None:
        """Never wait for the pane: somebody may have stopped it with Ctrl-S."""
        if self._echo:
            try:
                os.write(1, data)
            except BlockingIOError:
                pass
            except OSError:
                self._echo = False

    def _path(self, start: int) -> str:
        return os.path.join(self._folder, "%015d.log" % start)
