"""``onstart`` in real containers: who gets in, which key is shown, and who ends it all when nobody is at home."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from launcher.remote.ssh.keys import new_host_key
from provisioning import InstanceRef, InstanceSpec, ProviderContext, Query, SshAccess, WhenUnattended
from provisioning.models import utc_now
from provisioning.vast.provider import VastProvider
from tests.provisioning.machines import spec
from tests.provisioning.vast.cloud import VastCloud
from tests.system.house import eventually
from tests.system.ssh.server import keygen
from tests.system.vast.containers import Containers

Rent = Callable[[InstanceSpec], InstanceRef]


@pytest.fixture
def provider(cloud: VastCloud, tmp_path: Path) -> VastProvider:
    options = {"ssh_user": getpass.getuser()}
    return VastProvider(ProviderContext(home=tmp_path / "home", environ=cloud.environ(), options=options))


@pytest.fixture
def rent(provider: VastProvider, containers: Containers) -> Rent:
    def rent(told: InstanceSpec) -> InstanceRef:
        offer = provider.offers(Query(gpu_name="RTX 4090", spot=True))[0]
        ref = provider.create(offer, told).ref
        eventually(lambda: provider.get(ref).access is not None, "a container")
        return ref

    return rent


def login(access: SshAccess, key: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Log in as OpenSSH does that knows one host key and no other."""
    (known := key.with_name("known_hosts")).write_text(
        "".join(f"[{access.host}]:{access.port} {host_key}\n" for host_key in access.host_keys)
    )
    strict = (
        "StrictHostKeyChecking=yes",
        f"UserKnownHostsFile={known}",
        "BatchMode=yes",
        "IdentitiesOnly=yes",
    )
    argv = ["ssh", "-F", "/dev/null", "-i", str(key), *(word for one in strict for word in ("-o", one))]
    argv += ["-p", str(access.port), f"{access.user}@{access.host}", "--", *command]
    return subprocess.run(
        argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )


def test_the_runs_key_gets_in_and_the_key_from_home_is_shown(
    provider: VastProvider, cloud: VastCloud, containers: Containers, rent: Rent, tmp_path: Path
) -> None:
    public = keygen(tmp_path / "run")
    ref = rent(spec(host_key=new_host_key(), ssh_public_keys=(public, "ssh-rsa AAAA o'brien@home")))
    access = provider.get(ref).access
    assert isinstance(access, SshAccess)
    said = eventually(lambda: login(access, tmp_path / "run", "echo", "in").stdout, "a login")
    assert said == "in\n", "no tmux, no words of welcome"
    allowed = containers.home_of(ref.id) / ".ssh" / "authorized_keys"
    assert allowed.read_text() == f"{public}\nssh-rsa AAAA o'brien@home\n"
    cloud.outbid(ref.id)
    cloud.win_again(ref.id)
    eventually(lambda: provider.get(ref).access is not None, "the container's second start")
    assert allowed.read_text() == f"{public}\nssh-rsa AAAA o'brien@home\n", (
        "the script may run again and again"
    )
    again = provider.get(ref).access
    assert isinstance(again, SshAccess)
    assert eventually(lambda: login(again, tmp_path / "run", "echo", "in").stdout, "a login") == "in\n"


@pytest.mark.parametrize(
    ("at_its_end", "stays"), [(WhenUnattended.LINGER, False), (WhenUnattended.PARK, True)]
)
def test_the_deadline_is_carried_out_by_the_containers_own_key(
    cloud: VastCloud, rent: Rent, at_its_end: WhenUnattended, stays: bool
) -> None:
    ref = rent(spec(deadline=utc_now(), when_unattended=at_its_end))
    ended = eventually(
        lambda: [c for c in cloud.calls if c.method in ("DELETE", "PUT") and c.id == ref.id], "its end"
    )
    assert ended[0].key == f"container-key-{ref.id}"
    assert ended[0].body == ({"state": "stopped"} if stays else {})
    assert (int(ref.id) in cloud.instances) is stays


def test_a_parked_bid_that_wins_again_stops_itself_and_a_new_deadline_is_heard_of(
    provider: VastProvider, cloud: VastCloud, containers: Containers, rent: Rent
) -> None:
    ref = rent(spec(when_unattended=WhenUnattended.PARK))
    cloud.outbid(ref.id)
    provider.park(ref)
    cloud.win_again(ref.id)
    eventually(lambda: provider.get(ref).access is not None or True, "a look that lets it start")
    stopped = [{"state": "stopped"}]
    eventually(
        lambda: (
            [c.body for c in cloud.calls if c.key == f"container-key-{ref.id}" and c.method == "PUT"]
            == stopped
        ),
        "the container to stop itself",
    )
    assert cloud.row(ref.id)["intended_status"] == "stopped"
    later = utc_now() + timedelta(hours=3)
    provider.read_disk(ref, later)
    eventually(lambda: provider.get(ref).access is not None, "its next start")
    armed = containers.launch_folder(ref.id) / "deadline"
    eventually(lambda: armed.read_text() == f"{int(later.timestamp())}\n", "the new deadline")
