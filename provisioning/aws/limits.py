"""What the account may rent, asked of Service Quotas before anything is; kept as long as the provider lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioning.aws.quotas import quota_of
from provisioning.errors import PermissionDenied, QuotaExceeded, Transient

if TYPE_CHECKING:
    from provisioning.aws.client import Client
    from provisioning.models import Offer

__all__ = ["AccountLimits"]

NONE_OF_ITS_OWN = ("NoSuchResourceException",)
"""The account was never given another value than everybody's."""


class AccountLimits:
    """vCPU quotas of one account. New accounts have 0 of most GPU families."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str], float | None] = {}

    def check(self, offer: Offer) -> None:
        """See `provisioning.provider.OfferChecking.check_offer`."""
        quota = quota_of(offer.instance_type, spot=offer.spot)
        key = (offer.region, quota.code)
        if key not in self._known:
            self._known[key] = self._value(*key)
        allowed = self._known[key]
        if allowed is not None and allowed < offer.vcpus:
            market = "spot" if offer.spot else "on demand"
            raise QuotaExceeded(
                f"aws {offer.region}: quota {quota.name!r} is {allowed:g} vCPUs; {offer.instance_type} {market} needs"
                f" {offer.vcpus:g}",
                hint=f"ask for more at {quota.page(offer.region)}; or take the other market or another region",
            )

    def _value(self, region: str, code: str) -> float | None:
        asked = {"ServiceCode": "ec2", "QuotaCode": code}
        try:
            for operation in ("get_service_quota", "get_aws_default_service_quota"):
                answer = self._client.attempt("service-quotas", region, operation, NONE_OF_ITS_OWN, **asked)
                if answer is not None:
                    return float(answer["Quota"]["Value"])
        except (PermissionDenied, Transient):
            return None
        return None
