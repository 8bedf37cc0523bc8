"""`launch logs`: what the program printed, of all attempts, byte for byte; a heading for each of several stages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from launcher.cli.arguments import example, find_run, run_argument
from launcher.cli.failures import Detached
from launcher.cli.screen import Screen, with_screen

if TYPE_CHECKING:
    from launcher import Run
    from launcher.logs import LogPart, LogPiece

__all__ = ["last_lines_offset", "logs"]

CHUNK_BYTES = 1 << 20


@click.command(
    "logs",
    short_help="What the program printed; -f goes on.",
    epilog=example("launch logs -f demo", "launch logs -n 50 demo"),
)
@run_argument
@click.option(
    "--follow", "-f", is_flag=True, help="Go on until the run has ended. Ctrl-C leaves; the run goes on."
)
@click.option("--lines", "-n", type=click.IntRange(min=0), metavar="N", help="Begin with the last N lines.")
@click.option("--stage", metavar="NAME", help="Of a run with stages, what this one printed.")
@with_screen
def logs(screen: Screen, run_text: str, follow: bool, lines: int | None, stage: str | None) -> int:
    """Print what the program printed, of all attempts in order; of several stages, each under a heading."""
    run = find_run(run_text)
    ranges = run.log_ranges(stage)
    offset = (ranges[0][0] if ranges else 0) if lines is None else last_lines_offset(run, lines, ranges)
    printed = _Printed(screen, with_headings=stage is None)
    try:
        for piece in run.log_pieces(offset, stage=stage, follow=follow):
            printed.show(piece)
    except KeyboardInterrupt:
        from launcher.render.facts import after_detaching

        raise Detached("\n" + after_detaching(run.status())) from None
    if follow:
        from launcher.render.facts import after_the_end

        screen.notice(after_the_end(run.status()))
    return 0


def last_lines_offset(run: Run, lines: int, ranges: Sequence[tuple[int, int]]) -> int:
    """Return the offset at which the last ``lines`` lines in these ranges of the output begin, reading from the end."""
    if not ranges or not lines:
        return ranges[-1][1] if ranges else 0
    found = 0
    for begin, end in reversed(ranges):
        position = end
        while position > begin:
            start = max(begin, position - CHUNK_BYTES)
            block = run.read_log(start, position - start).data
            for n in range(len(block) - 1, -1, -1):
                if block[n : n + 1] == b"\n" and start + n != end - 1:
                    found += 1
                    if found == lines:
                        return start + n + 1
            position = start
        found += 1  # its first line
        if found == lines:
            return begin
    return ranges[0][0]


class _Printed:
    """Bytes as they came; where another stage begins, a heading as that of ``tail`` for another file."""

    def __init__(self, screen: Screen, *, with_headings: bool) -> None:
        self._screen = screen
        self._with_headings = with_headings
        self._part: LogPart | None = None
        self._ends_line = True

    def show(self, piece: LogPiece) -> None:
        """Print a piece, or with ``--json`` a line about it."""
        part = piece.part
        if self._screen.json:
            stage = None if part is None else part.stage
            text = piece.data.decode(errors="replace")
            self._screen.line({"offset": piece.offset, "stage": stage, "text": text})
            return
        if self._with_headings and part is not None and part != self._part:
            self._part = part
            new_line = "" if self._ends_line else "\n"
            sys.stdout.write(f"{new_line}==> stage {part.stage}, machine {part.attempt} <==\n")
            sys.stdout.flush()
        sys.stdout.buffer.write(piece.data)
        sys.stdout.buffer.flush()
        self._ends_line = piece.data.endswith(b"\n")
