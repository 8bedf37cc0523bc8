from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.batches import Prefetcher
from trainer.randomness import stream_seed
from trainer.sampling import BatchSampler, validation_batches

BY_DAY = {0: np.arange(0, 10), 1: np.arange(10, 13), 4: np.arange(13, 40)}


def sampler(**changes: object) -> BatchSampler:
    options = {"batch_size": 7, "days_per_batch": 2, "seed": 3, **changes}
    return BatchSampler(BY_DAY, **options)  # type: ignore[arg-type]


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    forwards = [sampler().batch(step) for step in range(20)]
    backwards = [sampler().batch(step) for step in reversed(range(20))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, sampler(seed=4).batch(i)) for i, a in enumerate(forwards))


@given(
    batch_size=st.integers(1, 30),
    days=st.integers(1, 3),
    seed=st.integers(0, 1000),
    step=st.integers(0, 10**6),
)
def test_every_batch_has_its_size_and_its_share_of_days(
    batch_size: int, days: int, seed: int, step: int
) -> None:
    batch = sampler(batch_size=batch_size, days_per_batch=days, seed=seed).batch(step)
    assert len(batch) == batch_size
    counts = [int(np.isin(batch, positions).sum()) for positions in BY_DAY.values()]
    assert sum(count > 0 for count in counts) == min(days, batch_size)
    drawn = [count for count in counts if count]
    assert max(drawn) - min(drawn) <= 1


def test_sessions_that_must_be_included_are() -> None:
    always = sampler(must_include_days=(-1,), num_days=5)
    assert all(np.isin(always.batch(step), BY_DAY[4]).any() for step in range(50))


def test_validation_takes_every_trial_once_one_session_at_a_time() -> None:
    batches = list(validation_batches(BY_DAY, 4))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(40))
    for batch in batches:
        assert any(np.isin(batch, positions).all() for positions in BY_DAY.values())


def test_streams_differ_by_purpose_and_coordinates() -> None:
    seeds = {
        stream_seed(1, "a"),
        stream_seed(1, "b"),
        stream_seed(1, "a", 0),
        stream_seed(1, "a", 1),
        stream_seed(2, "a"),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_prefetched_items_come_in_order_whatever_the_threads(num_threads: int) -> None:
    with Prefetcher(range(200), lambda n: n * n, num_threads=num_threads, ahead=5) as items:
        assert list(items) == [n * n for n in range(200)]


def test_an_error_in_a_thread_reaches_the_one_who_asks() -> None:
    def make(n: int) -> int:
        return 10 // (3 - n)

    with Prefetcher(range(10), make, num_threads=2, ahead=4) as items:
        taken = iter(items)
        assert [next(taken) for _ in range(3)] == [3, 5, 10]
        with pytest.raises(ZeroDivisionError):
            next(taken)


def test_a_prefetcher_that_is_left_early_stops_its_threads() -> None:
    made: list[int] = []
    with Prefetcher(iter(range(10**9)), lambda n: made.append(n) or n, num_threads=2, ahead=4) as items:
        assert next(iter(items)) == 0
    count = len(made)
    assert count <= 7
    assert len(made) == count
