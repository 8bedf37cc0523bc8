"""A machine over SSH, behind the same `Shell` as this computer."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import IO, TYPE_CHECKING, TypeVar

from launcher.errors import MachineUnreachable
from launcher.events import keep_going
from launcher.remote.shell import Result, unwatched
from launcher.remote.ssh import scripts
from launcher.remote.ssh.command import Begun, CommandLine, begun, error_in
from launcher.remote.ssh.exchange import SILENCE_S, exchange
from launcher.remote.ssh.openssh import with_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path, PurePosixPath

    from launcher.events import Listen
    from launcher.remote.shell import OnProgress, Stdin
    from launcher.remote.ssh.connection import Connection

__all__ = ["SshShell"]

Answer = TypeVar("Answer")

BLOCK_BYTES = 1 << 17
MOST_NOISE_BYTES = 1 << 20
"""What a start-up file may print before a command; more is taken for a machine that does not work."""
TRANSFER_TIMEOUT_S = 24 * 3600.0
FILE_TIMEOUT_S = 120.0
BEGIN_S = 60.0
"""From asking for a command to its first sign of life: start-up files on the machine may take their time."""
AGAIN_AFTER_S = 0.5


class SshShell:
    """Commands and files of a machine over one `Connection`; needs nothing there but a POSIX ``sh``.

    `read`, `write`, `put` and `get` are repeated after a cut until ``patience_s`` is over: doing them twice is doing
    them once. A command of `run` is repeated only when it certainly did not begin.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        environ: Mapping[str, str] | None = None,
        patience_s: float = 60.0,
        silence_s: float = SILENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``environ`` is set for every command, and visible in the process list."""
        self.connection = connection
        self.environ = dict(environ or {})
        self._patience_s = patience_s
        self._silence_s = silence_s
        self._sleep = sleep

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
        """Run a command; ``timeout_s`` after it began it is killed with all that shares its process group.

        Raises:
            MachineUnreachable: ``left_behind`` says whether the command may have run.
        """
        stdout, stderr = bytearray(), bytearray()
        exit_code = self.stream(
            argv,
            [stdin] if isinstance(stdin, bytes) else stdin,
            on_stdout=stdout.extend,
            on_stderr=stderr.extend,
            cwd=cwd,
            environ=environ,
            timeout_s=timeout_s,
            listen=listen,
            awaits_stdin=isinstance(stdin, bytes),
        )
        return Result(argv=tuple(argv), exit_code=exit_code, stdout=bytes(stdout), stderr=bytes(stderr))

    def stream(
        self,
        argv: Sequence[str],
        stdin: Iterable[bytes],
        *,
        on_stdout: Callable[[bytes], object],
        on_stderr: Callable[[bytes], object],
        cwd: PurePosixPath | None = None,
        environ: Mapping[str, str] | None = None,
        timeout_s: float = TRANSFER_TIMEOUT_S,
        listen: Listen = keep_going,
        awaits_stdin: bool = True,
    ) -> int:
        """As `run`, with input and output in pieces as they come; ``stdin`` is read in another thread.

        ``awaits_stdin``: it is let go of when this returns, so that it can be read again.
        """
        token = f"launch-{secrets.token_hex(12)}"
        line = CommandLine.of(argv, token=token, cwd=cwd, environ={**self.environ, **(environ or {})})
        output, words = _Output(token, on_stdout), _Output(token, on_stderr, is_stderr=True)
        asked_at = time.monotonic()
        channel = self.connection.channel()
        try:
            exit_code = exchange(
                channel,
                line.login_line,
                _after(line.script, stdin),
                on_stdout=output.take,
                on_stderr=words.take,
                deadline=lambda: output.begun_at + timeout_s if output.begun else asked_at + BEGIN_S,
                silence_s=self._silence_s,
                listen=listen,
                awaits_stdin=awaits_stdin,
            )
        except TimeoutError:
            if output.begun is None:
                raise self._no_commands(f"nothing within {BEGIN_S:g} s") from None
            self._kill(output.begun)
            raise TimeoutError(f"{argv[0]} had not ended after {timeout_s:g} s") from None
        except MachineUnreachable:
            self.connection.close()
            raise
        except Exception:  # of `listen`, or of whoever takes the output: nobody wants it any more
            if output.begun is not None:
                self._kill(output.begun)
            raise
        finally:
            with suppress(EOFError, OSError):
                channel.close()
        return self._verdict(exit_code, output, words, cwd)

    def _verdict(self, exit_code: int, output: _Output, words: _Output, cwd: PurePosixPath | None) -> int:
        if output.begun is None:
            said = (bytes(words.held) or bytes(output.held)).decode(errors="replace").strip()
            raise self._no_commands(said or f"exit code {exit_code}")
        if not output.begun.is_there:
            raise FileNotFoundError(2, "no such folder", str(cwd))
        return exit_code

    def _no_commands(self, why: str) -> MachineUnreachable:
        return MachineUnreachable(
            f"{self.connection.destination} runs no commands for us: {why}",
            left_behind="nothing was run",
            hint="does the login have a shell, and is `sh` on the machine?",
        )

    def _kill(self, running: Begun) -> None:
        with suppress(MachineUnreachable, TimeoutError):
            self.run(["sh", "-c", scripts.KILL_GROUP, "sh", str(running.pid)], timeout_s=10.0)

    # Files.

    def read(self, path: PurePosixPath, *, offset: int = 0, limit: int | None = None) -> bytes:
        """Return the file's bytes from ``offset``, at most ``limit``; empty past the end. One round trip."""
        if limit == 0:
            return b""
        told = (str(path), str(offset), "" if limit is None else str(limit))
        result = self._again(
            lambda: self.run(["sh", "-c", scripts.READ, "sh", *told], timeout_s=FILE_TIMEOUT_S)
        )
        if result.exit_code != 0:
            raise error_in(result.stderr, path)
        return result.stdout

    def read_some(self, paths: Sequence[PurePosixPath]) -> list[bytes | None]:
        """Return the whole content of several small files, in one round trip; None for one that cannot be read."""
        mark = secrets.token_hex(12)
        told = ["sh", "-c", scripts.READ_SOME, "sh", mark, *map(str, paths)]
        output = self._again(lambda: self.run(told, timeout_s=FILE_TIMEOUT_S)).stdout
        contents: list[bytes | None] = []
        for _ in paths:
            content, _, rest = output.partition(mark.encode())
            contents.append(content if rest.startswith(b"+") else None)
            output = rest[2:]  # the sign and the end of its line
        return contents

    def write(self, path: PurePosixPath, data: bytes, *, mode: int = 0o644) -> None:
        """Replace a file by ``data`` at once; the bytes are never readable under a wider mode."""
        self._send(path, lambda: [data], len(data), mode=mode, modified=None)

    def put(self, local: Path, remote: PurePosixPath, *, on_progress: OnProgress = unwatched) -> None:
        """Copy one file, whole or not at all, with its mode and modification time; makes its parents."""
        info = local.stat()
        with local.open("rb") as file:

            def blocks() -> Iterator[bytes]:
                file.seek(0)
                return _blocks(file, info.st_size)

            self._send(
                remote,
                blocks,
                info.st_size,
                mode=info.st_mode & 0o7777,
                modified=info.st_mtime_ns,
                listen=lambda: on_progress(file.tell()),
            )

    def get(self, remote: PurePosixPath, local: Path, *, on_progress: OnProgress = unwatched) -> None:
        """Copy one file, whole or not at all, with its modification time; makes its parents."""
        local.parent.mkdir(parents=True, exist_ok=True)
        beside = local.with_name(f".{local.name[:200]}.{secrets.token_hex(4)}.tmp")
        try:
            modified_ns = self._again(lambda: self._receive(remote, beside, on_progress))
            os.utime(beside, ns=(modified_ns, modified_ns))
            beside.replace(local)
        finally:
            beside.unlink(missing_ok=True)

    def with_terminal(self, argv: Sequence[str]) -> list[str]:
        """A command line of ``ssh``, under the same host key."""
        return with_terminal(self.connection.destination, self.connection.host_keys.path, argv)

    def close(self) -> None:
        """Let go of the connection; the next use opens another."""
        self.connection.close()

    def _send(
        self,
        path: PurePosixPath,
        blocks: Callable[[], Iterable[bytes]],
        size: int,
        *,
        mode: int,
        modified: int | None,
        listen: Listen = keep_going,
    ) -> None:
        beside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
        times = ("", "") if modified is None else _touch_times(modified)
        argv = ["sh", "-c", scripts.WRITE, "sh", str(path), str(beside), f"{mode:o}", str(size), *times]
        words = bytearray()

        def attempt() -> int:
            words.clear()
            return self.stream(argv, blocks(), on_stdout=words.extend, on_stderr=words.extend, listen=listen)

        if self._again(attempt) != 0:
            raise error_in(bytes(words), path)

    def _receive(self, remote: PurePosixPath, beside: Path, on_progress: OnProgress) -> int:
        """Write the content to ``beside``; return its time of modification on the machine."""
        words, head = bytearray(), bytearray()
        with beside.open("wb") as file:

            def take(data: bytes) -> None:
                if b"\n" in head:
                    file.write(data)
                    return
                head.extend(data)
                line, newline, rest = bytes(head).partition(b"\n")
                if newline:
                    head[:] = line + newline
                    file.write(rest)

            argv = ["sh", "-c", scripts.GET, "sh", str(remote)]
            ended = self.stream(
                argv,
                [],
                on_stdout=take,
                on_stderr=words.extend,
                listen=lambda: on_progress(file.tell()),
            )
            if ended != 0:
                raise error_in(bytes(words), remote)
        seconds, _, fraction = head.decode().strip().partition(".")
        return int(seconds) * 10**9 + int((fraction or "0").ljust(9, "0")[:9])

    def _again(self, act: Callable[[], Answer]) -> Answer:
        """Repeat what a cut has interrupted, as long as the patience lasts."""
        give_up_at = time.monotonic() + self._patience_s
        while True:
            try:
                return act()
            except MachineUnreachable:
                if self.connection.gave_up_lately or time.monotonic() + AGAIN_AFTER_S >= give_up_at:
                    raise
            self._sleep(AGAIN_AFTER_S)


class _Output:
    """One output of a command: holds back what comes before our line, and passes on what follows it."""

    def __init__(self, token: str, pass_on: Callable[[bytes], object], *, is_stderr: bool = False) -> None:
        self._token = token
        self._pass_on = pass_on
        self._is_stderr = is_stderr
        self.held = bytearray()
        self.begun: Begun | None = None
        self.begun_at = 0.0
        self._passes = False

    def take(self, data: bytes) -> None:
        """Take the next piece."""
        if self._passes:
            self._pass_on(data)
            return
        self.held.extend(data)
        end = self._end_of_line()
        if end is not None:
            self._passes, self.begun_at = True, time.monotonic()
            if len(self.held) > end:
                self._pass_on(bytes(self.held[end:]))
            self.held.clear()
        elif len(self.held) > MOST_NOISE_BYTES:
            raise MachineUnreachable("the machine prints without end before any command of ours")

    def _end_of_line(self) -> int | None:
        if self._is_stderr:
            line = self._token.encode() + b"\n"
            at = self.held.find(line)
            return None if at < 0 else at + len(line)
        self.begun = begun(bytes(self.held), self._token)
        return self.begun.length if self.begun else None


def _after(script: bytes, stdin: Iterable[bytes]) -> Iterator[bytes]:
    yield script
    yield from stdin


def _blocks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The first ``size`` bytes."""
    while size > 0 and (block := file.read(min(size, BLOCK_BYTES))):
        size -= len(block)
        yield block


def _touch_times(modified_ns: int) -> tuple[str, str]:
    """For ``touch -d`` with all digits, and for ``touch -t`` in whole seconds."""
    seconds, nanoseconds = divmod(modified_ns, 10**9)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z", f"{moment:%Y%m%d%H%M.%S}"
