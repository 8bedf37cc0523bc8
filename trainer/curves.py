"""``curves.png``: loss, learning rate and validation PER over the steps, with resume points marked."""

from __future__ import annotations

import csv
import importlib
import json
import threading
from pathlib import Path
from typing import Any

__all__ = ["CurvePlotter", "draw_curves"]


class CurvePlotter:
    """Draws from the run's own files, in a thread: the training does not wait for it.

    A drawing that is still under way lets the next request pass; `close` draws the last state.
    """

    def __init__(self, metrics: Path, events: Path, target: Path) -> None:
        self._metrics = metrics
        self._target = target
        self._resumes = _resumes(events)
        self._thread: threading.Thread | None = None
        self._stale = False
        self._error: Exception | None = None

    def mark_resume(self, step: int) -> None:
        """Add a resume point."""
        self._resumes.append(step)

    def draw(self) -> None:
        """Start a drawing. Raises what the one before ran into."""
        if self._thread is not None and self._thread.is_alive():
            self._stale = True
            return
        self._raise()
        self._stale = False
        self._thread = threading.Thread(target=self._draw, name="curves")
        self._thread.start()

    def close(self) -> None:
        """Wait; draw once more if something changed meanwhile."""
        if self._thread is not None:
            self._thread.join()
        if self._stale:
            self._draw()
        self._raise()

    def _draw(self) -> None:
        try:
            draw_curves(self._metrics, self._resumes, self._target)
        except Exception as error:
            self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def _resumes(events: Path) -> list[int]:
    """Steps at which earlier processes of this run took over."""
    if not events.exists():
        return []
    records = (json.loads(line) for line in events.read_text(encoding="utf-8").splitlines() if line)
    return [int(record["step"]) for record in records if record.get("event") == "resumed"]


def draw_curves(metrics: Path, resumes: list[int], target: Path) -> None:
    """Draw ``metrics.csv`` into a PNG by rename. Needs matplotlib; takes about a second."""
    with metrics.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # The object interface, not pyplot: this runs beside the training thread and needs no display.
    figure: Any = importlib.import_module("matplotlib.figure").Figure(figsize=(9, 8), layout="constrained")
    importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    panels = figure.subplots(3, 1, sharex=True)
    _line(panels[0], rows, "loss", "CTC loss, training", color="0.7")
    _line(panels[0], rows, "val_loss", "CTC loss, validation", marker="o", markersize=3)
    _line(panels[1], rows, "val_per", "validation PER", marker="o", markersize=3)
    _line(panels[2], rows, "lr", "learning rate")
    _line(panels[2], rows, "lr_day", "of the session layers", linestyle=":")
    for panel in panels:
        for number, step in enumerate(resumes):
            panel.axvline(step, color="tab:red", linewidth=0.8, label="resumed" if number == 0 else None)
        panel.legend(loc="upper right", frameon=False)
    panels[2].set_xlabel("step")
    temporary = target.with_name(f".{target.name}.tmp")
    figure.savefig(temporary, format="png", dpi=110)
    temporary.replace(target)


def _line(panel: Any, rows: list[dict[str, str]], column: str, label: str, **style: Any) -> None:
    points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
    panel.plot([x for x, _ in points], [y for _, y in points], label=label, linewidth=1, **style)
