"""When a pace says something, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.policy.calibration import AFTER_S, LEAST_STEPS, Calibrated, Seen, calibrated
from launcher.policy.limits import Limits, Spent
from launcher.policy.reserve import Measured, Reserve, reserve_for
from launcher.records import from_json, to_json
from tests.launcher.core.builders import NOON, offer

SEEN = Seen(working_s=AFTER_S, steps_done=1800, steps_left=36_000, steps_per_s=10.0)


HOME = Reserve(save_s=0.0, pull_s=0.0, likely_pull_s=0.0, pull_bytes=0.0)


def of(seen: Seen = SEEN, max_cost_usd: float | None = 10.0, reserve: Reserve = HOME) -> Calibrated | None:
    limits = Limits(max_duration_s=1e6, max_cost_usd=max_cost_usd)
    return calibrated(
        seen,
        offer(usd_per_hour=1.0),
        limits,
        Spent(usd=0.5, seconds=1800.0),
        disk_gib=0.0,
        reserve=reserve,
        now=NOON,
    )


@pytest.mark.parametrize("changes", [{"working_s": AFTER_S - 1}, {"steps_done": LEAST_STEPS - 1}])
def test_too_little_says_nothing(changes: dict[str, float]) -> None:
    assert of(replace(SEEN, **changes)) is None  # type: ignore[arg-type]


def test_the_rest_goes_on_at_this_pace() -> None:
    found = of()
    assert found is not None
    assert found.hours.likely == pytest.approx(1.5)
    assert found.usd.likely == pytest.approx(0.5 + 1.0 + 0.005)
    assert from_json(Calibrated, to_json(found)) == found
    with_toll = of(replace(SEEN, toll=0.5))
    assert with_toll is not None and with_toll.hours.likely == pytest.approx(2.0)


def test_only_what_even_the_good_case_breaks_is_stopped() -> None:
    for limit, breaks in ((1.2, True), (1.45, False), (1.6, False), (None, False)):
        found = of(max_cost_usd=limit)
        assert found is not None and found.breaks_max_cost is breaks, limit


def test_what_is_kept_back_for_the_end_is_no_part_of_the_good_case() -> None:
    before = of(replace(SEEN, steps_left=600))
    kept = reserve_for(Measured(bytes_per_s=1e6), checkpoint_bytes=600_000_000)
    after = of(replace(SEEN, steps_left=600), reserve=kept)
    assert before is not None and after is not None
    assert (after.usd.low, after.hours.low) == (before.usd.low, before.hours.low)
    assert after.hours.likely - before.hours.likely == pytest.approx(600 / 3600)
    assert after.hours.high - before.hours.high == pytest.approx(900 / 3600)
    assert after.usd.low < after.usd.likely < after.usd.high
    limit = (after.usd.low + after.usd.likely) / 2
    fitting = of(replace(SEEN, steps_left=600), limit, kept)
    assert fitting is not None and not fitting.breaks_max_cost
    small = of(replace(SEEN, steps_left=600), reserve=reserve_for(Measured()))
    assert small is not None and small.usd.likely == before.usd.likely, (
        "no floor of the reserve is a forecast"
    )


@given(st.integers(0, 10**7), st.integers(0, 10**6), st.floats(0.01, 1e3))
def test_more_steps_left_never_cost_less(left: int, more: int, pace: float) -> None:
    less, most = (
        of(replace(SEEN, steps_left=steps, steps_per_s=pace), None) for steps in (left, left + more)
    )
    assert less is not None and most is not None
    assert less.usd.low <= most.usd.low and less.usd.high <= most.usd.high
