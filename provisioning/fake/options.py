"""``provider_options.fake``: what the fake cloud is told to do, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Capacity", "Fault", "FaultKind", "Interruption", "Options", "Price"]

FaultKind = Literal[
    "no_capacity", "quota", "price_rose", "throttled", "unreachable", "lost_answer", "credentials", "ignored"
]
_ONLY_CREATE = {"no_capacity", "quota", "price_rose"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Calls that go wrong. They are counted per run where a call belongs to one, else per home."""

    call: Literal["check", "offers", "create", "get", "owned", "terminate", "park", "unpark"]
    kind: FaultKind
    """``lost_answer``: the effect happened and the answer is lost; ``unreachable``: neither happened;
    ``ignored``: a terminate that answers success and does nothing."""
    nth: int = 1
    """The first call that is struck."""
    times: int = 1
    """How many calls in a row are struck."""
    zone: str | None = None
    """Strike (and count) only creates in this zone."""
    factor: float = 1.5
    """With ``price_rose``: asked against quoted."""
    retry_after_s: float | None = None
    """With ``throttled``: what the answer asks for."""

    def __post_init__(self) -> None:
        if self.kind in _ONLY_CREATE and self.call != "create":
            raise ValueError(f"{self.kind} can only strike create, not {self.call}")
        if self.kind == "ignored" and self.call != "terminate":
            raise ValueError(f"ignored can only strike terminate, not {self.call}")
        if self.zone is not None and self.call != "create":
            raise ValueError(f"zone narrows create, not {self.call}")
        if self.nth < 1 or self.times < 1:
            raise ValueError("nth and times count from 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """A machine that is taken away: by a spot market, or on demand by a host that fails."""

    attempt: int | None = None
    """Of the run; None for every attempt."""
    after_s: float
    """After the machine began to run, to the notice (or to the end when there is none)."""
    notice_s: float = 0.0
    """From the notice to the end; 0 gives no notice at all."""

    def __post_init__(self) -> None:
        if not (self.after_s >= 0 and self.notice_s >= 0):
            raise ValueError("after_s and notice_s are not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How many machines there are; a create beyond that has no capacity."""

    machines: int
    instance_type: str | None = None
    """None for every type."""
    zone: str | None = None
    """None for every zone."""
    spot: bool | None = None
    """None for both markets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Another price than the list's."""

    usd_per_hour: float
    instance_type: str
    zone: str | None = None
    """None for every zone."""
    spot: bool | None = None
    """None for both markets."""

    def __post_init__(self) -> None:
        if not self.usd_per_hour >= 0:
            raise ValueError("usd_per_hour is not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a job may script. A machine keeps what was said when it was created."""

    boot_s: float = 0.0
    """From create to running; with 0 the first look finds it running."""
    visible_after_s: float = 0.0
    """For so long after create the cloud does not know the machine yet: get fails, owned does not list it."""
    terminate_s: float = 0.0
    """From terminate to terminated; the machine is stopping meanwhile."""
    deadline: Literal["cloud", "boot", "client"] = "cloud"
    """Who ends a machine at its deadline: the cloud, the machine itself, or nobody but this computer."""
    capacity: tuple[Capacity, ...] = ()
    prices: tuple[Price, ...] = ()
    """The last one that fits an offer counts."""
    faults: tuple[Fault, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    """The first one that fits an attempt counts."""

    def __post_init__(self) -> None:
        if not (self.boot_s >= 0 and self.visible_after_s >= 0 and self.terminate_s >= 0):
            raise ValueError("boot_s, visible_after_s and terminate_s are not negative")
