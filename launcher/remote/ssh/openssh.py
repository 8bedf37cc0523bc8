"""Command lines of OpenSSH under the same rules as our own connection: the run's known_hosts, no questions."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from launcher.remote.ssh.config import Destination

__all__ = ["options", "ssh", "with_terminal"]


def options(destination: Destination, known_hosts: Path) -> list[str]:
    """Options that win over the user's configuration, which still says how the host is reached."""
    settings = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        # Options are split at blanks also when they come as one word, and % introduces a token.
        "UserKnownHostsFile": '"' + str(known_hosts).replace("%", "%%") + '"',
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": destination.known_as,
        "UpdateHostKeys": "no",
        "CheckHostIP": "no",
        # A master connection of the user's would have checked the key by other rules.
        "ControlMaster": "no",
        "ControlPath": "none",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "10",
        "ServerAliveCountMax": "3",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
        "LogLevel": "ERROR",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def ssh(destination: Destination, known_hosts: Path) -> list[str]:
    """``ssh`` with everything but the host and a command."""
    argv = ["ssh", *(["-F", str(destination.config)] if destination.config is not None else [])]
    argv += [*options(destination, known_hosts), "-p", str(destination.port), "-l", destination.user]
    if not destination.use_agent:
        argv += ["-o", "IdentitiesOnly=yes"]
    for identity in destination.identity_files:
        argv += ["-i", str(identity)]
    return argv


def with_terminal(destination: Destination, known_hosts: Path, argv: Sequence[str]) -> list[str]:
    """Run a command on the machine with this terminal as its own."""
    script = f"exec sh -c {shlex.quote('exec ' + shlex.join(argv))}"
    return [*ssh(destination, known_hosts), "-t", "--", destination.alias, script]
