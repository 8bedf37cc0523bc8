"""The life of one fake machine as data: pure functions of what was decided and what time it is.

Nothing happens to a machine in the background. What is due by now is worked out whenever somebody looks,
in the order of its times, so that a look after an hour finds the same history as a look every second.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from provisioning.fake import catalogue
from provisioning.models import InstanceState, WhenUnattended

__all__ = [
    "Effect",
    "Machine",
    "Period",
    "due",
    "interrupted",
    "next_due",
    "parked",
    "terminated",
    "unparked",
]

_HOURS_PER_MONTH = 730.0
_SECONDS_PER_HOUR = 3600.0
_ALIVE = (InstanceState.PENDING, InstanceState.RUNNING)
_TIMES = ("created_at", "deadline", "boots_at", "notice_at", "evicted_at", "ends_at", "gone_at")


class Effect(enum.Enum):
    """What a transition does to the machine's folder and processes; each may be repeated without harm."""

    NONE = enum.auto()
    ANNOUNCE = enum.auto()
    """Write the notice."""
    POWER_OFF = enum.auto()
    """Kill all processes, keep the disk."""
    WIPE = enum.auto()
    """Kill all processes, delete the disk."""


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time in which compute was billed; ``end`` is None while it still is."""

    start: datetime
    end: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine: what was asked for, what is scheduled, and what has happened."""

    id: str
    region: str
    zone: str
    instance_type: str
    spot: bool
    usd_per_hour: float
    disk_gib: float
    attempt: int
    tags: Mapping[str, str]
    parameters: str
    """Digest of the create call, to tell a replay from a second use of its token."""
    when_unattended: WhenUnattended
    created_at: datetime
    deadline: datetime
    boots_at: datetime
    boot_s: float = 0.0
    visible_after_s: float = 0.0
    terminate_s: float = 0.0
    ends_itself: bool = True
    """Its deadline is armed in the cloud or at every boot; without one, only a call ends it."""
    state: InstanceState = InstanceState.PENDING
    reason: str = ""
    notice_at: datetime | None = None
    """When an interruption is announced; None before one is planned, once it is announced, or without notice."""
    evicted_at: datetime | None = None
    """When the machine is taken away; None while nobody means to."""
    ends_at: datetime | None = None
    """When ``stopping`` is over."""
    ends_as: InstanceState = InstanceState.TERMINATED
    gone_at: datetime | None = None
    periods: tuple[Period, ...] = field(default=())

    @property
    def run_id(self) -> str:
        """The run that rented it."""
        return self.tags["launch-run"]

    @property
    def token(self) -> str:
        """The try that rented it."""
        return self.tags["launch-token"]

    @property
    def is_alive(self) -> bool:
        """Whether it boots or runs, and so takes up capacity."""
        return self.state in _ALIVE

    def seconds(self, now: datetime) -> float:
        """Return the seconds of compute so far."""
        return sum(((period.end or now) - period.start).total_seconds() for period in self.periods)

    def usd(self, now: datetime) -> float:
        """Return what it would have cost so far: compute with its address, and the disk as long as it exists."""
        compute = self.seconds(now) / _SECONDS_PER_HOUR * (self.usd_per_hour + catalogue.IPV4_USD_PER_HOUR)
        disk_hours = ((self.gone_at or now) - self.created_at).total_seconds() / _SECONDS_PER_HOUR
        return compute + disk_hours * self.disk_gib * catalogue.DISK_USD_PER_GIB_MONTH / _HOURS_PER_MONTH

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = {name: getattr(self, name) for name in _FIELDS}
        for name in _TIMES:
            plain[name] = plain[name] and plain[name].isoformat()
        plain["tags"] = dict(self.tags)
        plain["periods"] = [[p.start.isoformat(), p.end and p.end.isoformat()] for p in self.periods]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Machine:
        """Read what `to_json` returned; `ValueError`, `KeyError` or `TypeError` for anything else."""
        times = {name: _time(plain[name]) for name in _TIMES}
        states = {name: InstanceState(plain[name]) for name in ("state", "ends_as")}
        periods = tuple(Period(datetime.fromisoformat(start), _time(end)) for start, end in plain["periods"])
        unattended = WhenUnattended(plain["when_unattended"])
        return cls(**{**plain, **times, **states, "periods": periods, "when_unattended": unattended})


_FIELDS = tuple(each.name for each in fields(Machine))


def due(machine: Machine, now: datetime) -> tuple[Machine, Effect] | None:
    """Return the machine after the earliest thing that is due by ``now``, and what to do; None when nothing is."""
    at = next_due(machine)
    if at is None or at > now:
        return None
    if machine.state is InstanceState.STOPPING:
        return _ended(machine, at, machine.ends_as, machine.reason)
    if at == machine.notice_at:
        return replace(machine, notice_at=None), Effect.ANNOUNCE
    if at == machine.evicted_at:
        why = "reclaimed by the spot market" if machine.spot else "its host failed"
        return _ended(machine, at, InstanceState.TERMINATED, why)
    if at == machine.deadline and machine.ends_itself:
        parks = machine.when_unattended is WhenUnattended.PARK
        return _ended(machine, at, InstanceState.STOPPED if parks else InstanceState.TERMINATED, "deadline")
    return replace(machine, state=InstanceState.RUNNING), Effect.NONE


def next_due(machine: Machine) -> datetime | None:
    """Return when the next thing happens by itself; None when nothing ever will."""
    if machine.state is InstanceState.STOPPING:
        return machine.ends_at
    if not machine.is_alive:
        return None
    times = [machine.notice_at, machine.evicted_at]
    if machine.ends_itself:
        times.append(machine.deadline)
    if machine.state is InstanceState.PENDING:
        times.append(machine.boots_at)
    return min((time for time in times if time), default=None)


def terminated(machine: Machine, now: datetime, reason: str) -> tuple[Machine, Effect]:
    """Begin to end a machine for good, from whatever state it is in."""
    if machine.state is InstanceState.TERMINATED:
        return machine, Effect.NONE
    if machine.state is InstanceState.STOPPING:
        return replace(machine, ends_as=InstanceState.TERMINATED), Effect.POWER_OFF
    return _stopping(machine, now, InstanceState.TERMINATED, reason), Effect.POWER_OFF


def parked(machine: Machine, now: datetime, reason: str) -> tuple[Machine, Effect]:
    """Begin to end compute and keep the disk; a machine that is not alive stays what it is."""
    if not machine.is_alive:
        return machine, Effect.NONE
    return _stopping(machine, now, InstanceState.STOPPED, reason), Effect.POWER_OFF


def unparked(machine: Machine, now: datetime, deadline: datetime) -> Machine:
    """Start a stopped machine again, under a new deadline; one in any other state stays what it is."""
    if machine.state is not InstanceState.STOPPED:
        return machine
    return replace(
        machine,
        state=InstanceState.PENDING,
        reason="",
        boots_at=now + timedelta(seconds=machine.boot_s),
        deadline=deadline,
        notice_at=None,
        evicted_at=None,
        periods=(*machine.periods, Period(now)),
    )


def interrupted(machine: Machine, now: datetime, after_s: float, notice_s: float) -> Machine:
    """Plan that a machine is taken away: notice in ``after_s`` seconds, the end ``notice_s`` later."""
    if not machine.is_alive:
        return machine
    notice_at = now + timedelta(seconds=after_s)
    evicted_at = notice_at + timedelta(seconds=notice_s)
    return replace(machine, notice_at=notice_at if notice_s > 0 else None, evicted_at=evicted_at)


def _stopping(machine: Machine, now: datetime, ends_as: InstanceState, reason: str) -> Machine:
    return replace(
        machine,
        state=InstanceState.STOPPING,
        reason=reason,
        ends_at=now + timedelta(seconds=machine.terminate_s),
        ends_as=ends_as,
        periods=_closed(machine.periods, now),
    )


def _ended(machine: Machine, at: datetime, state: InstanceState, reason: str) -> tuple[Machine, Effect]:
    gone = state is InstanceState.TERMINATED
    ended = replace(
        machine,
        state=state,
        reason=reason,
        gone_at=at if gone else None,
        periods=_closed(machine.periods, at),
    )
    return ended, Effect.WIPE if gone else Effect.POWER_OFF


def _closed(periods: tuple[Period, ...], at: datetime) -> tuple[Period, ...]:
    return tuple(period if period.end else replace(period, end=at) for period in periods)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
