"""``provider_options.vast``: which hosts a job accepts, and how it bids."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Options"]

_COUNTRY = re.compile(r"[A-Z]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``provider_options.vast``. The defaults leave out hosts on which runs often fail."""

    verified: bool = True
    """Only hosts that Vast has tested."""
    datacenter: bool = False
    """Only hosts in data centres."""
    min_reliability: float = 0.98
    """Of 1: the share of time in which the host was up, as Vast reckons it."""
    min_cuda: float = 13.0
    """The newest CUDA that the host's driver can run. The usual wheels of torch 2.13 are built for 13.0."""
    min_download_mbit_s: float = 200.0
    min_upload_mbit_s: float = 50.0
    """The host's own links, as Vast measured them."""
    min_hours: float = 24.0
    """For how long the host must still be rentable."""
    countries: tuple[str, ...] = ()
    """``[US, SE]``: nowhere else. Two capital letters each."""
    not_countries: tuple[str, ...] = ()
    not_machines: tuple[int, ...] = ()
    """``machine_id`` of machines that are never rented."""
    image: str = "vastai/pytorch:@vastai-automatic-tag"
    """The container's image; this one comes in the version that suits the host's driver, and many hosts have it."""
    connect: Literal["auto", "direct", "proxy"] = "auto"
    """``direct``: by a port of the host's own; ``proxy``: through Vast's; ``auto``: directly where there is a port."""
    ssh_user: str = "root"
    """The login of an image whose sshd lets nobody in as root."""
    bid_usd_per_hour: float | None = None
    """What to bid for an interruptible machine; else the lowest bid that would win now, times `bid_over_minimum`."""
    bid_over_minimum: float = 1.2
    outbid: Literal["move", "raise"] = "move"
    """When somebody bids more: end the instance and go on elsewhere, or bid more, up to --max-price."""
    trust_with: tuple[str, ...] = ()
    """Names of secrets, and remote paths of ``file_mounts``, that the host's operator may read."""
    probe_up_mbit_s: float = 2.0
    probe_down_mbit_s: float = 2.0
    """From here to the machine and back, tried before any data is sent: a slower machine is given back."""
    probe_disk_mb_s: float = 50.0

    def __post_init__(self) -> None:
        for country in (*self.countries, *self.not_countries):
            if not _COUNTRY.fullmatch(country):
                raise ValueError(f"countries: {country!r} is no country code, such as US")
        if not 0.0 <= self.min_reliability <= 1.0:
            raise ValueError(f"min_reliability: {self.min_reliability:g} is not between 0 and 1")
        if self.bid_usd_per_hour is not None and not 0.001 <= self.bid_usd_per_hour <= 128.0:
            raise ValueError("bid_usd_per_hour: Vast takes bids from 0.001 to 128")
        if not self.bid_over_minimum >= 1.0:
            raise ValueError("bid_over_minimum: a bid below the lowest that wins would never run")
