"""What a run really took and cost, by the lines of its estimate: recorded seconds times the prices stored at launch. Pure.

Nothing is looked up: the offer that each machine was rented at is part of its row. The lines sum to the run's cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from launcher.forecast.ranges import Range

__all__ = [
    "Account",
    "AccountLine",
    "AccountStage",
    "Rental",
    "Span",
    "account_lines",
    "share_of_idle",
    "spans_of",
]

_ITEM_OF_STATE = {
    "planned": "boot",
    "queued": "boot",
    "provisioning": "boot",
    "syncing": "data transfer",
    "setup": "setup",
    "running": "training",
    "interrupted": "interruptions",
    "recovering": "interruptions",
    "stopping": "output pull",
    "pulling": "output pull",
}
_AFTER_THE_END = "output pull"
ORDER = (
    "boot",
    "data transfer",
    "setup",
    "training",
    "evaluation",
    "interruptions",
    "output pull",
    "idle GPUs",
    "checkpoint mirroring",
    "disk",
    "IPv4",
    "egress",
    "ingress again",
)
"""Lines as they stand in an estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLine:
    """One line: what was expected and what it came to."""

    item: str
    hours: float
    usd: float
    expected_hours: Range = field(default_factory=Range.zero)
    expected_usd: Range = field(default_factory=Range.zero)
    basis: str = ""
    """Of the expectation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStage:
    """One stage of a job that has several: what it was to take and to cost, and what it came to."""

    name: str
    hours: float
    """For which it had a machine."""
    usd: float
    expected_hours: Range
    expected_usd: Range
    source: str
    """How its time was known beforehand."""
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One run that has ended, beside its estimate; and what it showed of the world, for the next one."""

    run_id: str
    job_digest: str
    provider: str
    instance_type: str
    gpu_name: str | None
    spot: bool
    ended_at: datetime
    finished: bool
    """The job did all its work: only then is there anything to compare with the estimate."""
    source: str
    """How the time of the work was known beforehand: ``measured``, ``scaled``, ``guess``."""
    expected_hours: Range
    expected_usd: Range
    hours: float
    usd: float
    lines: tuple[AccountLine, ...]
    boot_s: float | None = None
    """From the create call until the machine could be used; of its first machine. None: not seen."""
    setup_s: float | None = None
    sent_bytes_per_s: float | None = None
    """From here to the machine, where enough was sent to tell."""
    pulled_bytes_per_s: float | None = None
    checkpoint_bytes: int | None = None
    output_bytes: int | None = None
    start_s: float | None = None
    """From the start of the program to its first step: imports, data, compiling; of its first machine."""
    place_s: float | None = None
    """What placing code took beside its bytes: contact, looks, links. None where the bytes were what took the time."""
    leave_s: float | None = None
    """From the end of the work to the end of the rent, beside the bytes that came home."""
    pull_s: float | None = None
    """The same with its bytes."""
    mirror_ratio: float | None = None
    """Of what checkpoints moved while the job worked, against what the interval let expect."""
    spot_hours: float = 0.0
    """Rented on a spot market, over all machines."""
    interruptions: int = 0
    """How many of those machines were taken away."""
    stages: tuple[AccountStage, ...] = ()
    """In the order in which they were to run; those that never began came to nothing. Their dollars sum to the whole."""

    @property
    def is_inside(self) -> bool:
        """The cost fell into the range that was told; where nothing costs anything, the time did."""
        if self.expected_usd:
            return self.expected_usd.low - 1e-9 <= self.usd <= self.expected_usd.high + 1e-9
        return self.expected_hours.low <= self.hours <= self.expected_hours.high

    @property
    def error(self) -> float | None:
        """What it came to against the likely value, as a share: 0.1 is a tenth more. None where nothing was expected."""
        expected, came = (
            (self.expected_usd.likely, self.usd)
            if self.expected_usd
            else (self.expected_hours.likely, self.hours)
        )
        return came / expected - 1.0 if expected > 0.0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time that a run spent in one state."""

    state: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rental:
    """One machine of a run: when its compute ran, and what the parts of its bill are."""

    start: datetime
    end: datetime
    usd_per_hour: float
    disk_usd: float
    ipv4_usd: float
    egress_usd: float
    mirrored_share: float = 0.0
    """Of the traffic, what mirrored checkpoints were."""
    compute_usd: float | None = None
    """As billed, where it stood still in between; None: hours times price."""
    is_way_back: bool = False
    """It was rented to go on with what was begun on another one."""


def spans_of(moves: Sequence[tuple[datetime, str]], end: datetime) -> list[Span]:
    """Turn (moment, state) pairs into stretches; ``end`` closes the last one."""
    ordered = sorted(moves, key=lambda move: move[0])
    ends = [*(at for at, _ in ordered[1:]), max(end, ordered[-1][0])] if ordered else []
    return [
        Span(state=state, start=at, end=until)
        for (at, state), until in zip(ordered, ends, strict=True)
        if until > at
    ]


def account_lines(
    spans: Sequence[Span],
    rentals: Sequence[Rental],
    *,
    repeated_h: float = 0.0,
    beside_h: float = 0.0,
    idle_share: float = 0.0,
    expected: Mapping[str, tuple[Range, Range, str]] | None = None,
) -> tuple[AccountLine, ...]:
    """Distribute what machines took and cost over the lines of an estimate.

    ``repeated_h``: of the work, what was done twice; ``beside_h``: what came beside the steps; ``idle_share``: of the
    rent, what unused GPUs are; ``expected``: item → (hours, dollars, basis) of the estimate.
    """
    hours, usd = _by_item(spans, rentals)
    _shift(hours, usd, "training", "interruptions", repeated_h)
    if expected and "evaluation" in expected:
        _shift(hours, usd, "training", "evaluation", beside_h)
    if idle_share:
        usd["idle GPUs"] = idle_share * math.fsum(usd.values())
        for item in hours:
            usd[item] *= 1.0 - idle_share
    for item, amount in _beside(rentals).items():
        usd[item] = usd.get(item, 0.0) + amount
    items = [item for item in ORDER if item in usd or item in hours or item in (expected or {})]
    lines = []
    for item in items:
        line = AccountLine(item=item, hours=hours.get(item, 0.0), usd=usd.get(item, 0.0))
        if expected and item in expected:
            expected_hours, expected_usd, basis = expected[item]
            line = replace(line, expected_hours=expected_hours, expected_usd=expected_usd, basis=basis)
        lines.append(line)
    return tuple(lines)


def _by_item(spans: Sequence[Span], rentals: Sequence[Rental]) -> tuple[dict[str, float], dict[str, float]]:
    """Cut each rental at the moves of the run; what comes before the first and after the last belongs to the ends."""
    hours: dict[str, float] = {}
    usd: dict[str, float] = {}
    for rental in rentals:
        pieces = _pieces(spans, rental)
        total_h = math.fsum(piece_h for _, piece_h in pieces)
        compute_usd = rental.compute_usd
        rate = rental.usd_per_hour if compute_usd is None or total_h <= 0.0 else compute_usd / total_h
        for item, piece_h in pieces:
            hours[item] = hours.get(item, 0.0) + piece_h
            usd[item] = usd.get(item, 0.0) + piece_h * rate
    return hours, usd


def _pieces(spans: Sequence[Span], rental: Rental) -> list[tuple[str, float]]:
    pieces: list[tuple[str, float]] = []
    covered_h = 0.0
    for span in spans:
        start, end = max(span.start, rental.start), min(span.end, rental.end)
        if end <= start:
            continue
        piece_h = (end - start).total_seconds() / 3600.0
        covered_h += piece_h
        item = _ITEM_OF_STATE.get(span.state, _AFTER_THE_END)
        if rental.is_way_back and item in ("boot", "data transfer", "setup"):
            item = "interruptions"  # every further way back
        pieces.append((item, piece_h))
    rest_h = max(0.0, (rental.end - rental.start).total_seconds() / 3600.0 - covered_h)
    return [*pieces, (_AFTER_THE_END, rest_h)] if rest_h > 0.0 else pieces


def _shift(hours: dict[str, float], usd: dict[str, float], source: str, target: str, amount_h: float) -> None:
    """Move hours, and the money that belongs to them, from one line to another."""
    there = hours.get(source, 0.0)
    moved = min(max(0.0, amount_h), there)
    if moved <= 0.0:
        return
    money = usd[source] * moved / there
    hours[source], usd[source] = there - moved, usd[source] - money
    hours[target] = hours.get(target, 0.0) + moved
    usd[target] = usd.get(target, 0.0) + money


def _beside(rentals: Sequence[Rental]) -> dict[str, float]:
    found = {
        "disk": math.fsum(item.disk_usd for item in rentals),
        "IPv4": math.fsum(item.ipv4_usd for item in rentals),
        "checkpoint mirroring": math.fsum(item.egress_usd * item.mirrored_share for item in rentals),
        "egress": math.fsum(item.egress_usd * (1.0 - item.mirrored_share) for item in rentals),
    }
    return {item: amount for item, amount in found.items() if amount > 0.0}


def share_of_idle(lines: Sequence[Any]) -> float:
    """Return which part of the rent an estimate expected to pay for GPUs that the job does not use."""
    rent = math.fsum(line.usd.likely for line in lines if line.hours)
    idle = math.fsum(line.usd.likely for line in lines if line.item == "idle GPUs")
    return idle / (idle + rent) if idle > 0.0 else 0.0
