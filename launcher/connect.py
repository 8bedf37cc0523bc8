"""From an instance to a way of running jobs on it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from launcher.errors import MachineUnreachable
from launcher.remote.shell import check
from launcher.remote.ssh.config import resolve
from launcher.remote.ssh.connection import Connection
from launcher.remote.ssh.host_keys import HostKeys
from launcher.remote.ssh.shell import SshShell
from launcher.remote.ssh.transfers import transfer_for
from launcher.runners.machines import MachineRunner
from provisioning import Instance, LocalAccess, SshAccess

__all__ = ["runner_for"]

MOST_CONNECTIONS = 512

_runners: dict[tuple[str, Path, str], MachineRunner] = {}
"""One connection per machine for as long as this process lives: opening one takes longer than most questions."""
_lock = threading.Lock()


def runner_for(instance: Instance, *, ssh_folder: Path, environ: Mapping[str, str]) -> MachineRunner:
    """Return a runner on a machine that has an address; the same one again for the same machine.

    ``ssh_folder`` holds keys and known hosts of the run; ``environ`` names the SSH configuration and the agent.

    Raises:
        MachineUnreachable: it has no address, or does not answer.
        MachineRefused, DependencyMissing: it cannot be logged in to.
    """
    access = instance.access
    if isinstance(access, LocalAccess):
        return MachineRunner.local(access)
    if access is None:
        raise MachineUnreachable(f"{instance.ref} is {instance.state.value} and has no address")
    key = (str(instance.ref), ssh_folder, repr(access))
    with _lock:
        if key not in _runners:
            if len(_runners) >= MOST_CONNECTIONS:
                _runners.clear()
            _runners[key] = _over_ssh(access, ssh_folder, environ)
        return _runners[key]


def _over_ssh(access: SshAccess, ssh_folder: Path, environ: Mapping[str, str]) -> MachineRunner:
    own_key = ssh_folder / "id_ed25519"
    destination = resolve(access, environ=environ, identity=own_key if own_key.exists() else None)
    host_keys = HostKeys(ssh_folder / "known_hosts")
    if access.host_keys:
        host_keys.pin(destination, access.host_keys)
    shell = SshShell(Connection(destination, host_keys), environ=access.environ)
    return MachineRunner(
        shell,
        PurePosixPath(access.work_root or _home(shell)),
        transfers=lambda tools, facts: transfer_for(shell, tools, facts),
        is_foreign=True,
    )


def _home(shell: SshShell) -> str:
    told = check(shell.run(["sh", "-c", "cd && pwd -P"]), what="asking for the login's home")
    return told.stdout.decode(errors="surrogateescape").rstrip("\n")
