"""What surrounds the work: how long machines boot, how fast links are, how much there is to carry. Pure.

Everything here has a planning default that is honest about being one (``assumed``), and every default gives way to
what was measured or given.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from launcher.forecast.money import GIB
from launcher.forecast.ranges import Range

if TYPE_CHECKING:
    from provisioning import Offer

__all__ = [
    "REHEARSAL",
    "Conditions",
    "Disk",
    "Sizes",
    "default_conditions",
    "disk_gib",
    "disk_of",
    "over_links_of",
]

REHEARSAL = "fake"
"""The cloud that pretends: its machines have the names and prices of others, and compute on this computer."""

_ASSUMED_BOOT_S = MappingProxyType(
    {
        "aws": Range(90.0, 180.0, 360.0),
        "gcp": Range(60.0, 120.0, 300.0),
        "azure": Range(120.0, 240.0, 480.0),
        "lambda": Range(110.0, 180.0, 860.0),
        "runpod": Range(30.0, 60.0, 300.0),
        "vast": Range(30.0, 180.0, 900.0),
        "ssh": Range(0.0, 1.0, 5.0),
        "local": Range.zero(),
        REHEARSAL: Range(0.0, 1.0, 5.0),
    }
)
_ASSUMED_BOOT_ELSEWHERE_S = Range(60.0, 180.0, 900.0)
_ON_THIS_COMPUTER = frozenset({"local", REHEARSAL})

_NOTICE_S = MappingProxyType({"aws": 120.0, "gcp": 120.0, "azure": 30.0})
"""What providers promise between the notice and the end of a spot machine; none elsewhere."""

_HOME_UP = Range(0.6e6, 2.5e6, 12.5e6)
"""Bytes per second of a home's uplink: 5, 20 and 100 Mbit/s."""
_HOME_DOWN = Range(2.5e6, 12.5e6, 60e6)
_DISK_COPY = Range(0.1e9, 0.5e9, 2e9)
_CLOUD_DOWN = Range(20e6, 60e6, 200e6)
"""A rented machine that fetches from the internet."""

_ENVIRONMENT_S = Range(40.0, 150.0, 600.0)
_SETUP_S = Range(5.0, 60.0, 600.0)
_NO_SETUP_S = Range(0.0, 1.0, 10.0)

_PLACE_S = Range(1.0, 5.0, 30.0)
"""Contact with a rented machine and its first looks, whatever is sent."""
_LEAVE_S = Range(1.0, 5.0, 30.0)
"""The last looks, digests, and the end of the rent confirmed, whatever comes home."""
_PLACE_HERE_S = Range(0.2, 1.0, 5.0)
_LEAVE_HERE_S = Range(0.2, 1.0, 5.0)

_IMAGE_GIB = 30.0
"""Operating system, driver and CUDA on a rented disk."""
_TORCH_ENVIRONMENT_BYTES = 8 * GIB
_SPARE = 1.2
_UNPACKED = 1.5
"""How much larger the content of an archive is than the archive, for data that compresses little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes that have to be moved and stored. None is "nobody knows", which is priced as a wide range, not as zero."""

    code_bytes: int = 0
    data_bytes: int = 0
    """Sent from here."""
    fetched_bytes: int | None = 0
    """Fetched by the machine itself."""
    unpacked_bytes: int = 0
    """What archives grow by."""
    checkpoint_bytes: int | None = None
    output_bytes: int | None = None
    """What comes home at the end, checkpoints aside."""
    unpacks: bool = False
    """What is fetched is an archive that is unpacked there: for a moment both are on the disk."""
    seen_in: str = ""
    """The earlier run that showed the sizes of checkpoint and outputs; empty where nothing did."""

    @property
    def fetched(self) -> Range:
        """Size of what the machine fetches: 10 MB to 20 GB when nobody knows."""
        return Range(10e6, 1e9, 20e9) if self.fetched_bytes is None else Range.exactly(self.fetched_bytes)

    @property
    def checkpoint(self) -> Range:
        """Size of one checkpoint: 10 MB to 2 GB when nobody knows."""
        return (
            Range(10e6, 500e6, 2e9) if self.checkpoint_bytes is None else Range.exactly(self.checkpoint_bytes)
        )

    @property
    def output(self) -> Range:
        """Size of the outputs: 1 MB to 1 GB when nobody knows."""
        return Range(1e6, 50e6, 1e9) if self.output_bytes is None else Range.exactly(self.output_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What an estimate assumes about the world. Rates are bytes per second."""

    boot_s: Range
    setup_s: Range
    up: Range
    """From here to the machine."""
    down: Range
    """From the machine to here."""
    fetch: Range
    """From the internet to the machine."""
    place_s: Range = field(default_factory=Range.zero)
    """Beside the bytes that are sent."""
    leave_s: Range = field(default_factory=Range.zero)
    """Beside the bytes that come home."""
    pull_s: Range | None = None
    """All of the way home, as this job's runs have shown it on such machines; None where none has."""
    pull_from: str = ""
    start_s: Range = field(default_factory=Range.zero)
    """From the start of the program to its first step; zero where nobody has seen it, since then it is part of the work."""
    start_from: str = ""
    mirror_ratio: Range | None = None
    """Of what checkpoints of this job moved, against what the interval alone lets expect; None where nobody has seen it."""
    boot_from: str = "assumed"
    """Where ``boot_s`` comes from, in words; the next four likewise."""
    setup_from: str = "assumed"
    up_from: str = "assumed"
    down_from: str = "assumed"
    interruptions_from: str = ""
    interruptions_per_hour: float | None = None
    """Of this kind of machine by the user's own record; None: what the offer says."""
    gpus_used: int | None = None
    """How many GPUs of the machine the job uses; None: all."""
    on_this_computer: bool = False
    """The machine is a folder of this computer: data is linked, nothing travels."""
    rented: bool = False
    """It is rented, if only from the cloud that pretends: what a person reads speaks of a machine and its disk."""
    save_every_s: float = 0.0
    """How often the program saves; 0 when nobody said."""
    mirrored: bool = True
    """Checkpoints are copied off the machine while it works."""
    mirrored_to_bucket: bool = False
    """The machine brings them to a bucket over its own link."""
    bucket_is_near: bool = False
    """The bucket is of the machine's own cloud: traffic within a region costs nothing."""
    mirror_every_s: float | None = None
    """None: `launcher.forecast.mirror_interval` chooses."""
    notice_s: float = 0.0
    disk_outlives: bool = False
    disk_gib: float = 0.0
    disk_words: str = ""
    """What the disk holds, for people."""

    @property
    def mirror_link(self) -> Range:
        """The way of checkpoints off the machine."""
        return self.fetch if self.mirrored_to_bucket else self.down

    def mirror_usd_per_gib(self, egress_usd_per_gib: float) -> float:
        """What it costs to bring a GiB of checkpoints off the machine."""
        return 0.0 if self.mirrored_to_bucket and self.bucket_is_near else egress_usd_per_gib


@cache  # the same for all offers of a provider, and a comparison has hundreds
def default_conditions(
    provider: str,
    *,
    has_environment: bool = False,
    has_setup: bool = False,
    up_bytes_per_s: float | None = None,
    down_bytes_per_s: float | None = None,
) -> Conditions:
    """Return planning defaults for one provider; links that were measured replace the assumed ones."""
    here = provider in _ON_THIS_COMPUTER
    setup_s = _ENVIRONMENT_S if has_environment else Range.zero()
    setup_s = setup_s + (_SETUP_S if has_setup else Range.zero())
    return Conditions(
        boot_s=_ASSUMED_BOOT_S.get(provider, _ASSUMED_BOOT_ELSEWHERE_S),
        setup_s=setup_s or _NO_SETUP_S,
        up=_link(up_bytes_per_s, _DISK_COPY if here else _HOME_UP),
        down=_link(down_bytes_per_s, _DISK_COPY if here else _HOME_DOWN),
        fetch=_CLOUD_DOWN,
        place_s=_PLACE_HERE_S if here else _PLACE_S,
        leave_s=_LEAVE_HERE_S if here else _LEAVE_S,
        up_from="assumed" if up_bytes_per_s is None else "measured",
        down_from="assumed" if down_bytes_per_s is None else "measured",
        on_this_computer=here,
        notice_s=_NOTICE_S.get(provider, 0.0),
    )


def over_links_of(offer: Offer, conditions: Conditions) -> Conditions:
    """Return the conditions on a machine whose own link is known: no way is faster than its slower end.

    What marketplaces say of a link is its best hour, shared with everybody on the host: half of it is likely.
    """
    down, up = offer.link_down_bytes_per_s, offer.link_up_bytes_per_s
    changes: dict[str, Any] = {}
    if down:
        changes |= {"up": _at_most(conditions.up, down), "fetch": Range(0.25 * down, 0.5 * down, down)}
    if up:
        changes["down"] = _at_most(conditions.down, up)
    return replace(conditions, **changes) if changes else conditions


def _at_most(link: Range, limit: float) -> Range:
    return Range(min(link.low, limit), min(link.likely, limit), min(link.high, limit))


def _link(measured: float | None, assumed: Range) -> Range:
    return assumed if measured is None else Range.exactly(measured).spread(0.6, 1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """GiB that a machine needs for a run, by what they hold."""

    system: float
    """Image, driver, CUDA; nothing where the machine is there already."""
    environment: float
    data: float
    """What is sent and fetched, as it travels."""
    unpacked: float
    """What archives become, beside themselves."""
    results: float
    """Code, checkpoints and outputs."""

    @property
    def words(self) -> str:
        """For people: ``30 system, 8 environment, 14 data, 28 unpacked``."""
        parts = (
            (self.system, "system"),
            (self.environment, "environment"),
            (self.data, "data"),
            (self.unpacked, "unpacked"),
            (self.results, "code and results"),
        )
        return ", ".join(f"{gib:.0f} {name}" for gib, name in parts if gib >= 0.5)

    @property
    def gib(self) -> float:
        """What is asked for: whole GiB with a fifth to spare when rented, since that is how disks are sold."""
        needed = self.data + self.unpacked + self.results
        if not self.system:
            return needed
        return float(-(-(needed + self.environment) * _SPARE // 1) + self.system)


def disk_of(sizes: Sizes, *, rented: bool, keep_checkpoints: int = 3, linked: bool = False) -> Disk:
    """Return what a run needs of a disk. ``linked``: the data stays where it is."""
    fetched = sizes.fetched.high
    written = sizes.checkpoint.likely * (keep_checkpoints + 1) + sizes.output.likely
    unpacked = sizes.unpacked_bytes + (_UNPACKED * fetched if sizes.unpacks else 0.0)
    return Disk(
        system=_IMAGE_GIB if rented else 0.0,
        environment=_TORCH_ENVIRONMENT_BYTES / GIB if rented else 0.0,
        data=0.0 if linked else (sizes.data_bytes + fetched) / GIB,
        unpacked=unpacked / GIB,
        results=(sizes.code_bytes + written) / GIB,
    )


def disk_gib(sizes: Sizes, *, rented: bool, keep_checkpoints: int = 3, linked: bool = False) -> float:
    """GiB that a machine needs for a run: image and environment when rented, data, checkpoints, outputs, and a fifth more."""
    return disk_of(sizes, rented=rented, keep_checkpoints=keep_checkpoints, linked=linked).gib
