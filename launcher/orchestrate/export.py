"""``events.jsonl`` of a run: its log as lines of JSON, for people's own tools. The record is the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from launcher.events import Event
from launcher.store import Store

__all__ = ["EventExport"]

LONGEST_LINE = 1 << 20


class EventExport:
    """Copies new events of one run to its file, and shows them to whoever listens here."""

    def __init__(
        self, store: Store, run_id: str, path: Path, sinks: tuple[Callable[[Event], None], ...] = ()
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._path = path
        self._sinks = sinks
        self._seen = -1

    def catch_up(self) -> None:
        """Write what has happened since the last call, or since what the file says after a crash.

        Raises:
            OSError: the file cannot be written; the next call writes what is missing.
        """
        events = self._store.events(self._run_id, self._seen) if self._seen >= 0 else None
        if events is not None and not events:
            return
        with self._path.open("a+b") as file:
            if events is None:
                self._seen = _last_position(file)
                events = self._store.events(self._run_id, self._seen)
            file.write(b"".join(_line(event) for event in events))
        if events:
            self._seen = events[-1].seq
        for event in events:
            for sink in self._sinks:
                sink(event)


def _line(event: Event) -> bytes:
    document = {
        "seq": event.seq,
        "at": event.at.isoformat(),
        "kind": event.kind.value,
        "message": event.message,
        "data": dict(event.data),
    }
    return json.dumps(document, default=str).encode() + b"\n"


def _last_position(file: IO[bytes]) -> int:
    """Return the position of the last event in the file; half a line at its end is cut off."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - LONGEST_LINE)
    file.seek(start)
    tail = file.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    file.truncate(start + len(whole))
    lines = whole.splitlines()
    try:
        return int(json.loads(lines[-1])["seq"]) if lines else 0
    except (ValueError, KeyError, TypeError):  # not written by us: begin again behind it
        return 0
