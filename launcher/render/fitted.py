"""Tables that fit the screen: columns that matter least go before a word is broken, and are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from launcher.render import style
from launcher.render.runs import table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

__all__ = ["Fitted", "Mark", "columns_that_fit"]

GAP = 2
"""Blanks between two columns."""


def columns_that_fit(
    widths: Mapping[str, int], width: int, *, expendable: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that stay and those that go, in the order of ``expendable``, until all fit into ``width``. Pure."""
    kept = list(widths)
    gone: list[str] = []
    for name in expendable:
        if sum(widths[column] for column in kept) + GAP * (len(kept) - 1) <= width:
            break
        if name in kept:
            kept.remove(name)
            gone.append(name)
    return tuple(kept), tuple(gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What stands for a cell of a column that had to go: a sign before the cell of another one."""

    column: str
    cell: str
    on: str
    sign: str
    words: str
    """What the sign means, below the table."""


class Fitted:
    """Rows by column; a cell never wraps, and the columns in ``expendable`` go, in that order, where room is short."""

    def __init__(
        self, rows: Sequence[Mapping[str, str]], *, expendable: Sequence[str], marks: Sequence[Mark] = ()
    ) -> None:
        self._rows = rows
        self._expendable = expendable
        self._marks = marks

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw what fits into the console's width, and name what was left out."""
        widths = {name: max(len(name), *(len(row[name]) for row in self._rows)) for name in self._rows[0]}
        room = options.max_width - (1 if self._marks else 0)  # for a sign before a cell
        kept, gone = columns_that_fit(widths, room, expendable=self._expendable)
        drawn = table(*kept)
        for column in drawn.columns:
            column.no_wrap, column.overflow = True, "ellipsis"
        for row in self._rows:
            marked = self._marked(row, gone)
            drawn.add_row(*(marked[name] for name in kept))
        yield drawn
        if gone:
            yield Text(self._legend(gone), style=style.QUIET)

    def _marked(self, row: Mapping[str, str], gone: Sequence[str]) -> Mapping[str, str]:
        signs = {
            mark.on: mark.sign + row[mark.on]
            for mark in self._marks
            if mark.column in gone and row[mark.column] == mark.cell
        }
        return {**row, **signs}

    def _legend(self, gone: Sequence[str]) -> str:
        used = [
            f"{mark.sign} {mark.words}"
            for mark in self._marks
            if mark.column in gone and any(row[mark.column] == mark.cell for row in self._rows)
        ]
        marked = {mark.column for mark in self._marks}
        others = ", ".join(name for name in gone if name not in marked)
        left_out = [f"no room for {others}: a wider window, --csv or --json"] if others else []
        return " · ".join([*used, *left_out])
