"""A connection through a command: ``ProxyCommand`` and ``ProxyJump`` of the SSH configuration.

The command gets one end of a socket pair as its input and output, paramiko the other. Its own ``ProxyCommand`` reads
from a pipe instead and takes the command's end for silence; it also leaves the process behind when it closes.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile

__all__ = ["ProxyProcess"]

LEAVE_S = 2.0
"""A command that does not end within this time after its connection was closed is killed."""
MOST_WORDS = 500


class ProxyProcess:
    """The running command and our end of its connection."""

    def __init__(self, command: str) -> None:
        """Start the command as OpenSSH does, through a shell that gives way to it."""
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._words,
            )

    def complaint(self) -> str:
        """The newest words of the command on its standard error; empty when it said nothing."""
        if self._words.closed:
            return ""
        self._words.seek(0)
        return self._words.read().decode(errors="replace").strip()[-MOST_WORDS:]

    def end(self) -> None:
        """Close the connection and see the process gone; more than once does no harm."""
        self.socket.close()
        self._process.terminate()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(LEAVE_S)
        self._words.close()
