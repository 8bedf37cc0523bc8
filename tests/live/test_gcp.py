"""One real machine of Compute Engine, the cheapest, for some minutes. Spends money: ``pytest -m live tests/live/test_gcp.py -s``.

Needs a login and a project with the role of ``docs/providers/gcp.md``. Ends what it rents, also when it fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from provisioning import (
    Instance,
    InstanceState,
    Parkable,
    Provider,
    ProviderContext,
    Query,
    SshAccess,
    registry,
)
from provisioning.models import utc_now
from tests.live import machines
from tests.live.machines import rent, wait_for

TYPE = "e2-small"
METADATA = "http://metadata.google.internal/computeMetadata/v1/instance"

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]


def login(provider: Provider, machine: Instance, folder: Path) -> Callable[[str], str]:
    """Wait until the machine lets us in under the host key that it has told; return a way to ask it."""
    wait_for(lambda: provider.get(machine.ref).state is InstanceState.RUNNING, "the machine to run")
    access = provider.get(machine.ref).access
    assert isinstance(access, SshAccess)
    ed25519 = [key for key in access.host_keys if key.startswith("ssh-ed25519 ")]
    access = replace(access, host_keys=tuple(ed25519))

    def told(command: str) -> str:
        return machines.told(access, folder, command)

    wait_for(lambda: told("echo here") == "here\n", "the login")
    return told


def test_rented_reached_by_the_key_that_it_told_parked_started_and_ended(tmp_path: Path) -> None:
    provider = registry.provider("gcp", ProviderContext(home=tmp_path, environ=os.environ))
    assert isinstance(provider, Parkable)
    provider.check()
    offer = provider.offers(Query(instance_type=TYPE, spot=False))[0]
    with rent(provider, offer, tmp_path) as machine:
        told = login(provider, machine, tmp_path)
        assert told(f"curl -s -H 'Metadata-Flavor: Google' {METADATA}/maintenance-event") == "NONE"
        assert told("sudo -n true && echo may") == "may\n"
        told("echo kept > ~/kept && sync")
        provider.park(machine.ref)
        wait_for(lambda: provider.get(machine.ref).state is InstanceState.STOPPED, "the machine to stop")
        deadline = utc_now() + timedelta(minutes=10)
        provider.unpark(machine.ref, deadline)
        told = login(provider, machine, tmp_path)
        assert told("cat ~/kept") == "kept\n"
        assert provider.get(machine.ref).deadline == deadline
        provider.terminate(machine.ref)
        wait_for(lambda: provider.get(machine.ref).state.is_gone, "the machine to be gone")
