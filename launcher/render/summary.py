"""The last thing that is shown of a run: how it ended, what came home, what it took beside what was estimated."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launcher.render import facts, words
from launcher.render.runs import fact_grid, headline, last_said
from launcher.results import LOGS_DIR

if TYPE_CHECKING:
    from launcher.logs import LastWords
    from launcher.status import Output, Status

__all__ = ["summary"]

FILES = 12


def summary(status: Status, last_words: LastWords, now: datetime) -> RenderableType:
    """Draw the end of a run; ``last_words``: of what failed."""
    rows = [
        ("progress", facts.progress(status)),
        ("metrics", facts.metrics(status.metrics)),
        ("verdict", facts.verdict(status)),
        ("time", facts.time_taken(status, now)),
        ("cost", facts.cost(status)),
        ("exit code", str(status.exit_code) if status.exit_code else ""),
        ("results", facts.results(status)),
    ]
    parts: list[RenderableType] = [Text(), headline(status)]
    if last_words.lines:
        parts.append(last_said(last_words))
    parts.append(fact_grid([(label, text) for label, text in rows if text]))
    if status.outputs:
        parts.append(_files(status))
    if mend := facts.what_to_do(status, last_words.lines):
        parts.append(fact_grid([("what to do", mend)]))
    if advice := facts.how_to_go_on(status):
        parts.append(fact_grid([("go on", advice), ("look", f"launch status {status.run_id} --events")]))
    return Group(*parts)


def _files(status: Status) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    named = [(_name(output, status.results_dir), output.size_bytes) for output in status.outputs]
    shown = sorted(named, key=lambda file: (_rank(file[0]), file[0]))
    for name, size_bytes in shown[:FILES]:
        grid.add_row(words.size(size_bytes), name)
    if len(shown) > FILES:
        grid.add_row("", f"… and {words.count(len(shown) - FILES, 'more', 'more')}")
    return Padding(grid, (0, 0, 0, 4))


def _rank(name: str) -> int:
    """What the job was run for comes first: then checkpoints, their digests, and the machine's curves."""
    path = Path(name)
    if path.parts[0] == LOGS_DIR:
        return 3
    if path.suffix == ".sha256":
        return 2
    return 1 if any(part == "checkpoints" for part in path.parts) else 0


def _name(output: Output, results_dir: str) -> str:
    path = Path(output.path)
    if path.is_absolute() and results_dir and path.is_relative_to(results_dir):
        return words.plain(str(path.relative_to(results_dir)))
    return words.plain(output.path)
