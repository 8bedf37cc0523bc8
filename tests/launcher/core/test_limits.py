from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.errors import OverBudget, UsageError
from launcher.forecast.money import GIB, burn_usd_per_hour
from launcher.forecast.ranges import Range
from launcher.policy.limits import (
    Limits,
    LimitWarning,
    Spent,
    change_limit,
    deadlines_of,
    default_limits,
    forecast_usd,
    new_warnings,
    raise_max_cost,
)
from launcher.policy.situation import Deadlines
from launcher.policy.states import Reason
from tests.launcher.core.builders import NOON, offer, this_computer

EIGHT_HOURS = Limits(max_duration_s=8 * 3600.0, max_cost_usd=5.0)


def deadlines(limits: Limits = EIGHT_HOURS, **changes: Any) -> Deadlines:
    values: dict[str, Any] = {
        "now": NOON,
        "spent": Spent(),
        "disk_gib": 0.0,
        "save_s": 20.0,
        "pull_s": 280.0,
    }
    return deadlines_of(limits, changes.pop("of", offer()), **{**values, **changes})


class TestDefaults:
    def test_twice_the_high_estimate(self) -> None:
        limits = default_limits(Range(1, 2, 4), Range(0.5, 1.0, 2.113))
        assert limits.max_duration_s == 8 * 3600
        assert limits.max_cost_usd == 4.23
        assert limits.duration_is_default
        assert limits.cost_is_default

    def test_however_long_it_would_take_there_is_a_date(self) -> None:
        assert default_limits(Range(1, 1e6, 1e9), Range(1, 2, 4)).max_duration_s == 3650 * 86_400

    def test_at_least_an_hour(self) -> None:
        assert default_limits(Range(0.01, 0.02, 0.04), Range.zero()).max_duration_s == 3600

    def test_no_money_limit_where_nothing_costs_anything(self) -> None:
        assert default_limits(Range(1, 2, 4), Range.zero()).max_cost_usd is None

    def test_what_was_asked_for_wins(self) -> None:
        limits = default_limits(Range(1, 2, 4), Range(1, 2, 4), max_duration_s=60.0, max_cost_usd=0.5)
        assert (limits.max_duration_s, limits.max_cost_usd) == (60.0, 0.5)
        assert not limits.duration_is_default
        assert not limits.cost_is_default

    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("max_duration", {"max_duration_s": 0.0}),
            (r"max_duration must be at most 3,650 d: 100,000 d", {"max_duration_s": 100_000 * 86_400.0}),
            ("max_cost", {"max_cost_usd": -1.0}),
            ("max_cost", {"max_cost_usd": float("nan")}),
            ("max_price", {"max_usd_per_hour": 0.0}),
            ("until", {"until": datetime(2026, 11, 21)}),
        ],
    )
    def test_impossible_limits_are_refused_by_name(self, name: str, changes: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=name):
            Limits(**{"max_duration_s": 60.0, "max_cost_usd": 1.0, **changes})


class TestDeadlines:
    def test_time_runs_out_first(self) -> None:
        found = deadlines()
        assert found.hard == NOON + timedelta(hours=8)
        assert found.soft == found.hard - timedelta(seconds=300)
        assert found.reason is Reason.DEADLINE

    def test_money_runs_out_first(self) -> None:
        found = deadlines(spent=Spent(usd=4.0), of=offer(usd_per_hour=0.495), disk_gib=0.0)
        assert found.hard == NOON + timedelta(hours=2)
        assert found.reason is Reason.BUDGET

    def test_disk_and_the_last_pull_are_part_of_the_money(self) -> None:
        with_disk = deadlines(spent=Spent(usd=4.0), disk_gib=500.0, pull_bytes=GIB)
        left_usd = 5.0 - 4.0 - 0.09
        lasts_h = left_usd / burn_usd_per_hour(offer(), disk_gib=500.0)
        assert (with_disk.hard - NOON).total_seconds() == pytest.approx(lasts_h * 3600)

    def test_until_is_wall_clock(self) -> None:
        limits = Limits(max_duration_s=8 * 3600.0, max_cost_usd=None, until=NOON + timedelta(hours=1))
        assert deadlines(limits).hard == NOON + timedelta(hours=1)

    def test_earlier_attempts_count_and_days_between_them_do_not(self) -> None:
        later = NOON + timedelta(days=3)
        found = deadlines(now=later, spent=Spent(seconds=7 * 3600.0))
        assert found.hard == later + timedelta(hours=1)

    def test_nothing_left_is_now(self) -> None:
        for spent in (Spent(usd=5.0), Spent(usd=99.0), Spent(seconds=9 * 3600.0)):
            found = deadlines(spent=spent)
            assert found.soft == found.hard == NOON

    def test_until_in_the_past_is_now(self) -> None:
        limits = Limits(max_duration_s=60.0, max_cost_usd=None, until=NOON - timedelta(hours=1))
        assert deadlines(limits).hard == NOON

    def test_a_short_run_keeps_half_of_its_time_to_work(self) -> None:
        found = deadlines(Limits(max_duration_s=60.0, max_cost_usd=None))
        assert found.soft == NOON + timedelta(seconds=30)

    def test_a_free_machine_has_no_end_of_money(self) -> None:
        assert deadlines(of=this_computer(), spent=Spent(usd=4.99)).reason is Reason.DEADLINE

    @given(st.floats(0, 10), st.floats(0, 10 * 3600), st.floats(0, 1e4), st.floats(0, 1e4))
    def test_soft_comes_before_hard_and_money_is_never_exceeded(
        self, usd: float, seconds: float, save_s: float, pull_s: float
    ) -> None:
        spent = Spent(usd=usd, seconds=seconds)
        found = deadlines(spent=spent, save_s=save_s, pull_s=pull_s)
        assert NOON <= found.soft <= found.hard
        left_s = (found.hard - NOON).total_seconds()
        at_the_end = forecast_usd(offer(), spent, remaining_s=left_s, disk_gib=0.0)
        assert at_the_end <= max(5.0, usd) + 1e-6


class TestWarnings:
    def due(self, said: tuple[LimitWarning, ...] = (), **spent: float) -> set[LimitWarning]:
        return set(new_warnings(EIGHT_HOURS, Spent(**spent), forecast_usd=None, remaining_s=None, said=said))

    def test_half_and_most_of_the_money(self) -> None:
        assert self.due(usd=2.49) == set()
        assert self.due(usd=2.5) == {LimitWarning.HALF_COST}
        assert self.due(usd=4.0) == {LimitWarning.MOST_COST}

    def test_half_and_most_of_the_time(self) -> None:
        assert self.due(seconds=4 * 3600.0) == {LimitWarning.HALF_TIME}
        assert self.due(seconds=7 * 3600.0) == {LimitWarning.MOST_TIME}

    def test_each_is_said_once(self) -> None:
        assert self.due((LimitWarning.HALF_COST,), usd=2.6) == set()

    def test_a_forecast_that_breaks_a_limit_is_said_with_its_numbers(self) -> None:
        due = new_warnings(
            EIGHT_HOURS, Spent(usd=1.0, seconds=3600.0), forecast_usd=6.3, remaining_s=9 * 3600.0
        )
        assert set(due) == {LimitWarning.FORECAST_COST, LimitWarning.FORECAST_TIME}
        assert "$6.30" in due[LimitWarning.FORECAST_COST]
        assert "$5.00" in due[LimitWarning.FORECAST_COST]
        assert "9.0 h" in due[LimitWarning.FORECAST_TIME]
        assert "7.0 h" in due[LimitWarning.FORECAST_TIME]

    def test_no_money_limit_no_money_warning(self) -> None:
        free = Limits(max_duration_s=3600.0, max_cost_usd=None)
        assert new_warnings(free, Spent(usd=99.0), forecast_usd=999.0, remaining_s=None) == {}


class TestChanging:
    def test_an_addition_and_a_new_limit(self) -> None:
        assert change_limit(5.0, "+2", name="--max-cost") == 7.0
        assert change_limit(5.0, " + 2.50", name="--max-cost") == 7.5
        assert change_limit(5.0, "3", name="--max-cost") == 3.0

    @pytest.mark.parametrize("text", ["", "+", "-2", "+-2", "0", "+0", "nan", "inf", "two", "2$"])
    def test_what_makes_no_sense_is_refused_with_a_hint(self, text: str) -> None:
        with pytest.raises(UsageError, match="--max-cost") as caught:
            change_limit(5.0, text, name="--max-cost")
        assert caught.value.hint

    def test_nothing_to_add_to(self) -> None:
        with pytest.raises(UsageError, match="no limit to add to"):
            change_limit(None, "+2", name="--max-cost")

    def test_any_reader_of_numbers(self) -> None:
        assert (
            change_limit(60.0, "+2m", name="--max-duration", read=lambda text: 60 * float(text[:-1])) == 180.0
        )

    def test_resuming_needs_money_that_is_left(self) -> None:
        spent = Spent(usd=5.2)
        assert raise_max_cost(EIGHT_HOURS, "+2", spent, run_id="b2t-k3f9").max_cost_usd == 7.0
        with pytest.raises(OverBudget, match=r"cost \$5.20 and its limit is \$5.00") as caught:
            raise_max_cost(EIGHT_HOURS, None, spent, run_id="b2t-k3f9")
        assert "launch resume b2t-k3f9 --max-cost +2" in str(caught.value.hint)
        with pytest.raises(OverBudget, match=r"cost \$0.004 and its limit is <\$0.001"):
            raise_max_cost(EIGHT_HOURS, "0.0001", Spent(usd=0.004), run_id="b2t-k3f9")

    def test_an_unchanged_limit_stays_a_default(self) -> None:
        limits = default_limits(Range(1, 2, 4), Range(1, 2, 4))
        assert raise_max_cost(limits, None, Spent(), run_id="b2t-k3f9") == limits
        assert not raise_max_cost(limits, "+1", Spent(), run_id="b2t-k3f9").cost_is_default
