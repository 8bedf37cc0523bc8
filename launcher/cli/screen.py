"""Where output goes: answers to stdout, notices to stderr; with ``--json`` documents to stdout and all else to stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from launcher.cli.failures import Detached
from launcher.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["SCHEMA", "Screen", "with_screen"]

SCHEMA = 1
PLAIN_WIDTH = 160
"""Columns for what no terminal shows: wide enough that nothing worth reading is cut or wrapped."""

R = TypeVar("R")


@dataclass(frozen=True)
class Screen:
    """The two streams of one command."""

    json: bool = False
    debug: bool = False

    @property
    def stream(self) -> TextIO:
        """Where people's text goes."""
        return sys.stderr if self.json else sys.stdout

    @property
    def is_live(self) -> bool:
        """Something on the screen may be drawn over again."""
        return not self.json and self.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    @property
    def can_ask(self) -> bool:
        """Somebody sits at a terminal."""
        return sys.stdin.isatty() and self.stream.isatty()

    @cached_property
    def console(self) -> Console:
        """The console of people's text."""
        return _console(self.stream)

    def show(self, *parts: RenderableType) -> None:
        """Print the answer of a command, as people read it."""
        if self.stream.isatty():
            self.console.print(*parts, sep="\n")
            return
        with self.console.capture() as captured:
            self.console.print(*parts, sep="\n")
        for line in captured.get().splitlines():  # columns are padded, which no file or pipe should hold
            self.say(line.rstrip())

    def say(self, text: str) -> None:
        """Print one plain line of the answer."""
        click.echo(text, file=self.stream)

    def raw(self, text: str) -> None:
        """Print what a program reads, to stdout, as it is."""
        click.echo(text, nl=False)

    def notice(self, text: str) -> None:
        """Print something that is not the answer."""
        click.echo(text, err=True)

    def document(self, fields: Mapping[str, Any]) -> None:
        """Print the one JSON document of a command."""
        click.echo(_written({"schema": SCHEMA, **fields}, indent=2))

    def line(self, fields: Mapping[str, Any]) -> None:
        """Print one line of a stream of JSON documents."""
        click.echo(_written({"schema": SCHEMA, **fields}))

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show that something is being waited for, where a terminal shows it; it vanishes with the wait.

        The block is given what says how far it is; where nothing is drawn, those are lines on stderr.
        """
        if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            yield self.notice
            return
        with _console(sys.stderr).status(f"{what}…") as status:
            yield lambda words: status.update(f"{what}… {words}")

    def confirm(self, question: str, *, default: bool, otherwise: str) -> bool:
        """Ask a person; after a no, say what that means (``otherwise``).

        Raises:
            UsageError: there is no terminal to ask on.
            Detached: Ctrl-C, or the end of input.
        """
        if not self.can_ask:
            raise UsageError(
                f"nobody is there to answer: {question}", left_behind=otherwise, hint="--yes answers it"
            )
        try:
            answer = click.confirm(question, default=default, err=self.json)
        except click.Abort:
            raise Detached(f"\n{otherwise}") from None
        if not answer:
            self.notice(otherwise)
        return answer


def _written(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    """As JSON that every reader takes: a program may report nan and inf, which JSON does not have."""
    try:
        return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(document), indent=indent, ensure_ascii=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _console(stream: TextIO) -> Console:
    from rich.console import Console  # imported on use: JSON needs none of it

    on_terminal = stream.isatty()
    return Console(
        file=stream,
        width=None if on_terminal else PLAIN_WIDTH,
        soft_wrap=not on_terminal,
        highlight=False,
        emoji=False,
        markup=False,
    )


def with_screen(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command ``--json`` and ``--debug``, and hand it the `Screen` that they ask for."""

    @click.option("--json", "as_json", is_flag=True, help="JSON alone on stdout; text goes to stderr.")
    @click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
    @wraps(function)
    def command(*args: Any, as_json: bool, debug: bool, **options: Any) -> R:
        return function(Screen(json=as_json, debug=debug), *args, **options)

    return command
