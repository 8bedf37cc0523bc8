"""Numbers of a run: ``metrics.csv``, the launcher's metrics file, and what people see.

``metrics.csv`` holds one line per step and deterministic columns only, so that a run that was killed and
resumed leaves the same file, byte for byte, as one that was left alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["MetricsTable", "MetricsWriter", "StepRow"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRow:
    """One line of ``metrics.csv``; None leaves a column empty."""

    step: int
    """Finished optimiser steps, from 1."""
    epoch: float
    """Trials drawn so far over trials in the training set."""
    loss: float
    """CTC loss, mean over the batch, in nats per trial."""
    grad_norm: float
    """Before clipping."""
    lr: float
    lr_day: float
    skipped_steps: int
    """Steps so far whose gradient was not finite."""
    val_loss: float | None = None
    val_per: float | None = None

    def line(self) -> str:
        """As text; nine digits say a float32 exactly."""
        cells = [
            str(self.step), f"{self.epoch:.6f}", f"{self.loss:.9g}", f"{self.grad_norm:.9g}", f"{self.lr:.9g}",
            f"{self.lr_day:.9g}", str(self.skipped_steps), _cell(self.val_loss), _cell(self.val_per),
        ]  # fmt: skip
        return ",".join(cells) + "\n"


HEADER = "step,epoch,loss,grad_norm,lr,lr_day,skipped_steps,val_loss,val_per\n"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


class MetricsTable:
    """An append-only ``metrics.csv`` whose length is part of every checkpoint.

    `start_bytes` is the content up to the checkpoint that is resumed; whatever a killed process wrote
    after it is dropped, and a file that did not come along to this machine is written again.
    """

    def __init__(self, path: Path, start_bytes: bytes | None = None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = HEADER.encode() if start_bytes is None else start_bytes
        self._file = path.open("r+b" if path.exists() else "w+b")
        if self._file.read(len(content)) != content:
            self._file.seek(0)
            self._file.write(content)
        self._file.truncate(len(content))
        self._file.seek(len(content))
        self._file.flush()
        self.position = len(content)
        """Bytes that belong to finished steps."""

    def append(self, rows: Sequence[StepRow]) -> None:
        """Add lines and hand them to the operating system."""
        data = "".join(row.line() for row in rows).encode()
        self._file.write(data)
        self._file.flush()
        self.position += len(data)

    def content(self, position: int) -> bytes:
        """The first `position` bytes, read back from the file."""
        with self.path.open("rb") as file:
            return file.read(position)

    def sync(self) -> None:
        """Return when everything appended is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MetricsWriter:
    """Appends JSON lines ``{"step", "total", any numbers}`` to the file named in ``LAUNCH_METRICS_FILE``.

    For any program::

        metrics = MetricsWriter.from_environment()
        metrics.write(step, total, loss=loss)

    Without that variable every call does nothing. Lines are written whole, so a reader never sees half
    of one; values that JSON does not know (NaN, infinity) are left out.
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
        if self._path is None:
            return
        record: dict[str, Any] = {"step": step, "total": total}
        record.update(
            {k: v for k, v in numbers.items() if v is not None and v == v and abs(v) != float("inf")}
        )
        with self._path.open("ab", buffering=0) as file:
            file.write((json.dumps(record) + "\n").encode())
