"""One real machine of EC2, the cheapest, for some minutes. Spends money: ``pytest -m live tests/live/test_aws.py -s``.

Needs credentials with the policy of ``docs/providers/aws.md``. Ends what it rents, also when it fails.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from launcher.remote.ssh.keys import new_host_key, run_public_key
from provisioning import (
    Instance,
    InstanceSpec,
    InstanceState,
    Provider,
    ProviderContext,
    Query,
    SshAccess,
    registry,
)
from provisioning.models import utc_now

TYPE = "t3.small"
LONGEST = timedelta(minutes=20)
"""The machine ends itself then, whatever becomes of this test."""
DISK_GIB = 8.0

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    return registry.provider("aws", ProviderContext(home=tmp_path, environ=os.environ))


@pytest.fixture
def rented(provider: Provider, tmp_path: Path) -> Iterator[Instance]:
    provider.check()
    offer = provider.offers(Query(instance_type=TYPE, spot=False))[0]
    hours = LONGEST / timedelta(hours=1)
    ceiling = (
        hours * (offer.usd_per_hour + offer.ipv4_usd_per_hour)
        + DISK_GIB * offer.disk_usd_per_gib_month * hours / 730
    )
    print(f"\nat most ${ceiling:.3f}: {TYPE} in {offer.zone} for {LONGEST}, its disk and its address")
    spec = InstanceSpec(
        run_id=f"live-{os.getpid()}-{int(time.time())}"[:28],
        attempt=1,
        try_number=1,
        home_id="live-test",
        owner="live-test",
        deadline=utc_now() + LONGEST,
        disk_gib=DISK_GIB,
        ssh_public_keys=(run_public_key(tmp_path / "ssh", "live"),),
        host_key=new_host_key(),
        max_usd_per_hour=offer.usd_per_hour,
    )
    try:
        yield provider.create(offer, spec)
    finally:
        for instance in provider.owned(spec.run_id):
            provider.terminate(instance.ref)
        wait_for(lambda: not provider.owned(spec.run_id), "nothing of it to be left")


def wait_for(condition: object, what: str, within_s: float = 400.0) -> None:
    assert callable(condition)
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, f"waited {within_s:g} s for {what}"
        time.sleep(3.0)


def test_rented_reached_by_its_injected_key_and_ended(
    provider: Provider, rented: Instance, tmp_path: Path
) -> None:
    wait_for(lambda: provider.get(rented.ref).state is InstanceState.RUNNING, "the machine to run")
    access = provider.get(rented.ref).access
    assert isinstance(access, SshAccess)
    (tmp_path / "known_hosts").write_text(f"{access.host} {access.host_keys[0]}\n")
    options = [
        *("-i", str(tmp_path / "ssh" / "id_ed25519"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", f"UserKnownHostsFile={tmp_path / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "ConnectTimeout=5", "-F", "/dev/null"),
    ]

    def told(command: str) -> str:
        argv = ["ssh", *options, f"{access.user}@{access.host}", command]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout

    wait_for(lambda: told("echo here") == "here\n", "the login")
    assert told("systemctl is-active launch-deadline.service") == "active\n"
    assert int(told("cat /var/lib/launch/deadline")) == int(provider.get(rented.ref).deadline.timestamp())  # type: ignore[union-attr]
    told("sudo -n /var/lib/launch/end")
    wait_for(lambda: provider.get(rented.ref).state.is_gone, "the machine to end itself")
