"""From an instance to a way of running jobs on it."""

from __future__ import annotations

from launcher.errors import MachineUnreachable
from launcher.runners.machines import MachineRunner
from provisioning import Instance, LocalAccess

__all__ = ["runner_for"]


def runner_for(instance: Instance) -> MachineRunner:
    """Return a runner on a machine that has an address.

    Raises:
        MachineUnreachable: it has none, or none that this version can reach.
    """
    if isinstance(instance.access, LocalAccess):
        return MachineRunner.local(instance.access)
    raise MachineUnreachable(f"{instance.ref} cannot be reached: its access is {instance.access}")
