from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from launcher.policy.reserve import PULL_S, SAVE_S, Measured, reserve_for

GB = 1_000_000_000


def test_before_anything_was_measured_it_is_generous() -> None:
    reserve = reserve_for(Measured())
    assert (reserve.save_s, reserve.pull_s, reserve.pull_bytes) == (SAVE_S, PULL_S, 0.0)


def test_a_large_checkpoint_on_a_slow_line_is_given_its_time() -> None:
    slow = Measured().after_transfer(GB // 2, 250.0)
    reserve = reserve_for(slow, checkpoint_bytes=GB // 2)
    assert reserve.pull_s == 375.0, "half as long again"
    assert reserve.pull_bytes == GB // 2


def test_a_quick_job_on_a_fast_line_may_work_longer() -> None:
    fast = Measured().after_leaving(2.0).after_transfer(GB, 10.0)
    reserve = reserve_for(fast, checkpoint_bytes=GB // 2)
    assert reserve.save_s < SAVE_S and reserve.pull_s < PULL_S


def test_outputs_that_came_home_before_come_again() -> None:
    known = Measured(output_bytes=GB)
    assert reserve_for(known).pull_bytes == GB
    assert reserve_for(known).pull_s == 1.5 * GB / 12.5e6


def test_small_transfers_say_nothing_about_the_line() -> None:
    assert Measured().after_transfer(1000, 3.0) == Measured()


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.floats(1e3, 1e10),
    st.floats(1.0, 10.0),
)
def test_more_to_bring_and_a_slower_line_never_need_less_time(
    less: int, more: int, rate: float, slower: float
) -> None:
    less, more = sorted((less, more))
    quick, slow = Measured(bytes_per_s=rate), Measured(bytes_per_s=rate / slower)
    assert (
        reserve_for(quick, checkpoint_bytes=less).pull_s <= reserve_for(quick, checkpoint_bytes=more).pull_s
    )
    assert reserve_for(quick, checkpoint_bytes=less).pull_s <= reserve_for(slow, checkpoint_bytes=less).pull_s
