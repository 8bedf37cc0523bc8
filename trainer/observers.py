"""Records of a run for people and tools that look on: events, system load, TensorBoard, curves.

None of them is part of the run's result, and none can end it: an observer that fails is dropped with a
warning.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from trainer.config import RecordsConfig
from trainer.curves import CurvePlotter
from trainer.metrics import StepRow

__all__ = ["EventLog", "Observer", "Observers", "SystemTable", "TensorBoardLog", "observe"]


class Observer:
    """What can be observed; each method does nothing unless a subclass cares."""

    def rows(self, rows: Sequence[StepRow]) -> None:
        """Steps were finished; a row with `val_per` is also a validation."""

    def event(self, name: str, step: int, **fields: Any) -> None:
        """Something happened: started, resumed, checkpoint, validation, collapsed, out_of_memory, interrupted, done, failed."""

    def close(self) -> None:
        """The run ends."""


class Observers(Observer):
    """All observers of a run as one."""

    def __init__(self, observers: Sequence[Observer], warn: Callable[[str], None]) -> None:
        self._observers = list(observers)
        self._warn = warn

    def rows(self, rows: Sequence[StepRow]) -> None:
        """Tell all."""
        self._tell(lambda observer: observer.rows(rows))

    def event(self, name: str, step: int, **fields: Any) -> None:
        """Tell all."""
        self._tell(lambda observer: observer.event(name, step, **fields))

    def close(self) -> None:
        """Tell all, and be told nothing more."""
        self._tell(lambda observer: observer.close())
        self._observers.clear()

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        for observer in list(self._observers):
            try:
                tell(observer)
            except Exception as error:
                self._observers.remove(observer)
                self._warn(f"{type(observer).__name__} gave up: {error}; training goes on without it")


class EventLog(Observer):
    """``events.jsonl``: one JSON object per event, with the time in UTC."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def event(self, name: str, step: int, **fields: Any) -> None:
        """Append one line."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": name, "step": step, **fields})
        with self._path.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")


class SystemTable(Observer):
    """``system.csv``: speed, processor use and memory of this process, a line every few seconds."""

    COLUMNS = ("time", "step", "steps_per_s", "cpu_percent", "memory_gib", "gpu_percent", "gpu_memory_gib")

    def __init__(self, path: Path, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._device = device
        self._clock = clock
        self._last: tuple[float, float, int] | None = None
        self._newest_step = -1
        if not path.exists():
            self._append(self.COLUMNS)

    def rows(self, rows: Sequence[StepRow]) -> None:
        """Sample, unless the last sample is fresh."""
        now, busy, step = self._clock(), sum(os.times()[:2]), rows[-1].step
        if self._last is None:
            self._last = (now, busy, step)
            return
        self._newest_step = step
        if now - self._last[0] >= 5.0:
            self._sample(now, busy, step)

    def close(self) -> None:
        """Sample what came after the last line."""
        if self._last is not None and self._newest_step > self._last[2]:
            self._sample(self._clock(), sum(os.times()[:2]), self._newest_step)

    def _sample(self, now: float, busy: float, step: int) -> None:
        assert self._last is not None
        then, busy_then, step_then = self._last
        if now <= then:
            return
        self._last = (now, busy, step)
        stamp = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        speed, cpu = (step - step_then) / (now - then), 100 * (busy - busy_then) / (now - then)
        self._append((stamp, step, f"{speed:.3f}", f"{cpu:.0f}", f"{_memory_gib():.3f}", *self._gpu()))

    def _gpu(self) -> tuple[str, str]:
        if self._device.type != "cuda":
            return "", ""
        percent = ""
        with contextlib.suppress(Exception):  # needs nvidia-ml-py, which torch does not bring
            percent = str(torch.cuda.utilization(self._device))
        return percent, f"{torch.cuda.memory_reserved(self._device) / 2**30:.3f}"

    def _append(self, cells: Sequence[Any]) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)


def _memory_gib() -> float:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE") / 2**30)


class TensorBoardLog(Observer):
    """Event files for TensorBoard under ``tensorboard/``; needs the package ``tensorboard``."""

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What a killed process wrote after the state that is resumed is written anew.
        self._writer: Any = SummaryWriter(str(folder), purge_step=0 if resumed_at is None else resumed_at + 1)

    def rows(self, rows: Sequence[StepRow]) -> None:
        """Add the numbers of each step."""
        for row in rows:
            named = {
                "train/loss": row.loss, "train/grad_norm": row.grad_norm, "train/lr": row.lr,
                "train/lr_day": row.lr_day, "val/loss": row.val_loss, "val/per": row.val_per,
            }  # fmt: skip
            for name, value in named.items():
                if value is not None:
                    self._writer.add_scalar(name, value, row.step)

    def event(self, name: str, step: int, **fields: Any) -> None:
        """Before a state is saved, write what is buffered: a resumed run does not write those steps again."""
        if name == "checkpoint":
            self._writer.flush()

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()


class Curves(Observer):
    """``curves.png``, drawn again at each validation; needs the package ``matplotlib``."""

    def __init__(self, plotter: CurvePlotter) -> None:
        self._plotter = plotter

    def event(self, name: str, step: int, **fields: Any) -> None:
        """Remember where the run was resumed; draw after a validation."""
        if name == "resumed":
            self._plotter.mark_resume(step)
        elif name in ("validation", "done"):
            self._plotter.draw()

    def close(self) -> None:
        """Wait for the last drawing."""
        self._plotter.close()


def observe(
    root: Path, metrics: Path, device: torch.device, config: RecordsConfig, *,
    resumed_at: int | None, warn: Callable[[str], None],
) -> Observers:  # fmt: skip
    """The observers that are wanted and whose packages are installed; one that cannot start is said and left out.

    `resumed_at` is the step of the state that is resumed; None on a fresh start.
    """
    events = root / "events.jsonl"
    wanted: list[tuple[str | None, Callable[[], Observer]]] = [
        (None, lambda: EventLog(events)),
        (None, lambda: SystemTable(root / "system.csv", device)),
    ]
    if config.tensorboard:
        wanted.append(("tensorboard", lambda: TensorBoardLog(root / "tensorboard", resumed_at)))
    if config.curves:
        wanted.append(("matplotlib", lambda: Curves(CurvePlotter(metrics, events, root / "curves.png"))))
    observers: list[Observer] = []
    for package, make in wanted:
        if package is not None and importlib.util.find_spec(package) is None:
            continue
        try:
            observers.append(make())
        except Exception as error:
            warn(f"{package or root} cannot record this run: {error}; training goes on without it")
    return Observers(observers, warn)
