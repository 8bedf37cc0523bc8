"""Finished sentences on disk, one JSON line each, so that an evaluation that was cut short goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer.durable import replace_text
from trainer.lm.search import Hypothesis

__all__ = ["Journal"]

Lists = dict[int, list[Hypothesis]]


class Journal:
    """``nbest.jsonl`` and, beside it, ``request.json``: what the lists in it were made of.

    Lists made of anything else (another model, graph or option) are not used, and a line that was cut off by a kill
    is dropped.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any], *, fresh: bool = False) -> None:
        self._path = folder / "nbest.jsonl"
        self._request = folder / "request.json"
        folder.mkdir(parents=True, exist_ok=True)
        # Through JSON once, so that tuples and lists compare equal.
        wanted = json.loads(json.dumps(request))
        self.finished: Lists = {} if fresh or self._stored() != wanted else self._read()
        replace_text(self._path, _lines({i: ({}, found) for i, found in self.finished.items()}))
        replace_text(self._request, json.dumps(wanted, indent=1) + "\n")
        self._file = self._path.open("a", encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def path(self) -> Path:
        """The lists."""
        return self._path

    def add(self, number: int, about: Mapping[str, Any], found: list[Hypothesis]) -> None:
        """Keep one finished sentence; it survives a kill of this process."""
        self.finished[number] = found
        self._file.write(_line(number, about, found))
        self._file.flush()

    def finish(self, about: Mapping[int, Mapping[str, Any]]) -> None:
        """Write all sentences again in order, durably."""
        self._file.flush()
        os.fsync(self._file.fileno())
        replace_text(self._path, _lines({i: (about.get(i, {}), found) for i, found in self.finished.items()}))

    def _stored(self) -> Any:
        try:
            return json.loads(self._request.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _read(self) -> Lists:
        finished: Lists = {}
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return finished
        for line in lines:
            try:
                entry = json.loads(line)
                finished[int(entry["id"])] = [Hypothesis(**candidate) for candidate in entry["candidates"]]
            except (ValueError, KeyError, TypeError):
                continue
        return finished


def _lines(entries: Mapping[int, tuple[Mapping[str, Any], Iterable[Hypothesis]]]) -> str:
    return "".join(_line(i, about, found) for i, (about, found) in sorted(entries.items()))


def _line(number: int, about: Mapping[str, Any], found: Iterable[Hypothesis]) -> str:
    candidates = [
        {
            "text": h.text, "acoustic": round(h.acoustic, 6), "ngram": round(h.ngram, 6), "llm": round(h.llm, 6),
            "total": round(h.total, 6),
        }
        for h in found
    ]  # fmt: skip
    return json.dumps({"id": number, **about, "candidates": candidates}) + "\n"
