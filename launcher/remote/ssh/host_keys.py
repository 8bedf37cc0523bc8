"""Whose key a machine must show: one known_hosts file per run, read by paramiko and by OpenSSH alike.

A key gets into it from the provider, from ``~/.ssh/known_hosts``, from a fingerprint on the command line, or
because it was made at home and injected. Nothing is ever learnt silently from the connection itself.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

from launcher.errors import HostKeyRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from launcher.remote.ssh.config import Destination

__all__ = ["HostKeys", "fingerprint", "refusal"]


def fingerprint(key: str) -> str:
    """``SHA256:…`` of a public key line (``ssh-ed25519 AAAA…``), as ``ssh-keygen -l`` prints it."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class HostKeys:
    """The known_hosts file of one run. Names in it are literal: ``[host]:port``, or the host alone at port 22."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of(self, destination: Destination) -> list[str]:
        """Public keys that this machine may show."""
        try:
            lines = self.path.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []
        pairs = (line.partition(" ") for line in lines)
        return [key for name, _, key in pairs if name == destination.known_as]

    def pin(self, destination: Destination, keys: Sequence[str]) -> None:
        """Expect one of these keys from now on and no other; a file that is whole at every moment."""
        kept = [_bare(key) for key in keys]
        if kept == self.of(destination):
            return
        lines = [line for line in self._lines() if not line.startswith(destination.known_as + " ")]
        lines += [f"{destination.known_as} {key}" for key in kept]
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
        beside.replace(self.path)

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="ascii").splitlines() if self.path.exists() else []


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
