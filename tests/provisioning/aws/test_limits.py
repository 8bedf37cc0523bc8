"""Quotas that are asked for before anything is rented."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from provisioning import BadOption, Offer, Query, QuotaExceeded
from provisioning.aws.provider import AwsProvider
from provisioning.aws.quotas import quota_of
from tests.provisioning.aws.cloud import Ec2Cloud, Fault

Build = Callable[..., AwsProvider]
SPOT_G = quota_of("g4dn.xlarge", spot=True).code


def spot_offer(provider: AwsProvider) -> Offer:
    return provider.offers(Query(instance_type="g4dn.xlarge", spot=True))[0]


def test_a_quota_that_is_too_small_is_named_with_its_page(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    cloud.quotas[SPOT_G] = 2.0
    with pytest.raises(QuotaExceeded, match="'All G and VT Spot Instance Requests' is 2 vCPUs") as refused:
        provider.check_offer(spot_offer(provider))
    assert f"quotas/{SPOT_G}?region=us-east-1" in str(refused.value.hint)
    provider.check_offer(provider.offers(Query(instance_type="g4dn.xlarge", spot=False))[0])
    provider.check_offer(provider.offers(Query(instance_type="g4dn.xlarge", spot=False))[0])
    assert len(cloud.actions("GetServiceQuota")) == 2, "each is asked for once"


def test_an_account_that_never_asked_for_more_has_what_everybody_has(
    provider: AwsProvider, cloud: Ec2Cloud
) -> None:
    cloud.quotas[SPOT_G] = None
    with pytest.raises(QuotaExceeded, match="is 0 vCPUs"):
        provider.check_offer(spot_offer(provider))


def test_a_region_without_a_network_is_said_before_renting(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    offer = spot_offer(provider)
    cloud.faults.append(Fault("DescribeVpcs", kind="lag"))
    with pytest.raises(BadOption, match="no default VPC"):
        provider.check_offer(offer)


@pytest.mark.parametrize(
    ("region", "words"), [("eu-west-1", "is not enabled in this account"), ("us-est-1", "unknown 'us-est-1'")]
)
def test_a_region_that_is_not_enabled_is_no_misspelling(
    provider: AwsProvider, region: str, words: str
) -> None:
    with pytest.raises(BadOption, match=words):
        provider.offers(Query(instance_type="g4dn.xlarge", region=region))


def test_a_quota_that_may_not_be_asked_for_stops_nobody(provider: AwsProvider, cloud: Ec2Cloud) -> None:
    offer = spot_offer(provider)
    cloud.quotas[SPOT_G] = 0.0
    cloud.allowed = frozenset({"ec2:DescribeVpcs"})
    provider.check_offer(offer)
