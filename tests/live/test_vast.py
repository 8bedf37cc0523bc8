"""One real instance of Vast.ai, the cheapest, for some minutes. Spends money: ``pytest -m live tests/live/test_vast.py -s``.

Needs a key as ``docs/providers/vast.md`` says. Ends what it rents, also when it fails. It answers what no document does:
whether the container's key may read its own label, and whether sshd shows the key that ``onstart`` has put there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioning import Instance, Provider, ProviderContext, Query, SshAccess, registry
from tests.live.machines import rent, told, wait_for

MOST_USD_PER_HOUR = 0.30
LOADS_WITHIN_S = 1000.0

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    return registry.provider("vast", ProviderContext(home=tmp_path, environ=os.environ))


@pytest.fixture
def rented(provider: Provider, tmp_path: Path) -> Iterator[Instance]:
    provider.check()
    offer = provider.offers(Query(spot=False, max_usd_per_hour=MOST_USD_PER_HOUR))[0]
    with rent(provider, offer, tmp_path) as instance:
        yield instance


def test_rented_reached_by_its_injected_key_and_ended(
    provider: Provider, rented: Instance, tmp_path: Path
) -> None:
    wait_for(lambda: provider.get(rented.ref).access is not None, "the container", LOADS_WITHIN_S)
    access = provider.get(rented.ref).access
    assert isinstance(access, SshAccess)
    assert access.host_keys, "a port of its own"
    wait_for(lambda: told(access, tmp_path, "echo here") == "here\n", "the login, without words of welcome")
    deadline = provider.get(rented.ref).deadline
    assert deadline is not None
    assert int(told(access, tmp_path, "cat /var/lib/launch/deadline")) == int(deadline.timestamp())
    ask = (
        """sh -c '. /var/lib/launch/call && call GET "" | grep -o launch:1: | head -n1' /var/lib/launch/end"""
    )
    read = told(access, tmp_path, ask)
    assert read == "launch:1:\n", "the container's own key reads the label"
    told(access, tmp_path, "/var/lib/launch/end end")
    wait_for(lambda: provider.get(rented.ref).state.is_gone, "the instance to end itself")
