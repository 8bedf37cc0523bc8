"""The policy in the documentation is what is needed: everything works with it, and nothing in it is idle."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from provisioning import InstanceRef, PermissionDenied, ProviderContext, Query, QuotaExceeded, WhenUnattended
from provisioning.aws.provider import AwsProvider
from provisioning.aws.quotas import quota_of
from provisioning.storage import Place, read_small, store_for
from tests.provisioning.aws.cloud import Ec2Cloud
from tests.provisioning.machines import spec

PAGE = Path(__file__).resolve().parents[3] / "docs" / "providers" / "aws.md"
Build = Callable[..., AwsProvider]


def statements() -> list[dict[str, Any]]:
    found = re.search(r"<!-- policy -->\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    told: list[dict[str, Any]] = json.loads(found[1])["Statement"]
    assert all(statement["Effect"] == "Allow" for statement in told)
    return told


def actions_of(*told: dict[str, Any]) -> frozenset[str]:
    named = [statement["Action"] for statement in told]
    return frozenset(action for item in named for action in ([item] if isinstance(item, str) else item))


def policy() -> frozenset[str]:
    return actions_of(*statements())


def only_ours() -> frozenset[str]:
    return actions_of(*(item for item in statements() if "Null" in item.get("Condition", {})))


def everything(build: Build, cloud: Ec2Cloud) -> None:
    """All that a life with this provider asks of EC2."""
    provider = build()
    provider.check()
    provider.offers(Query(gpu_name="T4"))
    offer = provider.offers(Query(instance_type="g4dn.xlarge", zone="us-east-1a", spot=False))[0]
    provider.check_offer(offer)
    cloud.quotas[quota_of("g4dn.xlarge", spot=True).code] = None
    with pytest.raises(QuotaExceeded):
        provider.check_offer(replace(offer, spot=True))
    parking = spec("a-0001", when_unattended=WhenUnattended.PARK)
    ref = provider.create(offer, parking).ref
    provider.get(ref)
    provider.admit(ref, "203.0.113.200/32")
    provider.park(ref)
    provider.unpark(ref, parking.deadline + timedelta(hours=1))
    provider.terminate(ref)
    spot = provider.offers(Query(instance_type="g4dn.xlarge", spot=True))[0]
    for number, is_read in enumerate((True, False)):
        told = spec(f"b-000{number}", when_unattended=WhenUnattended.PARK, allowed_cidr=f"203.0.113.{number}")
        kept = provider.create(spot, told).ref
        provider.get(kept)
        cloud.reclaim(kept.id)
        provider.owned()
        if is_read:
            provider.read_disk(kept, parking.deadline)
            provider.get(kept)
        provider.terminate(kept)
    for parameters in cloud.parameters.values():
        parameters.clear()
    build().terminate(build().create(spot, spec("c-0001")).ref)
    use_a_bucket(cloud)


def use_a_bucket(cloud: Ec2Cloud) -> None:
    """What home does with a store, and what machines do with what home has signed."""
    if "mine" not in cloud.buckets.names():
        cloud.buckets.make("mine")
    place = Place("s3", "mine", "runs/a")
    store = store_for("s3", ProviderContext(home=Path("/nonexistent"), environ=cloud.environ()))
    assert httpx.put(store.sign("PUT", place, lasts=timedelta(hours=1)).url, content=b"x").status_code == 200
    assert [item.key for item in store.objects(place)] == ["runs/a"]
    assert read_small(store, place) == b"x"
    store.delete([place])


def test_everything_works_with_the_policy_and_all_of_it_is_used(build: Build, cloud: Ec2Cloud) -> None:
    cloud.allowed, cloud.only_ours = policy(), only_ours()
    everything(build, cloud)
    assert not cloud.living()
    assert not cloud.volumes()
    used = {f"{call.service}:{call.action}" for call in cloud.calls}
    used |= {request.permission for request in cloud.buckets.requests}
    assert used == policy() - {"iam:CreateServiceLinkedRole"}


def test_with_the_policy_a_machine_of_somebody_else_cannot_be_ended(build: Build, cloud: Ec2Cloud) -> None:
    provider = build()
    ref = provider.create(provider.offers(Query(instance_type="t3.small"))[0], spec()).ref
    cloud.backend().delete_tags([ref.id], {"launch-home": None})
    cloud.allowed, cloud.only_ours = policy(), only_ours()
    with pytest.raises(PermissionDenied, match="TerminateInstances"):
        provider.terminate(InstanceRef("aws", ref.location, ref.id))
    assert cloud.living()


def test_what_the_page_calls_optional_is(build: Build, cloud: Ec2Cloud) -> None:
    cloud.allowed = policy() - {"pricing:GetProducts", "ssm:GetParameters"}
    everything(build, cloud)


def test_the_page_names_the_quotas_of_the_code() -> None:
    from provisioning.aws.quotas import quota_of

    text = PAGE.read_text()
    for name, spot in (
        ("g5.xlarge", False),
        ("g5.xlarge", True),
        ("p4d.24xlarge", False),
        ("p4d.24xlarge", True),
        ("p5.48xlarge", True),
    ):
        assert quota_of(name, spot=spot).name in text
