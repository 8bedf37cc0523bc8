"""Interruption rates from the live feed, its age, and what answers when there is none; rates by region."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from provisioning import Offer, Query
from provisioning.aws.advisor import VARIABLE
from provisioning.aws.prices import rates_of
from provisioning.aws.provider import AwsProvider
from tests.provisioning.aws.cloud import Ec2Cloud
from tests.provisioning.machines import Clock

Build = Callable[..., AwsProvider]


def feed(**by_type: int) -> str:
    told = {name.replace("_", "."): {"s": 60, "r": index} for name, index in by_type.items()}
    return json.dumps({"ranges": [], "spot_advisor": {"us-east-1": {"Linux": told, "Windows": {}}}})


def spot(provider: AwsProvider) -> Offer:
    return provider.offers(Query(instance_type="g4dn.xlarge", region="us-east-1", spot=True))[0]


def test_the_feed_is_read_once_a_day_and_its_day_is_shown(build: Build, cloud: Ec2Cloud) -> None:
    environ = cloud.environ(**{VARIABLE: f"{cloud.url}/advisor"})
    clock = Clock()
    cloud.advisor = feed(g4dn_xlarge=0, x1_32xlarge=4)
    offer = spot(build(clock, environ))
    assert offer.interruptions_per_hour == pytest.approx(1 / 100)
    assert f"bucket <5 % a month, of {clock():%Y-%m-%d}" in " ".join(offer.notes)
    cloud.advisor = feed(g4dn_xlarge=4)
    assert spot(build(clock, environ)).interruptions_per_hour == offer.interruptions_per_hour, "kept on file"
    clock.now += timedelta(days=2)
    assert spot(build(clock, environ)).interruptions_per_hour == pytest.approx(1 / 8)
    cloud.advisor = ""
    clock.now += timedelta(days=2)
    old = spot(build(clock, environ))
    assert old.interruptions_per_hour == pytest.approx(1 / 8), (
        "an old one is better than none, and says its day"
    )


@pytest.mark.parametrize("told", ["", "not json", "{}", feed(g4dn_xlarge=9)])
def test_without_a_feed_the_dated_table_answers(build: Build, cloud: Ec2Cloud, told: str) -> None:
    cloud.advisor = told
    offer = spot(build(environ=cloud.environ(**{VARIABLE: f"{cloud.url}/advisor"})))
    assert "of 2025-06-28" in " ".join(offer.notes)


def test_where_aws_is_redirected_nobody_else_is_asked(provider: AwsProvider) -> None:
    assert "of 2025-06-28" in " ".join(spot(provider).notes)


def test_disk_and_traffic_are_priced_by_region(provider: AwsProvider) -> None:
    assert spot(provider).disk_usd_per_gib_month == 0.08
    assert rates_of("sa-east-1").egress_usd_per_gib > rates_of("us-east-1").egress_usd_per_gib
    elsewhere = rates_of("mx-central-1")
    assert elsewhere.egress_usd_per_gib == rates_of("us-east-1").egress_usd_per_gib
    assert "mx-central-1" in elsewhere.note
