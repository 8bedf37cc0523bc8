"""Fixtures' workings: a machine, and a shell on it."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.remote.ssh.config import Destination, resolve
from launcher.remote.ssh.connection import Connection
from launcher.remote.ssh.host_keys import HostKeys
from launcher.remote.ssh.shell import SshShell
from provisioning import SshAccess
from tests.system.ssh.server import Sshd


def destination_of(machine: Sshd, *, port: int | None = None, user: str | None = None) -> Destination:
    access = SshAccess(host="127.0.0.1", user=user or machine.user, port=port or machine.port)
    environ = {"PATH": os.environ["PATH"], "HOME": str(machine.folder), "LAUNCH_SSH_CONFIG": "/dev/null"}
    return resolve(access, environ=environ, identity=machine.client_key)


def shell_on(
    machine: Sshd,
    *,
    port: int | None = None,
    known_hosts: Path | None = None,
    patience_s: float = 10.0,
    silence_s: float = 15.0,
) -> SshShell:
    """A shell that expects the machine's present host key; not connected yet."""
    destination = destination_of(machine, port=port)
    host_keys = HostKeys(known_hosts or machine.folder / "known_hosts")
    host_keys.pin(destination, [machine.host_key])
    connection = Connection(destination, host_keys, patience_s=patience_s)
    return SshShell(connection, patience_s=patience_s, silence_s=silence_s)
