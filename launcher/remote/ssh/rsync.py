"""rsync over OpenSSH with the run's known hosts: only what differs travels, and a cut costs nothing that was there."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from launcher.errors import (
    FetchError,
    HostKeyRefused,
    MachineFull,
    MachineRefused,
    MachineUnreachable,
    PlacementError,
)
from launcher.remote.shell import LISTEN_EVERY_S
from launcher.remote.ssh.openssh import ssh
from launcher.remote.transfer import Sent, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path, PurePosixPath

    from launcher.remote.shell import OnProgress
    from launcher.remote.ssh.shell import SshShell

__all__ = ["Rsync", "UncleanShell", "is_rsync", "local_rsync"]

STALL_S = 60
"""After so long without a byte rsync gives up, and is started again."""
GO_ON = "--append-verify"
"""What is there of a file counts as its beginning, and the whole is verified by rsync in the end. Without it rsync searches
what is there for every part of what is not: a file of 3 GB of which 0.7 GB were there took 75 s instead of 13 s."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
FRUITLESS_TRIES = 6
"""So often in a row without one byte more, then the machine counts as unreachable."""

PARTLY = (23, 24)
"""Some files could not be read, or are gone: the caller compares what came."""
CUT = (10, 12, 30, 35, 255, -signal.SIGPIPE)
WORDS_KEPT = 4000
PROGRESS = re.compile(rb"^\s*([\d,]+)\s+\d+%")
TRANSFERRED = re.compile(r"Number of (?:regular )?files transferred: ([\d,.]+)")
TRANSFERRED_BYTES = re.compile(r"Total transferred file size: ([\d,.]+)")


class UncleanShell(Exception):
    """The login prints something before every command, or has no rsync after all: rsync cannot talk to it."""


def is_rsync(version: str) -> bool:
    """Whether ``rsync --version`` is that of an rsync whose options we use (3.1 or later; openrsync has few of them)."""
    found = re.match(r"rsync\s+version v?(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= (3, 1)


def local_rsync() -> str | None:
    """The path of a usable rsync on this computer."""
    program = shutil.which("rsync")
    if program is None:
        return None
    told = subprocess.run(
        [program, "--version"], capture_output=True, text=True, errors="replace", check=False
    )
    return program if is_rsync(told.stdout) else None


class Rsync:
    """Moves files with the rsync of both ends."""

    def __init__(
        self,
        program: str,
        shell: SshShell,
        *,
        stall_s: int = STALL_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._program = program
        self._shell = shell
        self._connection = shell.connection
        self._stall_s = stall_s
        self._sleep = sleep

    def send(self, source: Path, target: PurePosixPath, on_progress: OnProgress) -> Sent:
        """See `launcher.remote.transfer.Transfer.send`."""
        folder = target if source.is_dir() else target.parent
        made = self._shell.run(["mkdir", "-p", "--", str(folder)])
        if made.exit_code != 0:
            raise PlacementError(f"{folder} cannot be made: {made.stderr.decode(errors='replace').strip()}")
        from_here, there = str(source), str(target)
        if source.is_dir():
            from_here, there = from_here + "/", there + "/"
        options = [
            "--recursive",
            "--links",
            "--copy-unsafe-links",
            "--perms",
            "--times",
            "--delete",
            "--stats",
        ]
        paths = ["--", from_here, self._remote(there)]
        said = self._until_done(
            [*options, *paths], on_progress, PlacementError, go_on=[*options, GO_ON, *paths]
        )
        return Sent(_number(TRANSFERRED, said), _number(TRANSFERRED_BYTES, said))

    def bring(self, root: PurePosixPath, names: Sequence[str], dest: Path, on_progress: OnProgress) -> None:
        """See `launcher.remote.transfer.Transfer.bring`."""
        dest.mkdir(parents=True, exist_ok=True)
        # The files that were listed may lie behind links of ours in the working folder.
        options = ["--copy-links", "--perms", "--chmod=u+rw", "--times", "--from0", "--ignore-missing-args"]
        with tempfile.TemporaryFile() as listing:
            listing.write(b"\0".join(os.fsencode(name) for name in names))
            self._until_done(
                [*options, "--files-from=-", "--", self._remote(f"{root}/"), f"{dest}/"],
                on_progress,
                FetchError,
                listing,
            )

    def _remote(self, path: str) -> str:
        alias = self._connection.destination.alias
        return f"[{alias}]:{path}" if ":" in alias else f"{alias}:{path}"

    def _until_done(
        self,
        arguments: Sequence[str],
        on_progress: OnProgress,
        error: type[PlacementError] | type[FetchError],
        stdin: IO[bytes] | None = None,
        *,
        go_on: Sequence[str] | None = None,
    ) -> str:
        """Run it, and run it again after a cut, as long as each time brings something.

        ``go_on``: what is run after a cut. It may pass over what it cannot go on with, so the first form has the last word.
        """
        pause_s, fruitless, most = FIRST_PAUSE_S, 0, 0
        moved = 0

        def progress(done: int) -> None:
            nonlocal moved
            moved = done
            on_progress(done)

        def listen() -> None:
            on_progress(moved)

        was_cut, earlier = False, ""
        while True:
            moved = 0
            goes_on = was_cut and go_on is not None
            code, said, words = self._once(go_on if goes_on and go_on else arguments, progress, stdin)
            if code == 0 or code in PARTLY:
                _raise_full_disk(words, error)
                if not goes_on:
                    return earlier + said
                was_cut, earlier = False, earlier + said
                continue
            was_cut = True
            self._raise_what_stays(code, words, error)
            fruitless = 0 if moved > most else fruitless + 1
            pause_s = FIRST_PAUSE_S if moved > most else min(2 * pause_s, LONGEST_PAUSE_S)
            most = max(most, moved)
            if fruitless >= FRUITLESS_TRIES:
                raise MachineUnreachable(
                    f"{self._connection.destination} could not be reached for a transfer: {_last(words)}",
                    left_behind="what has arrived stays there and is not sent again",
                )
            pause(pause_s, listen, self._sleep)

    def _once(
        self, arguments: Sequence[str], on_progress: OnProgress, stdin: IO[bytes] | None
    ) -> tuple[int, str, str]:
        """Exit code, standard output without progress, and the last words."""
        if stdin is not None:
            stdin.seek(0)
        remote_shell = " ".join(
            map(_word, ssh(self._connection.destination, self._connection.host_keys.path))
        )
        argv = [self._program, "--protect-args", "--partial", "--inplace", f"--timeout={self._stall_s}"]
        argv += ["--info=progress2", "--no-human-readable", "--outbuf=N", "-e", remote_shell, *arguments]
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                argv,
                stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            ) as process,
        ):
            try:
                assert process.stdout is not None
                said = _follow(process.stdout, on_progress)
                code = process.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                raise
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - WORDS_KEPT))
            return code, said, errors.read().decode(errors="replace").strip()

    def _raise_what_stays(
        self, code: int, words: str, error: type[PlacementError] | type[FetchError]
    ) -> None:
        """Raise for what trying again does not change."""
        destination = self._connection.destination
        if "host key verification failed" in words.lower():
            raise HostKeyRefused(
                f"{destination} shows another host key than before", left_behind="nothing was sent to it"
            )
        if code == 255 and "permission denied" in words.lower():
            raise MachineRefused(f"{destination} refused the login: {_last(words)}")
        if code == 127 or "is your shell clean" in words or "command not found" in words:
            raise UncleanShell(words)
        _raise_full_disk(words, error)
        if code not in CUT:
            raise error(f"rsync ended with exit code {code}: {_last(words)}")


def _follow(stdout: IO[bytes], on_progress: OnProgress) -> str:
    """Read to the end; progress is what comes between carriage returns."""
    kept, line, done = bytearray(), b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(LISTEN_EVERY_S):
                on_progress(done)
                continue
            chunk = os.read(stdout.fileno(), 1 << 16)
            if not chunk:
                break
            *lines, line = (line + chunk).replace(b"\n", b"\n\r").split(b"\r")
            for one in lines:
                found = PROGRESS.match(one)
                if found:
                    done = int(found[1].replace(b",", b""))
                    on_progress(done)
                else:
                    kept += one
    return (bytes(kept) + line).decode(errors="replace")


def _raise_full_disk(words: str, error: type[PlacementError] | type[FetchError]) -> None:
    for line in words.splitlines():
        if "No space left on device" in line or "Disk quota exceeded" in line:
            where = "at home" if error is FetchError else "on the machine"
            full = FetchError if error is FetchError else MachineFull
            raise full(
                f"there is no room left {where}: {line.strip()}",
                left_behind="what has arrived stays there and is not sent again",
                hint="make room and try again"
                if error is FetchError
                else "ask for a larger disk, or make room there",
            )


def _last(words: str) -> str:
    """The line that says most: rsync ends with a summary of its own."""
    lines = [line for line in words.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("rsync error:")]
    return (telling or lines or ["no reason given"])[-1]


def _number(pattern: re.Pattern[str], text: str) -> int:
    return sum(int(re.sub(r"\D", "", found[1])) for found in pattern.finditer(text))


def _word(word: str) -> str:
    """As rsync's ``-e`` reads it: quotes hold words together, and are doubled to stand for themselves."""
    return "'" + word.replace("'", "''") + "'"
