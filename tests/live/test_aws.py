"""One real machine of EC2, the cheapest, for some minutes. Spends money: ``pytest -m live tests/live/test_aws.py -s``.

Needs credentials with the policy of ``docs/providers/aws.md``. Ends what it rents, also when it fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioning import Instance, InstanceState, Provider, ProviderContext, Query, SshAccess, registry
from tests.live.machines import rent, told, wait_for

TYPE = "t3.small"

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    return registry.provider("aws", ProviderContext(home=tmp_path, environ=os.environ))


@pytest.fixture
def rented(provider: Provider, tmp_path: Path) -> Iterator[Instance]:
    provider.check()
    with rent(provider, provider.offers(Query(instance_type=TYPE, spot=False))[0], tmp_path) as instance:
        yield instance


def test_rented_reached_by_its_injected_key_and_ended(
    provider: Provider, rented: Instance, tmp_path: Path
) -> None:
    wait_for(lambda: provider.get(rented.ref).state is InstanceState.RUNNING, "the machine to run")
    access = provider.get(rented.ref).access
    assert isinstance(access, SshAccess)
    wait_for(lambda: told(access, tmp_path, "echo here") == "here\n", "the login")
    assert told(access, tmp_path, "systemctl is-active launch-deadline.service") == "active\n"
    armed = int(told(access, tmp_path, "cat /var/lib/launch/deadline"))
    assert armed == int(provider.get(rented.ref).deadline.timestamp())  # type: ignore[union-attr]
    told(access, tmp_path, "sudo -n /var/lib/launch/end")
    wait_for(lambda: provider.get(rented.ref).state.is_gone, "the machine to end itself")
