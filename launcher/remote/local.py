"""This computer as a machine: the `Shell` without a network in between."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import MachineUnreachable
from launcher.events import keep_going
from launcher.remote.shell import LISTEN_EVERY_S, Result, unwatched
from provisioning import processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePosixPath
    from typing import IO

    from launcher.events import Listen
    from launcher.remote.shell import OnProgress, Stdin
    from provisioning import LocalAccess

__all__ = ["LocalShell"]

COMMAND_NOT_FOUND = 127
COMMAND_NOT_EXECUTABLE = 126
"""What a POSIX shell answers, and therefore what the same command gives over SSH."""

BLOCK_BYTES = 1 << 20

PASSED_ON = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    }
)
PASSED_ON_PREFIXES = (
    "CUDA_",
    "HIP_",
    "LC_",
    "MKL_",
    "NVIDIA_",
    "OMP_",
    "PIP_",
    "ROCM_",
    "SSL_CERT_",
    "UV_",
    "XDG_",
)
PROXIES = frozenset({"ALL_PROXY", "FTP_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"})


class LocalShell:
    """Commands and files of this computer, as the user of this process.

    Of its environment only what describes the computer is passed on: the supervisor was started by whichever
    command came first, and what was exported there is no business of other runs. The folder of the running interpreter comes first in ``PATH``, so that ``python`` and ``trainer`` are
    those of the environment that ``launch`` is installed in. Costs a fork per `run` and nothing else.
    """

    def __init__(self, access: LocalAccess) -> None:
        self._environ = _machine_environ(access.environ)
        self._power = access.power

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
        """Run a command in a process group of its own; past ``timeout_s`` the whole group is killed."""
        self._reach()
        if cwd is not None and not Path(cwd).is_dir():
            raise FileNotFoundError(2, "no such folder", str(cwd))
        machine = {**self._environ, **(environ or {})}
        program = shutil.which(argv[0], path=machine.get("PATH", os.defpath))
        try:
            process = subprocess.Popen(
                list(argv),
                executable=program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=machine,
                start_new_session=True,
            )
        except FileNotFoundError:
            return _refused(argv, COMMAND_NOT_FOUND, "not found")
        except PermissionError:
            return _refused(argv, COMMAND_NOT_EXECUTABLE, "permission denied")
        with process:
            try:
                self._end_if_off()
                stdout, stderr = _communicate(process, stdin, timeout_s, listen)
            except BaseException as error:
                _kill_group(process)
                process.communicate()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise TimeoutError(f"{argv[0]} had not ended after {timeout_s:g} s") from None
                raise
        return Result(argv=tuple(argv), exit_code=_exit_code(process), stdout=stdout, stderr=stderr)

    def read(self, path: PurePosixPath, *, offset: int = 0, limit: int | None = None) -> bytes:
        """Return the file's bytes from ``offset``, at most ``limit``; empty past the end."""
        self._reach()
        with Path(path).open("rb") as file:
            if offset:
                file.seek(offset)
            return file.read(-1 if limit is None else limit)

    def read_some(self, paths: Sequence[PurePosixPath]) -> list[bytes | None]:
        """Return the whole content of several small files; None for one that cannot be read."""
        self._reach()
        return [_content(Path(path)) for path in paths]

    def write(self, path: PurePosixPath, data: bytes, *, mode: int = 0o644) -> None:
        """Replace a file by ``data`` at once; the bytes are never readable under a wider mode."""
        self._reach()
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(target)
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            beside.replace(target)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def put(self, local: Path, remote: PurePosixPath, *, on_progress: OnProgress = unwatched) -> None:
        """Copy one file, whole or not at all, with its mode and modification time; makes its parents."""
        self._reach()
        _copy(local, Path(remote), on_progress)

    def get(self, remote: PurePosixPath, local: Path, *, on_progress: OnProgress = unwatched) -> None:
        """Copy one file, whole or not at all, with its modification time; makes its parents."""
        self._reach()
        _copy(Path(remote), local, on_progress)

    def with_terminal(self, argv: Sequence[str]) -> list[str]:
        """The command itself."""
        return list(argv)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _end_if_off(self) -> None:
        """End what was started while the machine went off, with all that it has started meanwhile."""
        try:
            self._reach()
        except MachineUnreachable:
            processes.end_all(self._environ[processes.MARK])
            raise

    def _reach(self) -> None:
        if self._power is not None and not self._power.exists():
            raise MachineUnreachable(f"the machine is off: {self._power} is not there")


def _machine_environ(added: Mapping[str, str]) -> dict[str, str]:
    """What describes this computer, and the machine's own; a job's variables are given with the job."""
    inherited = {name: value for name, value in os.environ.items() if _describes_the_computer(name)}
    path = added.get("PATH", inherited.get("PATH", os.defpath))
    return {**inherited, **added, "PATH": os.pathsep.join((str(Path(sys.executable).parent), path))}


def _describes_the_computer(name: str) -> bool:
    return name in PASSED_ON or name.upper() in PROXIES or name.startswith(PASSED_ON_PREFIXES)


def _refused(argv: Sequence[str], exit_code: int, why: str) -> Result:
    return Result(argv=tuple(argv), exit_code=exit_code, stdout=b"", stderr=f"{argv[0]}: {why}\n".encode())


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """As a shell reports it: 128 + n for a command that signal n ended."""
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.tmp")


def _communicate(
    process: subprocess.Popen[bytes], stdin: Stdin, timeout_s: float, listen: Listen
) -> tuple[bytes, bytes]:
    give_up_at = time.monotonic() + timeout_s
    to_send: bytes | None = None
    if isinstance(stdin, bytes):
        to_send = stdin
    else:
        pipe, process.stdin = process.stdin, None
        threading.Thread(target=_feed, args=(pipe, stdin), daemon=True).start()
    while True:
        left_s = max(0.0, give_up_at - time.monotonic())
        try:
            return process.communicate(to_send, timeout=min(left_s, LISTEN_EVERY_S))
        except subprocess.TimeoutExpired:
            if left_s <= LISTEN_EVERY_S:
                raise
        to_send = None  # what has not been taken yet is remembered
        listen()


def _feed(pipe: IO[bytes], pieces: Iterable[bytes]) -> None:
    """Pass on what comes until it ends, or until the command has ended and reads no more."""
    with suppress(BrokenPipeError), pipe:
        for piece in pieces:
            pipe.write(piece)
            pipe.flush()


def _copy(source: Path, target: Path, on_progress: OnProgress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(target)
    try:
        with source.open("rb") as reading, beside.open("wb") as writing:
            done = 0
            while block := reading.read(BLOCK_BYTES):
                done += writing.write(block)
                on_progress(done)
        shutil.copystat(source, beside)
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
