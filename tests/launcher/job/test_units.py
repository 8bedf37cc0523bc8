from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.job import Amount, MemoryAmount, Size, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("100", 100 * 10**9),
        ("100GB", 100 * 10**9),
        ("100 gb", 100 * 10**9),
        ("100GiB", 100 * 2**30),
        ("1.5TB", 1500 * 10**9),
        ("512MiB", 512 * 2**20),
        ("3B", 3),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert Size.parse(text).bytes == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 GB GB", "1e3", "10 parsecs", "1,5GB", "nan"])
def test_not_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        Size.parse(text)


@given(st.integers(min_value=0, max_value=2**60))
def test_sizes_round_trip(size_bytes: int) -> None:
    assert Size.parse(str(Size(size_bytes))).bytes == size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8h", 8 * 3600),
        ("90m", 5400),
        ("90min", 5400),
        ("1d12h", 36 * 3600),
        ("1d 12h", 36 * 3600),
        ("1.5h", 5400),
        ("30s", 30),
        ("0.5s", 0.5),
        ("2w", 14 * 86400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "8", "h", "8 hours", "1h1h", "1h 90", "-1h", "8h!", "99999999999d"])
def test_not_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3000)))
def test_durations_round_trip(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


def test_an_amount_without_plus_is_exact() -> None:
    assert Amount.parse("4").accepts(4)
    assert not Amount.parse("4").accepts(8)
    assert Amount.parse("4+").accepts(8)
    assert not Amount.parse("4+").accepts(2)


def test_16_gb_are_what_clouds_sell_as_16_gib() -> None:
    assert MemoryAmount.parse("16").accepts(16.0)
    assert MemoryAmount.parse("16GB+").accepts(15.25)
    assert not MemoryAmount.parse("16").accepts(32.0)
    assert not MemoryAmount.parse("16GiB+").accepts(15.25)
