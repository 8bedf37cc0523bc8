"""What fits in five dollars by six o'clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.forecast.conditions import Sizes, default_conditions
from launcher.forecast.estimates import Estimate, estimate
from launcher.forecast.throughput import Work
from launcher.planning.fits import fit_of
from tests.launcher.core.builders import NOON, offer, this_computer


def priced(hours: float = 10.0, usd_per_hour: float = 1.0) -> Estimate:
    machine = offer(usd_per_hour=usd_per_hour)
    return estimate(
        machine, Work(hours=hours, on="T4"), conditions=default_conditions("aws"), sizes=Sizes(code_bytes=1)
    )


def test_without_a_limit_there_is_nothing_to_fit_into() -> None:
    assert fit_of(priced(), max_cost_usd=None, until=None, now=NOON) is None


@pytest.mark.parametrize(
    ("usd", "hours", "words"),
    [
        (100.0, 100.0, "yes"),
        (12.0, 100.0, "likely"),
        (100.0, 11.0, "likely"),
        (0.01, 100.0, "0 %"),
        (99.0, 0.0, "0 %"),
    ],
)
def test_sure_likely_or_a_share(usd: float, hours: float, words: str) -> None:
    fit = fit_of(priced(), max_cost_usd=usd, until=NOON + timedelta(hours=hours), now=NOON)
    assert fit is not None and fit.words == words


def test_half_the_money_does_nearly_half_the_work() -> None:
    item = priced()
    fit = fit_of(item, max_cost_usd=item.usd.likely / 2, until=None, now=NOON)
    assert fit is not None
    assert 0.4 < fit.share < 0.5 and fit.bound_by == "money"


def test_this_computer_is_bound_by_time_alone() -> None:
    free = estimate(
        this_computer(), Work(hours=10, on="cpu"), conditions=default_conditions("local"), sizes=Sizes()
    )
    fit = fit_of(free, max_cost_usd=0.01, until=NOON + timedelta(hours=5), now=NOON)
    assert fit is not None and fit.bound_by == "time" and 0.4 < fit.share < 0.5


@given(st.floats(0.01, 100.0), st.floats(0.01, 50.0), st.floats(0.0, 50.0))
def test_more_money_never_fits_less(hours: float, usd: float, more: float) -> None:
    item = priced(hours)
    less, most = (fit_of(item, max_cost_usd=limit, until=None, now=NOON) for limit in (usd, usd + more))
    assert less is not None and most is not None
    assert 0.0 <= less.share <= most.share <= 1.0
