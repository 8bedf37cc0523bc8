"""The output of a run at home: which stage said what, and the last words of what failed.

The log of a run is one file, byte for byte what its programs printed, one stage behind the other. Where another stage (or
another machine) begins in it stands in the run's row; of a job that has ``run`` instead of stages nothing does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.policy.states import RunState
from launcher.stage_status import failed_stages

if TYPE_CHECKING:
    from launcher.store import RunRow

__all__ = [
    "NOTHING_SAID",
    "LastWords",
    "LogPart",
    "LogPiece",
    "last_lines",
    "last_words",
    "parts_of",
    "ranges_of",
    "split",
    "with_part",
]

LAST_WORDS_BYTES = 16_384
LAST_WORDS = 15
OURS = "[launch] "
"""How lines begin that the watchdog or the orchestrator has put in."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """From here on a stage speaks, on one machine."""

    offset: int
    stage: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """Bytes of the log that belong together."""

    offset: int
    data: bytes
    part: LogPart | None
    """None for a job without stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """What was printed last by what failed."""

    stage: str = ""
    """Of several; empty where there is one."""
    lines: tuple[str, ...] = ()

    @property
    def last_line(self) -> str:
        """The program's own last line, without what our watchdog says below it; empty where there is none."""
        return next((line for line in reversed(self.lines) if not line.startswith(OURS)), "")


NOTHING_SAID = LastWords()


def parts_of(run: RunRow) -> tuple[LogPart, ...]:
    """Return the parts of a run's log, in order; none for a job without stages."""
    return tuple(
        LogPart(offset=offset, stage=stage, attempt=attempt) for offset, stage, attempt in run.log_parts
    )


def with_part(known: tuple[Any, ...], offset: int, stage: str, attempt: int) -> tuple[Any, ...]:
    """Return the parts as they are stored, with what is about to be appended at ``offset``."""
    if known and list(known[-1][1:]) == [stage, attempt]:
        return known
    return (*known, [offset, stage, attempt])


def split(offset: int, data: bytes, parts: Sequence[LogPart]) -> Iterator[LogPiece]:
    """Cut what was read at ``offset`` where another part begins."""
    end = offset + len(data)
    inside = [part for part in parts if offset < part.offset < end]
    before = [part for part in parts if part.offset <= offset]
    begins = [(offset, before[-1] if before else None), *((part.offset, part) for part in inside)]
    ends = [begin for begin, _ in begins[1:]] + [end]
    for (begin, part), stop in zip(begins, ends, strict=True):
        if begin < stop:
            yield LogPiece(offset=begin, data=data[begin - offset : stop - offset], part=part)


def ranges_of(parts: Sequence[LogPart], stage: str | None, end: int) -> list[tuple[int, int]]:
    """Return where what a stage has printed begins and ends, in order; all of it where no stage is named."""
    if stage is None:
        return [(0, end)]
    ends = [part.offset for part in parts[1:]] + [end]
    return [(part.offset, stop) for part, stop in zip(parts, ends, strict=True) if part.stage == stage]


def last_lines(tail: bytes, limit: int) -> list[str]:
    """Return the last lines of a program's output as they would stand on a screen, without control sequences."""
    text = _ESCAPES.sub("", tail.decode(errors="replace")).replace("\r\n", "\n")
    shown = (
        _CONTROLS.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]).expandtabs(4).rstrip()
        for line in text.split("\n")
    )
    return [line for line in shown if line][-limit:] if limit > 0 else []


def last_words(run: RunRow, log: Path, *, limit: int = LAST_WORDS) -> LastWords:
    """Return the last lines of what failed in a run that has failed: of several stages, of the one that did so last.

    A stage that never began has said nothing.
    """
    if run.state != RunState.FAILED.value:
        return NOTHING_SAID
    parts, failed = parts_of(run), failed_stages(run)
    spoke = [name for name in failed if any(part.stage == name for part in parts)]
    if failed and not spoke:
        return NOTHING_SAID
    stage = spoke[-1] if spoke else None
    begin, end = ranges_of(parts, stage, run.log_bytes)[-1]
    begin = max(begin, end - LAST_WORDS_BYTES)
    try:
        with log.open("rb") as file:
            file.seek(begin)
            tail = file.read(end - begin)
    except FileNotFoundError:
        return NOTHING_SAID
    return LastWords(stage=stage or "", lines=tuple(last_lines(tail, limit)))
