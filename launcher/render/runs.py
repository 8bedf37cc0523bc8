"""`launch status` and `launch ls`, drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from launcher.logs import NOTHING_SAID
from launcher.render import facts, style, words
from launcher.render.facts import Fact
from launcher.render.lines import KIND_WIDTH, RUN_COLUMNS, burning_now, event_parts, run_cells

if TYPE_CHECKING:
    from launcher.events import Event
    from launcher.logs import LastWords
    from launcher.stage_status import StageStatus
    from launcher.status import AttemptStatus, Status

__all__ = [
    "attempts_table",
    "events_grid",
    "fact_grid",
    "headline",
    "last_said",
    "runs_table",
    "stages_table",
    "status_view",
    "table",
]

NEVER_WRAPPED = frozenset({"#", "RUN", "STATE", "DONE", "COST", "NOW", "AGE", "PRICE", "LOST"})
LABEL_WIDTH = len("checkpoints")
"""So that blocks of facts below each other stand in the same columns."""


def headline(status: Status) -> Text:
    """Return the run, its state and the reason, in one line."""
    parts: list[tuple[str, str]] = [
        (status.run_id, "bold"),
        ("  ", ""),
        (status.state, style.of_state(status.state)),
    ]
    if status.reason:
        parts.append((f"  {status.reason}", style.QUIET))
    return Text.assemble(*parts)


def fact_grid(rows: Iterable[Fact]) -> RenderableType:
    """Lay labelled facts out in two columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=style.LABEL, no_wrap=True, min_width=LABEL_WIDTH)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(label, text)
    return Padding(grid, (0, 0, 0, 2))


def status_view(status: Status, now: datetime, last_words: LastWords = NOTHING_SAID) -> RenderableType:
    """Draw one run; ``last_words``: of what failed."""
    parts: list[RenderableType] = [headline(status), fact_grid(facts.status_facts(status, now))]
    if status.stages:
        parts.append(Padding(stages_table(status.stages), (1, 0, 0, 0)))
    if status.attempts:
        parts.append(Padding(attempts_table(status.attempts, now), (1, 0, 0, 0)))
    if last_words.lines:
        parts.append(Padding(last_said(last_words), (1, 0, 0, 0)))
    if status.advice:
        parts.append(fact_grid([("what to do", status.advice)]))
    if advice := facts.how_to_go_on(status):
        parts.append(fact_grid([("go on", advice)]))
    return Group(*parts)


def last_said(said: LastWords) -> RenderableType:
    """Draw what a program that failed has printed last, and of which stage it was."""
    whose = f"stage {said.stage}" if said.stage else "the program"
    head = Text(f"  the last lines of {whose}:", style=style.LABEL)
    return Group(head, *(Text(f"  │ {line}") for line in said.lines))


def stages_table(stages: Sequence[StageStatus]) -> Table:
    """Draw the stages of a run, one a line."""
    rows = table("STAGE", "STATE", "DONE", "LASTED", "LEFT", "COST", "NOTE")
    for stage in stages:
        rows.add_row(
            stage.name,
            Text(stage.state, style=style.of_state(stage.state)),
            facts.stage_progress(stage),
            words.duration(stage.seconds) if stage.started is not None else "",
            words.duration(stage.seconds_left) if stage.seconds_left is not None else "",
            words.usd(stage.usd) if stage.started is not None else "",
            words.plain(stage.promoted or stage.reason),
        )
    return rows


def attempts_table(attempts: Sequence[AttemptStatus], now: datetime) -> Table:
    """Draw the attempts of a run, one a line."""
    rows = table("#", "STAGE", "MACHINE", "LASTED", "STEPS", "LOST", "COST", "ENDED BY")
    for attempt in attempts:
        rows.add_row(
            str(attempt.n),
            attempt.stage,
            attempt.offer,
            words.duration(facts.attempt_seconds(attempt, now)),
            f"{attempt.steps_done:,}",
            _lost(attempt),
            words.usd(attempt.usd),
            attempt.cause.replace("_", " ") if attempt.ended else "goes on",
        )
    return rows


def _lost(attempt: AttemptStatus) -> str:
    """Steps that had to be done again, and the time that they had taken where that is known."""
    steps = f"{attempt.steps_lost:,}"
    return f"{steps} ({words.duration(attempt.seconds_lost)})" if attempt.seconds_lost >= 1.0 else steps


def events_grid(events: Iterable[Event], *, with_date: bool = False) -> Table:
    """Draw events so that a long sentence stays in its column."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style=style.QUIET)
    grid.add_column(no_wrap=True, width=KIND_WIDTH)
    grid.add_column(overflow="fold")
    for event in events:
        at, kind, message = event_parts(event, with_date=with_date)
        is_warning = event.kind.value == "warning"
        colour = style.of_state(kind) if event.kind.value == "state" else style.QUIET
        grid.add_row(
            at,
            Text(kind, style=style.WARNING if is_warning else colour),
            Text(message, style=style.WARNING if is_warning else ""),
        )
    return grid


def runs_table(runs: Sequence[Status], now: datetime) -> RenderableType:
    """Draw several runs, one a line, and what they cost now."""
    rows = table(*RUN_COLUMNS)
    for run in runs:
        run_id, state, *rest = run_cells(run, now)
        live = "bold" if run.is_live else ""
        rows.add_row(Text(run_id, style=live), Text(state, style=style.of_state(run.state)), *rest)
    return Group(rows, Text(burning_now(runs), style=style.QUIET))


def table(*columns: str) -> Table:
    """Return an empty table in the one look that all tables have."""
    drawn = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style=style.LABEL, padding=(0, 1, 0, 0)
    )
    for column in columns:
        drawn.add_column(column, overflow="fold", no_wrap=column in NEVER_WRAPPED)
    return drawn
