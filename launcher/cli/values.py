"""What option values may look like: durations, amounts, moments, pairs. Each says what it expected and what came."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

__all__ = ["AMOUNT", "CIDR", "DURATION", "ENV", "MOMENT", "SETTING", "TOP_UP", "Limit", "next_moment"]

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only in newer releases of click

Context = click.Context | None
Parameter = click.Parameter | None


class _Amount(_ParamType):
    """US dollars, more than nothing; a leading ``$`` is fine."""

    name = "usd"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> float:
        """Read ``5``, ``0.35`` or ``$5``."""
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"\$?\d+(\.\d*)?|\$?\.\d+", value):
            self.fail(f"expected an amount in USD such as 5 or 0.35, came {value!r}", param, ctx)
        amount = float(value.removeprefix("$"))
        if amount <= 0:
            self.fail(f"expected more than 0 USD, came {value!r}", param, ctx)
        return amount


class Limit(_ParamType):
    """A new limit, as the API reads it: ``5`` is USD 5 in all, ``+2`` is 2 more than now."""

    name = "usd|+usd"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> str:
        """Check it and return it in the one form that the API knows."""
        amount = AMOUNT.convert(value.removeprefix("+"), param, ctx)
        return f"+{amount}" if value.startswith("+") else f"{amount}"


class _Duration(_ParamType):
    name = "duration"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> timedelta:
        """Read ``8h``, ``90m``, ``1d12h``."""
        if isinstance(value, timedelta):
            return value
        from launcher.job import parse_duration

        try:
            length = parse_duration(value)
        except ValueError:
            self.fail(f"expected a duration such as 8h, 90m or 1d12h, came {value!r}", param, ctx)
        if length <= timedelta(0):
            self.fail(f"expected more than no time at all, came {value!r}", param, ctx)
        return length


class _Moment(_ParamType):
    name = "time"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> datetime:
        """Read a time of day or a date, and refuse the past."""
        if isinstance(value, datetime):
            return value
        now = datetime.now().astimezone()
        try:
            moment = next_moment(value, now)
        except ValueError:
            self.fail(f"expected a time such as 06:00 or 2027-01-31T06:00, came {value!r}", param, ctx)
        if moment <= now:
            self.fail(f"{value!r} is in the past", param, ctx)
        return moment


def next_moment(text: str, now: datetime) -> datetime:
    """Read ``06:00`` as the next time a clock shows it, anything longer as ISO 8601 in ``now``'s zone."""
    clock = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    if clock is None:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    today = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


class _Pair(_ParamType):
    """``KEY=VALUE``; what keys may be is checked where they are used."""

    def __init__(self, name: str, example: str) -> None:
        self.name = name
        self.example = example

    def convert(self, value: Any, param: Parameter, ctx: Context) -> tuple[str, str]:
        """Cut at the first ``=``."""
        if isinstance(value, tuple):
            return value
        key, equals, text = value.partition("=")
        if not equals or not key.strip():
            self.fail(f"expected {self.name} such as {self.example}, came {value!r}", param, ctx)
        return key.strip(), text


class _Cidr(_ParamType):
    name = "cidr"

    def convert(self, value: Any, param: Parameter, ctx: Context) -> str:
        """Read an address or a block of them."""
        try:
            return str(ipaddress.ip_network(value, strict=False))
        except ValueError:
            self.fail(f"expected addresses such as 203.0.113.7/32, came {value!r}", param, ctx)


AMOUNT = _Amount()
TOP_UP = Limit()
DURATION = _Duration()
MOMENT = _Moment()
SETTING = _Pair("path=value", "resources.cpus=8")
ENV = _Pair("key=value", "LEARNING_RATE=0.1")
CIDR = _Cidr()
