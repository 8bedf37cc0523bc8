"""Watches a run's folder on this computer closely enough to see what a program does in the second of a signal."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from launcher.project.command import CHECKPOINT_SUFFIXES
from launcher.rehearse.observed import Save
from launcher.remote.onboard.names import sort_out
from trainer.contract import Phase

__all__ = ["Life", "Watch"]

EVERY_S = 0.05
SETTLED_S = 1.0
"""A file that changes again after so long is saved anew; before that, it is still being written."""
MOST_LOOKED_AT = 20_000
"""Of files in the working folder: what was saved elsewhere is a hint, and no reason to read a disk."""


@dataclass
class Life:
    """One start of the program, as its watchdog tells it."""

    key: str
    began_at_s: float | None = None
    asked_at_s: float | None = None
    ended_at_s: float | None = None
    exit_code: int | None = None
    is_killed: bool = False
    """Its machine was taken away: its status will never say that it has ended."""
    resumed_from: str | None = None
    setup_s: float | None = None
    steps: list[tuple[float, int]] = field(default_factory=list)
    """(when it was seen, step)."""


class Watch:
    """A thread that looks twenty times a second. What it has seen may be read at any time."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._began = time.monotonic()
        self._began_at = time.time()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._files: dict[str, tuple[_Shape, float]] = {}
        self._statuses: dict[Path, bytes] = {}
        self._metrics_read = 0
        self.lives: dict[str, Life] = {}
        self.total: int | None = None
        """How many steps there are to do, where the program says so."""
        self.saves: list[Save] = []
        self.written_in_place: set[str] = set()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Since the watch began."""
        return time.monotonic() - self._began

    @property
    def newest(self) -> Life | None:
        """The start that began last."""
        return list(self.lives.values())[-1] if self.lives else None

    def saved_elsewhere(self) -> tuple[str, ...]:
        """Return what looks like a checkpoint and lies elsewhere in the working folder, relative to it; the newest first."""
        found = []
        places = [(work, "") for work in sorted(self._folder.glob("work/*"))]
        for root, prefix in (*places, (self._folder / "outputs", "outputs/")):
            for path in islice(_below(root), MOST_LOOKED_AT):
                with suppress(OSError):
                    changed = path.stat().st_mtime
                    if path.name.endswith(CHECKPOINT_SUFFIXES) and changed >= self._began_at:
                        found.append((-changed, prefix + path.relative_to(root).as_posix()))
        return tuple(path for _, path in sorted(found))

    def _go_on(self) -> None:
        while not self._over.wait(EVERY_S):
            self._look_at_checkpoints()  # first: what the program did before the end that the status tells
            self._look_at_statuses()
            self._look_at_steps()

    def _look_at_statuses(self) -> None:
        for path in sorted(self._folder.glob("control/*/*-*/status.json"), key=_age):
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if self._statuses.get(path) == data:
                continue
            self._statuses[path] = data
            try:
                self._take(path.parent.name, json.loads(data))
            except (ValueError, KeyError):  # caught between two renames, or a file that is no status
                continue

    def _take(self, key: str, told: dict[str, Any]) -> None:
        life = self.lives.setdefault(key, Life(key))
        phase, now = told["phase"], self.seconds
        life.resumed_from = told["resumed_from"]
        life.setup_s = told["setup_s"]
        if phase == Phase.RUNNING.value and life.began_at_s is None:
            life.began_at_s = now
        if phase == Phase.LEAVING.value and life.asked_at_s is None:
            life.asked_at_s = now
        if phase == Phase.ENDED.value and life.ended_at_s is None:
            life.ended_at_s, life.exit_code = now, told["exit_code"]

    def _look_at_steps(self) -> None:
        life = self.newest
        for path in self._folder.glob("logs/*/metrics.jsonl"):
            try:
                with path.open("rb") as file:
                    file.seek(self._metrics_read)
                    data = file.read()
            except OSError:
                return
            whole = data[: data.rfind(b"\n") + 1]
            self._metrics_read += len(whole)
            for line in whole.splitlines():
                step, total = _numbers_of(line)
                self.total = total or self.total
                if step is not None and life is not None:
                    life.steps.append((self.seconds, step))

    def _look_at_checkpoints(self) -> None:
        seen: dict[str, _Shape] = {}
        folder = self._folder / "checkpoints"
        try:
            names, _ = sort_out(str(folder), [entry.name for entry in folder.iterdir()])
        except OSError:
            return
        for entry in (folder / name for name in names):
            if entry.is_symlink():
                continue
            try:
                seen[entry.name] = _Shape.of(entry)
            except OSError:  # it was removed meanwhile
                continue
        self._files = {name: (shape, self._changed_at_s(name, shape)) for name, shape in seen.items()}

    def _changed_at_s(self, name: str, shape: _Shape) -> float:
        """When it last changed; a change is noted as what it is."""
        before, changed_at_s = self._files.get(name, (None, 0.0))
        life = self.newest
        lives = (
            life is not None
            and life.began_at_s is not None
            and life.ended_at_s is None
            and not life.is_killed
        )
        if before == shape or not lives:
            return changed_at_s  # between two lives the launcher itself places what the next one is given
        is_same = before is not None and before.identity == shape.identity
        if is_same:
            self.written_in_place.add(name)
        if not is_same or self.seconds - changed_at_s > SETTLED_S:
            self.saves.append(Save(name=name, size_bytes=shape.size_bytes, at_s=self.seconds))
        return self.seconds


def _below(root: Path) -> Iterator[Path]:
    """Files, without following links: what is linked there is data, or was looked at by itself."""
    for folder, _, names in os.walk(root):
        for name in names:
            yield Path(folder, name)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@dataclass(frozen=True, slots=True)
class _Shape:
    identity: int
    """Of the entry itself: another one is another checkpoint; a change of the same one was written in place."""
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, entry: Path) -> _Shape:
        status = entry.stat()
        if not entry.is_dir():
            return cls(status.st_ino, status.st_size, status.st_mtime_ns)
        files = [path.stat() for path in entry.rglob("*") if path.is_file()]
        newest = max((file.st_mtime_ns for file in files), default=0)
        return cls(status.st_ino, sum(file.st_size for file in files), newest)


def _numbers_of(line: bytes) -> tuple[int | None, int | None]:
    """(step, total) of one line of metrics."""
    try:
        told = json.loads(line)
        step, total = told["step"], told.get("total")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
    return (
        int(step) if isinstance(step, int | float) else None,
        int(total) if isinstance(total, int | float) else None,
    )
