"""What is said when there is nothing to rent: which wish stands in the way, and what giving it up allows."""

from __future__ import annotations

import pytest

from launcher.job import Job
from launcher.planning.nothing import advice
from provisioning import Offer
from tests.launcher.core.builders import offer, spot_offer

KNOWN = (
    offer(),
    spot_offer(region="us-east-2", location="us-east-2", zone=None, usd_per_hour=0.1455),
    offer(instance_type="g4dn.12xlarge", gpu_count=4, vcpus=48.0, memory_gib=192.0, usd_per_hour=3.912),
    offer(
        provider="vast",
        instance_type="1x-RTX-3090",
        gpu_name="RTX 3090",
        gpu_memory_gib=24.0,
        usd_per_hour=0.2,
    ),
    offer(instance_type="m6i.xlarge", gpu_name=None, gpu_count=0, gpu_memory_gib=0.0, usd_per_hour=0.192),
)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"accelerators": "T4", "max_hourly_cost": 0.01}, "--max-price 0.15 allows aws g4dn.xlarge (T4) us-east-2 spot for $0.145/h"),
        ({"accelerators": "T4", "region": "mars"}, "without --region there is aws g4dn.xlarge (T4) us-east-2 spot"),
        ({"accelerators": "T4:8"}, "--gpu T4 allows aws g4dn.xlarge"),
        ({"accelerators": "RTX 3090", "use_spot": True}, "--on-demand allows vast 1x-RTX-3090"),
        ({"accelerators": "RTX 3090", "cloud": "aws"}, "without --provider there is vast 1x-RTX-3090"),
        ({"accelerators": "T4", "gpu_memory": "40GB"}, "without gpu_memory there is aws g4dn.xlarge"),
        ({"accelerators": "T4", "cpus": "96+"}, "without cpus there is aws g4dn.xlarge"),
        ({"accelerators": "RTX 309"}, "did you mean the GPU RTX 3090?"),
        ({"accelerators": "Unobtainium"}, "no price table knows the GPU Unobtainium; there are RTX 3090, T4"),
        ({"instance_type": "g4dn.xlarg"}, "did you mean the instance type g4dn.xlarge?"),
        ({"any_of": [{"accelerators": "T4:8"}, {"accelerators": "L4"}]}, "--gpu T4 allows"),
    ],
)  # fmt: skip
def test_one_wish_that_is_given_up_allows_a_machine(wish: dict[str, object], said: str) -> None:
    assert any(line.startswith(said) for line in told(wish)), told(wish)


def test_where_no_single_wish_is_to_blame_the_nearest_machine_says_all_its_faults() -> None:
    (line,) = told({"accelerators": "T4:9", "region": "mars", "max_hourly_cost": 0.001})
    assert line.startswith("the nearest is aws g4dn.xlarge (T4)")
    assert "not mars" in line and "9 wanted" in line and "above $0.001/h" in line


def test_nothing_is_advised_where_nothing_is_known() -> None:
    assert advice((), Job(run="true").resources.alternatives()) == ()


def test_what_has_all_that_is_wished_is_not_to_blame_on_a_wish() -> None:
    assert told({"accelerators": "T4", "cloud": "aws", "max_hourly_cost": 1.0}) == ()


def told(wish: dict[str, object], known: tuple[Offer, ...] = KNOWN) -> tuple[str, ...]:
    job = Job(run="true").with_overrides({f"resources.{name}": value for name, value in wish.items()})
    return advice(known, job.resources.alternatives())
