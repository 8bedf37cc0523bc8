"""From an instance to a way of running jobs on it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from launcher.errors import MachineUnreachable
from launcher.events import Kind, Report
from launcher.remote.shell import check
from launcher.remote.ssh.config import resolve
from launcher.remote.ssh.connection import Connection
from launcher.remote.ssh.host_keys import HostKeys, fingerprint
from launcher.remote.ssh.shell import SshShell
from launcher.remote.ssh.transfers import transfer_for
from launcher.runners.machines import MachineRunner
from provisioning import HostKeyOrigin, Instance, InstanceRef, LocalAccess, SshAccess
from provisioning.registry import provider_class

__all__ = ["runner_for"]

MOST_CONNECTIONS = 512
OWN_PATIENCE_S = 60.0
RENTED_PATIENCE_S = 20.0
"""For how long a machine that stops answering is tried before anything else is done. A rented one has a provider who
knows better: it may be gone without a word, and every minute of waiting is a minute in which nothing is computed."""

_runners: dict[tuple[str, Path, str, bool], MachineRunner] = {}
"""One connection per machine for as long as this process lives: opening one takes longer than most questions."""
_lock = threading.Lock()


def runner_for(
    instance: Instance, *, ssh_folder: Path, environ: Mapping[str, str], report: Report | None = None
) -> MachineRunner:
    """Return a runner on a machine that has an address; the same one again for the same machine.

    ``ssh_folder`` holds keys and known hosts of the run; ``environ`` names the SSH configuration and the agent.
    ``report``: where it is announced that a host key was accepted at first contact; without it none is accepted.

    Raises:
        MachineUnreachable: it has no address, or does not answer.
        MachineRefused, DependencyMissing: it cannot be logged in to.
    """
    access = instance.access
    if isinstance(access, LocalAccess):
        return MachineRunner.local(access)
    if access is None:
        raise MachineUnreachable(f"{instance.ref} is {instance.state.value} and has no address")
    key = (str(instance.ref), ssh_folder, repr(access), report is not None)
    with _lock:
        known = _runners.get(key)
    if known is not None:
        return known
    # Outside of the lock: a machine that does not answer keeps only those waiting who ask for it.
    made = _over_ssh(instance.ref, access, ssh_folder, environ, report)
    with _lock:
        dropped = list(_runners.values()) if len(_runners) >= MOST_CONNECTIONS else []
        if dropped:
            _runners.clear()
        kept = _runners.setdefault(key, made)
    for runner in [*dropped, *([made] if kept is not made else [])]:
        runner.close()
    return kept


def _over_ssh(
    ref: InstanceRef,
    access: SshAccess,
    ssh_folder: Path,
    environ: Mapping[str, str],
    report: Report | None,
) -> MachineRunner:
    own_key = ssh_folder / "id_ed25519"
    destination = resolve(access, environ=environ, identity=own_key if own_key.exists() else None)
    host_keys = HostKeys(ssh_folder / "known_hosts")
    capabilities = provider_class(ref.provider).capabilities
    origin = access.host_key_origin or capabilities.host_keys
    if access.host_keys:
        host_keys.pin(destination, access.host_keys)
        if origin is HostKeyOrigin.FIRST_CONTACT:  # this machine could tell after all
            origin = HostKeyOrigin.TOLD
    elif origin is HostKeyOrigin.FIRST_CONTACT:
        destination = replace(destination, name=_name_of(ref))
    announce = None if report is None else _announcement(ref, report)
    shell = SshShell(
        Connection(destination, host_keys, origin=origin, announce=announce),
        environ=access.environ,
        patience_s=OWN_PATIENCE_S if capabilities.claimed else RENTED_PATIENCE_S,
    )
    # A machine that was just rented has to let us in before it counts as there; one that is claimed has done so.
    home = "" if capabilities.claimed else _home(shell)
    return MachineRunner(
        shell,
        PurePosixPath(access.work_root or home or _home(shell)),
        transfers=lambda tools, facts: transfer_for(shell, tools, facts),
        is_foreign=True,
        may_have_secrets=origin is not HostKeyOrigin.FIRST_CONTACT,
        demands=access.demands,
    )


def _name_of(ref: InstanceRef) -> str:
    """The instance's id as a name for known_hosts: OpenSSH compares those in lower case, and some characters mean more."""
    return re.sub(r"[^a-z0-9._-]", "-", f"{ref.provider}-{ref.location}-{ref.id}".lower())


def _announcement(ref: InstanceRef, report: Report) -> Callable[[str], None]:
    def announce(key: str) -> None:
        shown = fingerprint(key)
        report(
            Kind.INSTANCE,
            f"{ref} shows the host key {shown} at first contact: {ref.provider} can neither be given nor asked for one, "
            "so this one is accepted, and from now on no other",
            ref=str(ref),
            host_key=shown,
        )

    return announce


def _home(shell: SshShell) -> str:
    told = check(shell.run(["sh", "-c", "cd && pwd -P"]), what="asking for the login's home")
    return told.stdout.decode(errors="surrogateescape").rstrip("\n")
