"""`launch logs`: what the program printed, of all attempts, byte for byte."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from launcher.cli.arguments import example, find_run, run_argument
from launcher.cli.failures import Detached
from launcher.cli.screen import Screen, with_screen

if TYPE_CHECKING:
    from launcher import Run

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
@with_screen
def logs(screen: Screen, run_text: str, follow: bool, lines: int | None) -> int:
    """Print what the program printed, of all attempts in order."""
    run = find_run(run_text)
    offset = 0 if lines is None else last_lines_offset(run, lines)
    try:
        for data in run.follow_log(offset) if follow else _what_is_home(run, offset):
            _write(screen, data, offset)
            offset += len(data)
    except KeyboardInterrupt:
        from launcher.render.facts import after_detaching

        raise Detached("\n" + after_detaching(run.status())) from None
    if follow:
        from launcher.render.facts import after_the_end

        screen.notice(after_the_end(run.status()))
    return 0


def last_lines_offset(run: Run, lines: int) -> int:
    """Return the offset at which the last ``lines`` lines of the output begin, reading from its end."""
    end = position = run.log_bytes()
    found = 0
    while position > 0:
        start = max(0, position - CHUNK_BYTES)
        block = run.read_log(start, position - start).data
        for n in range(len(block) - 1, -1, -1):
            if block[n : n + 1] == b"\n" and start + n != end - 1:
                found += 1
                if found == lines:
                    return start + n + 1
        position = start
    return 0 if lines else end


def _what_is_home(run: Run, offset: int) -> Iterator[bytes]:
    while data := run.read_log(offset, CHUNK_BYTES).data:
        yield data
        offset += len(data)


def _write(screen: Screen, data: bytes, offset: int) -> None:
    if screen.json:
        screen.line({"offset": offset, "text": data.decode(errors="replace")})
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
