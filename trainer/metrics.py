"""Numbers of a run: ``metrics.csv``, the launcher's metrics file, and what people see.

``metrics.csv`` holds one line per step and deterministic columns only, so that a run that was killed and
resumed leaves the same file, byte for byte, as one that was left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MetricsTable", "MetricsWriter", "StepRow"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRow:
    """One line of ``metrics.csv``; None leaves a column empty."""

    step: int
    """Finished optimiser steps; 0 is the validation before the first one."""
    epoch: float
    """Trials drawn so far over trials in the training set."""
    loss: float | None = None
    """CTC loss, mean over the batch, in nats per trial."""
    grad_norm: float | None = None
    """Before clipping."""
    lr: float | None = None
    lr_day: float | None = None
    skipped_steps: int = 0
    """Steps so far whose gradient was not finite."""
    val_loss: float | None = None
    val_per: float | None = None

    def line(self) -> str:
        """As text; nine digits say a float32 exactly."""
        cells = [
            str(self.step), f"{self.epoch:.6f}", _cell(self.loss), _cell(self.grad_norm), _cell(self.lr),
            _cell(self.lr_day), str(self.skipped_steps), _cell(self.val_loss), _cell(self.val_per),
        ]  # fmt: skip
        return ",".join(cells) + "\n"


Report = Callable[[str], None]


def _silent(text: str) -> None:
    """Where nobody wants to hear warnings."""


HEADER = "step,epoch,loss,grad_norm,lr,lr_day,skipped_steps,val_loss,val_per\n"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


class MetricsTable:
    """An append-only ``metrics.csv`` whose length is part of every checkpoint.

    `start_bytes` is the content up to the checkpoint that is resumed; whatever a killed process wrote
    after it is dropped, and a file that did not come along to this machine is written again. When the
    disk refuses lines, `warn` hears of it once, and they are kept in memory and tried again.
    """

    def __init__(self, path: Path, start_bytes: bytes | None = None, warn: Report = _silent) -> None:
        self.path = path
        self._warn = warn
        self._warned = False
        self._lock = threading.Lock()  # a checkpoint's thread reads what the training thread appends
        path.parent.mkdir(parents=True, exist_ok=True)
        content = HEADER.encode() if start_bytes is None else start_bytes
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        kept = content if os.pread(self._file, len(content), 0) == content else b""
        os.ftruncate(self._file, len(kept))
        self._written = len(kept)
        self._waiting = content[len(kept) :]
        self._flush()

    @property
    def position(self) -> int:
        """Bytes of the table so far, those that wait for room included."""
        return self._written + len(self._waiting)

    def append(self, rows: Sequence[StepRow]) -> None:
        """Add lines and hand them to the operating system."""
        with self._lock:
            self._waiting += "".join(row.line() for row in rows).encode()
            self._flush()

    def content(self, position: int) -> bytes:
        """The first `position` bytes."""
        with self._lock:
            return (os.pread(self._file, min(position, self._written), 0) + self._waiting)[:position]

    def sync(self) -> None:
        """Return when everything that was written is on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _flush(self) -> None:
        try:
            while self._waiting:
                count = os.pwrite(self._file, self._waiting, self._written)
                self._written, self._waiting = self._written + count, self._waiting[count:]
            self._warned = False
        except OSError as error:
            if not self._warned:
                self._warn(f"{self.path}: {error.strerror}; its lines are kept in memory until there is room")
            self._warned = True


def _plain(value: float) -> float:
    """What JSON knows, of numbers from numpy or torch too."""
    return value if type(value) in (int, float) else float(value)


class MetricsWriter:
    """Appends JSON lines ``{"step", "total", any numbers}`` to the file named in ``LAUNCH_METRICS_FILE``.

    For any program::

        metrics = MetricsWriter.from_environment()
        metrics.write(step, total, loss=loss)

    Without that variable every call does nothing. Lines are written whole, so a reader never sees half
    of one; values that JSON does not know (NaN, infinity) are left out. A disk that refuses a line loses
    that line and nothing else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    @classmethod
    def from_environment(cls) -> MetricsWriter:
        """The file that the launcher named, if any."""
        from trainer.contract import JobEnvironment

        return cls(JobEnvironment.read().metrics_file)

    def write(self, step: int, total: int, **numbers: float | None) -> None:
        """Append one line."""
        self._append({"step": step, "total": total}, numbers)

    def result(self, **numbers: float | None) -> None:
        """Append a line without a step: what was found after the steps, such as by an evaluation."""
        self._append({}, numbers)

    def _append(self, record: dict[str, Any], numbers: Mapping[str, float | None]) -> None:
        if self._path is None:
            return
        record.update(
            {k: _plain(v) for k, v in numbers.items() if v is not None and v == v and abs(v) != float("inf")}
        )
        with contextlib.suppress(OSError), self._path.open("ab", buffering=0) as file:
            file.write((json.dumps(record) + "\n").encode())
