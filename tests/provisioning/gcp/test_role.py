"""The role in the documentation is what is needed: everything works with it, and nothing in it is idle."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from provisioning import PermissionDenied, Query, WhenUnattended
from provisioning.gcp.calls import CALLS, role_of
from provisioning.models import utc_now
from tests.provisioning.gcp.cloud import GceCloud
from tests.provisioning.gcp.conftest import Build
from tests.provisioning.machines import spec

PAGE = Path(__file__).resolve().parents[3] / "docs" / "providers" / "gcp.md"


def role() -> frozenset[str]:
    found = re.search(r"<!-- role -->\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    return frozenset(yaml.safe_load(found[1])["includedPermissions"])


def everything(build: Build, cloud: GceCloud) -> None:
    """All that a life with this provider asks of Compute Engine."""
    provider = build()
    provider.check()
    offer = provider.offers(Query(instance_type="n1-standard-4", gpu_name="T4", spot=True))[0]
    provider.check_offer(offer)
    deadline = utc_now() + timedelta(hours=1)
    parking = spec("a-0001", when_unattended=WhenUnattended.PARK)
    ref = provider.create(offer, parking).ref
    provider.get(ref)
    provider.admit(ref, "203.0.113.9/32")
    provider.park(ref)
    provider.get(ref)
    provider.read_disk(ref, deadline)
    provider.park(ref)
    provider.unpark(ref, deadline)
    provider.park(ref)
    provider.read_disk(ref, deadline + timedelta(hours=1))
    provider.terminate(ref)
    provider.get(ref)
    provider.owned()
    kept = provider.create(offer, spec("b-0001")).ref
    cloud.machine(kept.id)["disks"][0]["autoDelete"] = False
    cloud.remove(kept.id)
    provider.terminate(kept)
    images = "projects/deeplearning-platform-release/global/images"
    for number, image in enumerate(("common-580-22", "family/common-cu129-ubuntu-2404-nvidia-580")):
        told = spec(f"c-000{number}", image_id=f"{images}/{image}")
        provider.terminate(provider.create(offer, told).ref)


def test_everything_works_with_the_role_and_all_of_it_is_used(build: Build, cloud: GceCloud) -> None:
    cloud.allowed = role()
    everything(build, cloud)
    assert not cloud.living()
    assert not cloud.disks
    assert cloud.used == role()


def test_the_table_of_calls_says_the_permissions_that_are_needed() -> None:
    assert {call.permission for call in CALLS.values()} <= role()
    text = PAGE.read_text()
    assert all(f"`{role_of(p).removeprefix('roles/')}`" in text or role_of(p) in text for p in role())


@pytest.mark.parametrize(
    ("missing", "role_name"),
    [
        ("compute.instances.create", "roles/compute.instanceAdmin.v1"),
        ("compute.firewalls.create", "roles/compute.securityAdmin"),
    ],
)
def test_a_permission_that_is_missing_is_named_with_its_role(
    build: Build, cloud: GceCloud, missing: str, role_name: str
) -> None:
    cloud.allowed = role() - {missing}
    provider = build()
    offer = provider.offers(Query(instance_type="e2-small"))[0]
    with pytest.raises(PermissionDenied, match=missing) as refused:
        provider.create(offer, spec())
    assert role_name in str(refused.value.hint)
    assert not cloud.living()
