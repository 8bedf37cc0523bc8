"""Option values: what is read, and into what."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import click
import pytest

from launcher.cli import values
from launcher.cli.options import api_options, split_at_dashes

NOW = datetime(2026, 11, 21, 22, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "amount"), [("5", 5.0), ("0.35", 0.35), (".5", 0.5), ("$2", 2.0), ("5.", 5.0)]
)
def test_amounts(text: str, amount: float) -> None:
    assert values.AMOUNT.convert(text, None, None) == amount


@pytest.mark.parametrize("text", ["", "-1", "0", "1e3", "5 USD", "nan", "inf", "5,0"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(click.BadParameter):
        values.AMOUNT.convert(text, None, None)


@pytest.mark.parametrize(("text", "limit"), [("5", "5.0"), ("+2", "+2.0"), ("+$0.5", "+0.5")])
def test_new_limits(text: str, limit: str) -> None:
    assert values.TOP_UP.convert(text, None, None) == limit


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("23:00", datetime(2026, 11, 21, 23, 0)),
        ("06:00", datetime(2026, 11, 22, 6, 0)),
        ("22:30", datetime(2026, 11, 22, 22, 30)),
        ("2027-01-31T06:00", datetime(2027, 1, 31, 6, 0)),
        ("2027-01-31", datetime(2027, 1, 31)),
    ],
)
def test_a_time_of_day_is_the_next_one(text: str, moment: datetime) -> None:
    assert values.next_moment(text, NOW) == moment.replace(tzinfo=NOW.tzinfo)


def test_a_zone_that_is_said_is_kept() -> None:
    assert values.next_moment("2027-01-31T06:00+00:00", NOW) == datetime(
        2027, 1, 31, 6, 0, tzinfo=timezone.utc
    )


def test_durations() -> None:
    assert values.DURATION.convert("1d12h", None, None) == timedelta(hours=36)


@pytest.mark.parametrize(
    ("text", "pair"), [("A=1", ("A", "1")), ("A=", ("A", "")), ("a.b=c=d", ("a.b", "c=d"))]
)
def test_pairs_are_cut_at_the_first_equals_sign(text: str, pair: tuple[str, str]) -> None:
    assert values.ENV.convert(text, None, None) == pair


def test_addresses() -> None:
    assert values.CIDR.convert("203.0.113.7", None, None) == "203.0.113.7/32"
    with pytest.raises(click.BadParameter):
        values.CIDR.convert("home", None, None)


def test_the_api_is_told_only_what_was_said() -> None:
    given = {"provider": "fake", "gpu": None, "spot": False, "max_duration": timedelta(hours=2), "yes": True}
    assert api_options(given) == {"provider": "fake", "spot": False, "max_duration_s": 7200.0}


def test_what_stands_after_the_dashes_is_left_alone() -> None:
    assert split_at_dashes(["a", "--", "b", "--", "c"]) == (["a"], ["b", "--", "c"])
    assert split_at_dashes(["a"]) == (["a"], None)
    assert split_at_dashes(["--"]) == ([], [])
