"""From an exception to three lines (or one JSON document) and an exit code.

0 done, or handed over · 1 the run failed or was stopped · 2 usage or job file · 3 credentials or dependency ·
4 no offer or capacity within the limits · 5 refused by a budget · 70 our own fault · 130 left by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from launcher.errors import LaunchError
from launcher.render.words import plain

__all__ = [
    "EXIT_DECLINED",
    "EXIT_DETACHED",
    "EXIT_OUR_FAULT",
    "EXIT_TRANSPORT",
    "Detached",
    "Failure",
    "failure_of",
    "nothing_rented",
    "report",
]

EXIT_DECLINED = 1
"""A person was asked and said no."""
EXIT_USAGE = 2
EXIT_OUR_FAULT = 70
EXIT_DETACHED = 130
EXIT_TRANSPORT = 255

CLOUD_EXIT_CODES = {
    "BadOption": 2,
    "MissingDependency": 3,
    "BadCredentials": 3,
    "PermissionDenied": 3,
    "NoOffer": 4,
    "NoCapacity": 4,
    "QuotaExceeded": 4,
    "PriceRose": 4,
    "CloudError": 1,
}
"""By class; a class that is not listed has the code of its nearest ancestor."""


class Detached(Exception):
    """Somebody pressed Ctrl-C while looking at something that goes on; the message is the last line."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Failure:
    """What is said about an error."""

    code: str
    """Stable word for scripts."""
    exit_code: int
    message: str
    left_behind: str | None = None
    hint: str | None = None

    def document(self) -> dict[str, object]:
        """Return the JSON form."""
        error = {
            "code": self.code,
            "message": self.message,
            "left_behind": self.left_behind,
            "hint": self.hint,
        }
        return {"schema": 1, "error": error}

    def text(self) -> str:
        """Return the form for people: what, what was left behind, what to do."""
        lines = [f"error: {self.message}"]
        if self.left_behind:
            lines.append(f"left behind: {self.left_behind}")
        if self.hint:
            lines.append(f"what to do: {self.hint}")
        return "\n".join(plain(line) for line in lines)


def failure_of(err: BaseException) -> Failure:
    """Say what happened, for any exception that can reach the top."""
    from provisioning.errors import CloudError

    if isinstance(err, LaunchError):
        return Failure(err.code, err.exit_code, err.message, err.left_behind, err.hint)
    if isinstance(err, CloudError):
        return Failure(
            _words(type(err).__name__), _cloud_exit_code(err), err.message, err.left_behind, err.hint
        )
    if isinstance(err, click.exceptions.UsageError):
        return Failure("usage", EXIT_USAGE, _one_line(err.format_message()), hint=_where_help_is(err))
    if isinstance(err, click.ClickException):
        return Failure("usage", EXIT_USAGE, _one_line(err.format_message()))
    if isinstance(err, (KeyboardInterrupt, click.Abort)):
        return Failure("interrupted", EXIT_DETACHED, "left by Ctrl-C")
    return Failure(
        "our_fault",
        EXIT_OUR_FAULT,
        f"launch itself failed: {type(err).__name__}: {_one_line(str(err)) or 'no message'}",
        hint="this is a bug: please report it with the output of the same command and --debug; "
        "`launch ls` shows what is live",
    )


def report(err: BaseException, args: Sequence[str]) -> int:
    """Tell people (and with ``--json`` scripts) what went wrong; return the exit code."""
    ours = list(args[: list(args).index("--")] if "--" in args else args)
    if isinstance(err, Detached):
        click.echo(err.message, err=True)
        return EXIT_DETACHED
    if "--debug" in ours:
        import traceback

        traceback.print_exception(err, file=sys.stderr)
    failure = failure_of(err)
    if "--json" in ours:
        with contextlib.suppress(BrokenPipeError):
            click.echo(json.dumps(failure.document(), ensure_ascii=False))
    click.echo(failure.text(), err=True)
    return failure.exit_code


@contextlib.contextmanager
def nothing_rented() -> Iterator[None]:
    """Add to errors inside of the block what is certain there."""
    from provisioning.errors import CloudError

    try:
        yield
    except (LaunchError, CloudError) as err:
        err.left_behind = err.left_behind or "nothing was rented"
        raise


def _cloud_exit_code(err: BaseException) -> int:
    return next(
        CLOUD_EXIT_CODES[cls.__name__] for cls in type(err).__mro__ if cls.__name__ in CLOUD_EXIT_CODES
    )


def _words(class_name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _where_help_is(err: click.exceptions.UsageError) -> str:
    return f"`{err.ctx.command_path if err.ctx else 'launch'} --help` shows what there is"
