"""The seam to one machine: run a command, move bytes. Local and SSH shells behave alike.

Commands are argument lists, never strings: quoting happens in one place, inside the shell. Paths on the
machine are absolute `PurePosixPath`s and may hold any character but NUL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from launcher.errors import CommandFailed
from launcher.events import keep_going

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from launcher.events import Listen

__all__ = ["LISTEN_EVERY_S", "OnProgress", "Result", "Shell", "Stdin", "check", "unwatched"]

LISTEN_EVERY_S = 1.0
"""How long work that takes its time is deaf to what others have to say."""

OnProgress = Callable[[int], None]
"""Told about once a second, in the caller's thread, how many bytes are there by now, also when nothing moves.

What it raises ends the transfer and is passed on; what has arrived is kept where the way of moving can go on with it.
"""


Stdin = bytes | Iterable[bytes]
"""What a command reads: all of it, or pieces that are taken one by one in another thread until the command ends.

Whoever still has pieces then is not waited for.
"""


def unwatched(_: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command left: its exit code and its whole output."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes


class Shell(Protocol):
    """One machine.

    Every method raises `MachineUnreachable` when the connection cannot be had within its deadline, and
    ``FileNotFoundError``, ``PermissionError`` or another ``OSError`` with the remote path for what the
    machine's file system refuses.
    """

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Stdin = b"",
        cwd: PurePosixPath | None = None,
        environ: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        listen: Listen = keep_going,
    ) -> Result:
        """Run a command to its end and return its exit code, whatever it is.

        As a POSIX shell has it: 127 for a command that is not there, 126 for one that may not be executed, 128 + n
        for one that signal n ended. `FileNotFoundError` when ``cwd`` is not there. ``environ`` is added to the
        machine's own and is visible there in the process list: secrets travel on ``stdin``.

        `TimeoutError` when it has not ended after ``timeout_s``; it is killed then with its children, where possible,
        and so it is when ``listen`` raises something.
        """

    def read(self, path: PurePosixPath, *, offset: int = 0, limit: int | None = None) -> bytes:
        """Return the file's bytes from ``offset``, at most ``limit``; empty past the end."""

    def read_some(self, paths: Sequence[PurePosixPath]) -> list[bytes | None]:
        """Return the whole content of several small files, in one go; None for one that cannot be read."""

    def write(self, path: PurePosixPath, data: bytes, *, mode: int = 0o644) -> None:
        """Replace a file by ``data`` at once (beside, then rename), making its parents; private modes from the first byte."""

    def put(self, local: Path, remote: PurePosixPath, *, on_progress: OnProgress = unwatched) -> None:
        """Copy one local file to the machine, whole or not at all, with its mode and modification time, making its parents."""

    def get(self, remote: PurePosixPath, local: Path, *, on_progress: OnProgress = unwatched) -> None:
        """Copy one file from the machine, whole or not at all, with its modification time, making its parents."""

    def with_terminal(self, argv: Sequence[str]) -> list[str]:
        """Return the command that, run on this computer, runs ``argv`` on the machine with this terminal."""

    def close(self) -> None:
        """Let go of the connection; what runs on the machine goes on. Closing twice is fine."""


def check(result: Result, *, what: str, hint: str | None = None) -> Result:
    """Return ``result`` if the command succeeded, else raise `CommandFailed` with its last words."""
    if result.exit_code == 0:
        return result
    output = (result.stderr or result.stdout).decode(errors="replace").strip()
    last = output.splitlines()[-1] if output else "no output"
    raise CommandFailed(
        f"{what} failed with exit code {result.exit_code}: {last}",
        exit_code_of_command=result.exit_code,
        output=output,
        hint=hint,
    )
