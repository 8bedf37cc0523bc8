"""Command lines for tmux: pure builders that return argument lists and run nothing.

Every stage of a run has a tmux server of its own (``-L``), started without the user's configuration:
no environment leaks from one run into another, a setting of the user's cannot change what happens, and
ending one server touches nobody else.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.remote.layout import RunFolder

__all__ = ["attach", "end", "has_session", "new_session", "socket_name"]

HISTORY_LINES = 20_000
"""What a person who attaches can scroll back; the whole output is in the log segments."""


def socket_name(folder: RunFolder, stage: str) -> str:
    """Name of the server's socket: one per run folder and stage, also when two folders share a computer."""
    digest = hashlib.sha256(f"{folder.root}\0{stage}".encode(errors="surrogateescape")).hexdigest()
    return f"launch-{folder.run_id}-{digest[:8]}"


def new_session(socket: str, session: str, argv: Sequence[str]) -> list[str]:
    """Start ``argv`` in a new detached session; the command ends at once and fails if the session exists.

    The program's folder is the caller's, its environment the one that this command is given.
    """
    # Two words or more are executed directly, a single one would go through the user's login shell.
    program = list(argv) if len(argv) > 1 else ["env", *argv]
    return [
        *_tmux(socket),
        *("start-server", ";"),
        *("set-option", "-g", "history-limit", str(HISTORY_LINES), ";"),
        *("new-session", "-d", "-x", "200", "-y", "50", "-s", session, "--"),
        *map(_word, program),
    ]


def attach(socket: str, session: str) -> list[str]:
    """Show the session on this terminal; detach with the usual keys."""
    return [*_tmux(socket), "attach-session", "-t", _exactly(session)]


def has_session(socket: str, session: str) -> list[str]:
    """Exit code 0 when the session is there, 1 when it is not."""
    return [*_tmux(socket), "has-session", "-t", _exactly(session)]


def end(socket: str) -> list[str]:
    """End the server and whatever it shows, and remove its socket; that there is none is fine."""
    script = 'tmux -L "$1" kill-server 2>/dev/null; rm -f "${TMUX_TMPDIR:-/tmp}/tmux-$(id -u)/$1"'
    return ["sh", "-c", script, "sh", socket]


def _tmux(socket: str) -> list[str]:
    return ["tmux", "-L", socket, "-f", "/dev/null"]


def _exactly(session: str) -> str:
    """Without the sign, tmux would take a prefix or a pattern too."""
    return f"={session}"


def _word(word: str) -> str:
    """tmux ends a command at any word whose last character is a semicolon, unless that is escaped."""
    return word[:-1] + "\\;" if word.endswith(";") else word
