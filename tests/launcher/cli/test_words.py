"""Numbers as people read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.render import words


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0"),
        (0.00004, "<$0.001"),
        (0.0042, "$0.004"),
        (0.42, "$0.42"),
        (0.1, "$0.10"),
        (12.345, "$12.35"),
        (1234.5, "$1,234"),
    ],
)
def test_money(amount: float, text: str) -> None:
    assert words.usd(amount) == text


@pytest.mark.parametrize(
    ("price", "text"), [(0, "$0/h"), (0.526, "$0.526/h"), (3.84, "$3.840/h"), (21.96, "$21.96/h")]
)
def test_prices(price: float, text: str) -> None:
    assert words.usd_per_hour(price) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86_400 * 3 + 4 * 3600, "3 d 4 h"),
        (86_400 * 3_989_012 + 6 * 3600, "3,989,012 d 6 h"),
        (-5, "0 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (42.9, "0:42"), (3753, "1:02:33"), (-1, "0:00")])
def test_clocks(seconds: float, text: str) -> None:
    assert words.clock_time(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "now"), (1, "now"), (12, "12 s ago"), (200, "3 min ago"), (90_000, "1 d ago")]
)
def test_ages(seconds: float, text: str) -> None:
    assert words.ago(seconds) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (4100, "4.1 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1.25e9, "1.2 GB"),
        (3e16, "30000 TB"),
    ],
)
def test_sizes(num_bytes: float, text: str) -> None:
    assert words.size(num_bytes) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3"), (0.123456, "0.1235"), (1234567, "1,234,567"), (1234.56, "1,234.6"), (3.2e-7, "3.2e-07")],
)
def test_numbers_of_a_job(value: float, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_said_as_it_is(value: float) -> None:
    assert words.number(value) == str(value)


@pytest.mark.parametrize(
    ("steps_per_s", "text"), [(14.23, "14.2 steps/s"), (0.25, "4.0 s/step"), (0, "0 steps/s")]
)
def test_speeds(steps_per_s: float, text: str) -> None:
    assert words.rate(steps_per_s) == text


def test_a_share_is_100_only_at_the_end() -> None:
    assert words.percent(999, 1000) == "99 %"
    assert words.percent(1000, 1000) == "100 %"
    assert words.percent(1, 0) == "0 %"


def test_a_range_that_is_known_is_one_number() -> None:
    assert words.span({"low": 1, "likely": 1, "high": 1}, words.usd) == "$1.00"
    assert words.span({"low": 1, "likely": 2, "high": 3}, words.usd) == "$2.00 ($1.00 to $3.00)"


def test_counts() -> None:
    assert words.count(1, "file") == "1 file"
    assert words.count(5000, "file") == "5,000 files"


def test_paths_are_shortened_for_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert words.home_path(tmp_path / "results" / "a") == "results/a"
    assert words.home_path(tmp_path) == "."
    assert words.home_path("/home/somebody/x") == "~/x"
    assert words.home_path("/home/somebodyelse/x") == "/home/somebodyelse/x"


@given(st.floats(min_value=0, max_value=1e9), st.floats(min_value=0, max_value=1e9))
def test_a_longer_time_never_reads_as_a_shorter_one(one: float, other: float) -> None:
    units = {"d": 86_400, "h": 3600, "min": 60, "s": 1}

    def read_back(text: str) -> int:
        parts = text.split()
        return sum(
            int(number.replace(",", "")) * units[unit]
            for number, unit in zip(parts[::2], parts[1::2], strict=True)
        )

    small, large = sorted((one, other))
    assert read_back(words.duration(small)) <= read_back(words.duration(large))
