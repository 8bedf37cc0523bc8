"""``provider_options.aws``: what a job may choose about its EC2 machines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Options"]

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``provider_options.aws``. The defaults suit a new account."""

    profile: str | None = None
    """The profile of ``~/.aws/config``; else ``AWS_PROFILE``, else the default one."""
    regions: tuple[str, ...] = ()
    """Where offers are looked for when the job names no region; else the account's default region."""
    vpc: str | None = None
    """``vpc-…``: the network to rent in; else the region's default VPC."""
    address: Literal["public", "private", "ipv6"] = "public"
    """By which address machines are reached. ``private`` needs a way in of your own (a VPN, a jump host in
    ``~/.ssh/config``); ``ipv6`` needs subnets with IPv6 and saves the price of a public IPv4 address."""
    spot_request: Literal["one-time", "persistent"] = "one-time"
    """``persistent`` spot machines are stopped rather than ended when they are taken away, and EC2 alone
    decides when they start again; with ``one-time`` a run moves to another machine at once."""
    ssh_user: str | None = None
    """The login of an image that is none of Amazon's or Ubuntu's."""
    prices: Literal["auto", "table"] = "auto"
    """On-demand prices: live from the Pricing API where the account may ask it, or only from the table."""

    def __post_init__(self) -> None:
        for region in self.regions:
            if not _REGION.fullmatch(region):
                raise ValueError(f"regions: {region!r} is no region, such as us-east-1")
        if self.vpc is not None and not re.fullmatch(r"vpc-[0-9a-f]+", self.vpc):
            raise ValueError(f"vpc: {self.vpc!r} is no id of a VPC, such as vpc-0abc1234")
