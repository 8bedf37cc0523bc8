"""How a command travels: a constant command line for whatever login shell there is, the words themselves on stdin.

``csh`` and ``fish`` quote otherwise than ``sh``, and a start-up file may print what nobody asked for. So the login
shell is only ever told ``exec sh -c '…'``, without a character that any shell reads differently. That ``sh`` reads
the script from the first bytes of standard input; what follows them is the command's own input. A line of ours on
both outputs marks where the command's output begins.
"""

from __future__ import annotations

import errno
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import PurePosixPath

__all__ = ["Begun", "CommandLine", "begun", "error_in"]

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

LOGIN_LINE = "exec sh -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'"
"""``dd`` with a block of one byte is the one tool that never reads further than it was told."""

SYSTEM_WORDS = {
    "No such file": errno.ENOENT,
    "nonexistent directory": errno.ENOENT,
    "Permission denied": errno.EACCES,
    "Operation not permitted": errno.EPERM,
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
    "Not a directory": errno.ENOTDIR,
    "Is a directory": errno.EISDIR,
    "No such process": errno.ESRCH,
    "File name too long": errno.ENAMETOOLONG,
}
"""What tools say under ``LC_ALL=C``, on Linux and macOS."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command on its way: what the login shell is told, and what comes first on standard input."""

    login_line: str
    script: bytes

    @classmethod
    def of(
        cls,
        argv: Sequence[str],
        *,
        token: str,
        cwd: PurePosixPath | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> CommandLine:
        """Quote a command, once. ``token`` is unguessable and marks where its output begins."""
        words = " ".join(_quoted(word) for word in argv)
        exports = "".join(
            f"export {_name(name)}={_quoted(value)}\n" for name, value in (environ or {}).items()
        )
        enter = "s=ok" if cwd is None else f"cd -- {_quoted(str(cwd))} 2>/dev/null && s=ok || s=nowhere"
        # The shell stays, as parent of the command: so the exit code after a signal is 128 + n and not unknown.
        # When nobody listens any more, the first line cannot be written and nothing is run.
        tell = f"echo {token} $$ $s || exit 1\necho {token} >&2 || exit 1\n[ $s = ok ] || exit 1"
        script = f"{enter}\n{tell}\n{exports}{words}\nexit $?\n"
        encoded = script.encode(errors="surrogateescape")
        return cls(LOGIN_LINE.format(len(encoded)), encoded)


@dataclass(frozen=True, slots=True)
class Begun:
    """The line that a command's output begins with."""

    pid: int
    """Of the process group that holds the command."""
    is_there: bool
    """The folder that it was to run in exists."""
    length: int
    """How many bytes come before the command's own output."""


def begun(output: bytes, token: str) -> Begun | None:
    """Find our line in what a command printed; None while it has not come."""
    found = re.search(rb"%s (\d+) (\w+)\n" % token.encode(), output)
    return Begun(int(found[1]), found[2] == b"ok", found.end()) if found else None


def error_in(words: bytes, path: PurePosixPath | str) -> OSError:
    """The error that a tool's last words name, as Python would raise it for ``path``."""
    text = words.decode(errors="replace").strip()
    for phrase, number in SYSTEM_WORDS.items():
        if phrase.lower() in text.lower():
            return OSError(number, phrase, str(path))
    return OSError(errno.EIO, text.splitlines()[-1] if text else "the machine gave no reason", str(path))


def _quoted(word: str) -> str:
    if "\0" in word:
        raise ValueError(f"a command cannot hold a NUL character: {word!r}")
    return shlex.quote(word)


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"not the name of an environment variable: {name!r}")
    return name
