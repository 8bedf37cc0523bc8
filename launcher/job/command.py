"""From an argument list to a line of shell that runs exactly it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from launcher.job.problem import FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["shell_line"]

_KEYWORDS = frozenset(
    [
        "case",
        "coproc",
        "do",
        "done",
        "elif",
        "else",
        "esac",
        "fi",
        "for",
        "function",
        "if",
        "in",
        "select",
        "then",
        "until",
        "while",
    ]
)


def shell_line(argv: Sequence[str]) -> str:
    """Return a line for ``bash -c`` that runs ``argv`` with every argument byte for byte.

    Raises:
        FieldError: there is no command, or it starts with an assignment, which only a shell would understand.
    """
    if not argv or not argv[0]:
        raise FieldError("there is no command", path=("run",), hint="launch [options] -- python train.py")
    first, *rest = argv
    if re.match(r"[A-Za-z_]\w*\+?=", first):
        raise FieldError(
            f"{first!r} is an assignment, not a program",
            path=("run",),
            hint=f"launch --env {shlex.quote(first)} -- …",
        )
    head = f"'{first}'" if first in _KEYWORDS else shlex.quote(first)
    return " ".join([head, *(shlex.quote(argument) for argument in rest)])
