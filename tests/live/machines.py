"""What live tests share: a machine that ends itself soon, its ceiling of cost said first, and logins that check its key."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from launcher.forecast.money import HOURS_PER_MONTH
from launcher.remote.ssh.keys import new_host_key, run_public_key
from provisioning import Instance, InstanceSpec, Offer, Provider, SshAccess
from provisioning.models import utc_now

LONGEST = timedelta(minutes=20)
"""The machine ends itself then, whatever becomes of the test."""
DISK_GIB = 8.0


def wait_for(condition: Callable[[], object], what: str, within_s: float = 400.0) -> None:
    give_up_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_at, f"waited {within_s:g} s for {what}"
        time.sleep(3.0)


@contextmanager
def rent(provider: Provider, offer: Offer, folder: Path) -> Iterator[Instance]:
    """Rent it, and end it afterwards, also after a failure."""
    hours = LONGEST / timedelta(hours=1)
    ceiling = hours * (
        offer.usd_per_hour
        + offer.ipv4_usd_per_hour
        + DISK_GIB * offer.disk_usd_per_gib_month / HOURS_PER_MONTH
    )
    print(f"\nat most ${ceiling:.3f}, traffic aside: {offer.instance_type} in {offer.location} for {LONGEST}")
    spec = InstanceSpec(
        run_id=f"live-{os.getpid()}-{int(time.time())}"[:28],
        attempt=1,
        try_number=1,
        home_id="live-test",
        owner="live-test",
        deadline=utc_now() + LONGEST,
        disk_gib=DISK_GIB,
        ssh_public_keys=(run_public_key(folder / "ssh", "live"),),
        host_key=new_host_key(),
        max_usd_per_hour=offer.usd_per_hour,
    )
    try:
        yield provider.create(offer, spec)
    finally:
        for instance in provider.owned(spec.run_id):
            provider.terminate(instance.ref)
        wait_for(lambda: not provider.owned(spec.run_id), "nothing of it to be left")


def told(access: SshAccess, folder: Path, command: str) -> str:
    """What a command says on a machine that shows the key that was made for it; empty where it does not let us in."""
    name = access.host if access.port == 22 else f"[{access.host}]:{access.port}"
    (folder / "known_hosts").write_text(f"{name} {access.host_keys[0]}\n")
    argv = [
        *("ssh", "-F", "/dev/null", "-i", str(folder / "ssh" / "id_ed25519"), "-p", str(access.port)),
        *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"),
        *("-o", f"UserKnownHostsFile={folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes"),
        *(f"{access.user}@{access.host}", command),
    ]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout
