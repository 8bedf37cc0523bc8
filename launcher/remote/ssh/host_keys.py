"""Which host key a machine has to show, decided once for paramiko and OpenSSH: one known_hosts file per run.

A key is expected because the user named it, because the provider told it, because it was made at home and injected,
or, where a machine offers none of these, because it was shown at the first contact. Only the last is learnt from a
connection, and never silently.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING

from launcher.errors import HostKeyRefused, MachineNotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from launcher.remote.ssh.config import Destination

__all__ = ["HostKeys", "fingerprint", "not_ready", "refusal"]


def fingerprint(key: str) -> str:
    """``SHA256:…`` of a public key line (``ssh-ed25519 AAAA…``), as ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class HostKeys:
    """The known_hosts file of one run, and which of its keys have been shown.

    Names in it are literal: ``[host]:port``, or the host alone at port 22; the machine's own name where keys are
    accepted at first contact, since a proxy gives the same address to one machine after another.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, destination: Destination) -> list[str]:
        """Public keys that this machine may show."""
        pairs = (line.partition(" ") for line in _lines(self.path))
        return [key for name, _, key in pairs if name == destination.known_as]

    def pin(self, destination: Destination, keys: Sequence[str]) -> None:
        """Expect one of these keys from now on and no other; a file that is whole at every moment."""
        kept = [_bare(key) for key in keys]
        if kept == self.of(destination):
            return
        with self._alone():
            self._replace(destination, kept)

    def meet(self, destination: Destination, key: str, announce: Callable[[str], None]) -> None:
        """Expect the key that a machine without one has shown; ``announce`` is told of it first.

        Raises:
            HostKeyRefused: another process met the machine meanwhile, and it showed another key there.
        """
        with self._alone():
            expected = self.of(destination)
            if not expected:
                announce(key)
                self._replace(destination, [_bare(key)])
            elif _bare(key) not in expected:
                raise refusal(destination, expected, key)

    def has_shown(self, destination: Destination) -> bool:
        """Whether the machine at this address has ever shown what is expected of it."""
        return not set(self._marks(destination)).isdisjoint(_lines(self._shown))

    def note_shown(self, destination: Destination) -> None:
        """Remember that for good."""
        with self._alone():
            _write(self._shown, dict.fromkeys([*_lines(self._shown), *self._marks(destination)]))

    def _marks(self, destination: Destination) -> list[str]:
        return [f"{destination.known_as} {fingerprint(key)}" for key in self.of(destination)]

    @property
    def _shown(self) -> Path:
        return self.path.with_name(f"{self.path.name}.shown")

    def _replace(self, destination: Destination, keys: Sequence[str]) -> None:
        lines = [line for line in _lines(self.path) if not line.startswith(destination.known_as + " ")]
        _write(self.path, [*lines, *(f"{destination.known_as} {key}" for key in keys)])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The supervisor and a command may meet machines of one run at the same time."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self.path.with_name(f".{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []


def _write(path: Path, lines: Iterable[str]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(descriptor)
    beside.replace(path)


def _bare(key: str) -> str:
    """Type and key without the comment; `ValueError` for what is no public key."""
    kind, _, rest = key.strip().partition(" ")
    blob = rest.split()[0] if rest else ""
    if not kind or not base64.b64decode(blob, validate=True).startswith(len(kind).to_bytes(4, "big")):
        raise ValueError(f"not a public key: {key!r}")
    return f"{kind} {blob}"


def refusal(destination: Destination, expected: Iterable[str], shown: str) -> HostKeyRefused:
    """The error for a machine that shows another key than it should; the caller raises it."""
    wanted = ", ".join(fingerprint(key) for key in expected) or "none"
    return HostKeyRefused(
        f"{destination} shows the host key {fingerprint(shown)}; expected {wanted}",
        left_behind="nothing was sent",
        hint="either the machine was set up anew, or another machine answers at its address: compare with the "
        "fingerprint on the machine itself (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub). If the new key is "
        f"right: ssh-keygen -R '{destination.known_as}', connect once with ssh, and launch again",
    )


def not_ready(destination: Destination, expected: Iterable[str], shown: str) -> MachineNotReady:
    """The error for a machine that does not show its injected key yet: its image's own comes first as it boots."""
    wanted = ", ".join(fingerprint(key) for key in expected)
    return MachineNotReady(
        f"{destination} is not ready: it shows the host key {fingerprint(shown)}, not the one that was made for it "
        f"({wanted})",
        left_behind="nothing was sent",
        hint="it takes its own key while it boots; if it never does, another machine answers at its address",
    )
