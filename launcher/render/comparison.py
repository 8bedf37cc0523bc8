"""Runs side by side: as a document, as rows of a spreadsheet, and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.records import to_json
from launcher.render import facts, words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from launcher.side_by_side import SideBySide
    from launcher.status import Status

__all__ = ["comparison_document", "comparison_rows", "comparison_view"]


def comparison_document(found: SideBySide) -> dict[str, Any]:
    """Return the document of ``launch compare``."""
    return {
        "runs": [
            {
                "run_id": run.run_id,
                "name": run.name,
                "state": run.state,
                "reason": run.reason,
                "machine": _machine(run),
                "step": run.step,
                "total": run.total,
                "hours": round(hours, 6),
                "usd": run.cost_usd,
                "verdict": to_json(run.verdict),
            }
            for run, hours in zip(found.runs, found.hours, strict=True)
        ],
        "metrics": {name: list(values) for name, values in found.metrics.items()},
        "settings": {name: list(values) for name, values in found.settings.items()},
        "metric": to_json(found.metric),
        "best_run": None if found.winner is None else found.runs[found.winner].run_id,
    }


def comparison_rows(found: SideBySide) -> list[dict[str, Any]]:
    """Return a flat row per run; metrics and settings are columns named ``metric.…`` and ``setting.…``."""
    return [
        {
            "run_id": run.run_id,
            "name": run.name,
            "state": run.state,
            "met": "" if run.verdict is None else run.verdict.met,
            "best": n == found.winner,
            "machine": _machine(run),
            "step": "" if run.step is None else run.step,
            "hours": round(found.hours[n], 6),
            "usd": run.cost_usd,
            **{f"metric.{name}": _or_empty(values[n]) for name, values in found.metrics.items()},
            **{f"setting.{name}": _or_empty(values[n]) for name, values in found.settings.items()},
        }
        for n, run in enumerate(found.runs)
    ]


def _or_empty(value: float | str | None) -> float | str:
    return "" if value is None else value


def _machine(run: Status) -> str:
    return run.attempts[-1].offer if run.attempts else ""


def comparison_view(found: SideBySide) -> RenderableType:
    """Draw a column per run."""
    from rich.text import Text

    from launcher.render.runs import table

    drawn = table("", *(run.run_id for run in found.runs))

    def section(title: str, rows: dict[str, list[str]]) -> None:
        if rows:
            drawn.add_row(Text(title, style="bold"), *("" for _ in found.runs))
            for name, cells in rows.items():
                drawn.add_row(f"  {words.plain(name)}", *cells)

    section("outcome", _outcome(found))
    section("metrics", {name: _numbers(found, name) for name in found.metrics})
    section("settings that differ", {_label(name): _texts(found, name) for name in found.settings})
    return drawn


def _label(setting: str) -> str:
    """Of a field of a stage: ``stage hybrid: run``."""
    top, _, field = setting.partition(".")
    if top != "stages":
        return setting
    stage, _, what = field.partition(".")
    return f"stage {stage}: {what}" if what else "order of stages"


def _outcome(found: SideBySide) -> dict[str, list[str]]:
    rows = {
        "state": [run.state for run in found.runs],
        "verdict": [facts.verdict(run) for run in found.runs],
        "progress": [facts.progress(run) for run in found.runs],
        "time": [words.duration(3600 * hours) for hours in found.hours],
        "cost": [words.usd(run.cost_usd) for run in found.runs],
    }
    return {name: cells for name, cells in rows.items() if any(cells)}


def _numbers(found: SideBySide, name: str) -> list[str]:
    decides = found.metric is not None and found.metric.name == name
    return [
        "–" if value is None else words.number(value) + (" ← best" if decides and n == found.winner else "")
        for n, value in enumerate(found.metrics[name])
    ]


def _texts(found: SideBySide, name: str) -> list[str]:
    return ["–" if value is None else words.plain(value) for value in found.settings[name]]
