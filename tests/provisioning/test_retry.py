"""What is retried, how often, and how long the waits are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning import BadCredentials, NoCapacity, Throttled, Transient, Unreachable
from provisioning.retry import END, READ, WATCH, Policy, call


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def call(self, function: Callable[[], Any], policy: Policy, chance: float = 0.0) -> Any:
        return call(function, policy, clock=self.clock, sleep=self.sleep, random=lambda: chance)


def failing(*errors: Exception, then: str = "answer") -> Callable[[], str]:
    """Return a function that raises each error once, and then answers."""
    left = list(errors)

    def function() -> str:
        if left:
            raise left.pop(0)
        return then

    return function


def always(error: Exception) -> Callable[[], str]:
    def function() -> str:
        raise error

    return function


FOUR = Policy(attempts=4, deadline_s=100.0, first_wait_s=1.0, longest_wait_s=3.0)


def test_the_first_answer_is_returned_without_a_wait() -> None:
    time = Time()
    assert time.call(lambda: "answer", FOUR) == "answer"
    assert time.naps == []


def test_transient_errors_are_outlived() -> None:
    time = Time()
    assert time.call(failing(Unreachable("a"), Throttled("b"), Transient("c")), FOUR) == "answer"
    assert time.naps == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("error", [BadCredentials("expired"), NoCapacity("full"), ValueError("ours")])
def test_any_other_error_is_an_answer(error: Exception) -> None:
    time = Time()
    with pytest.raises(type(error)) as raised:
        time.call(failing(error), FOUR)
    assert raised.value is error
    assert time.naps == []


def test_the_last_error_is_raised_when_the_attempts_are_used_up() -> None:
    time = Time()
    errors = [Unreachable(str(number)) for number in range(5)]
    with pytest.raises(Unreachable, match="3"):
        time.call(failing(*errors), FOUR)
    assert len(time.naps) == 3


def test_the_deadline_ends_it_before_the_attempts_do() -> None:
    time = Time()
    with pytest.raises(Unreachable):
        time.call(always(Unreachable("no route")), Policy(attempts=1000, deadline_s=10.0))
    assert sum(time.naps) == pytest.approx(10.0)


def test_slow_calls_count_against_the_deadline() -> None:
    time = Time()

    def slow() -> str:
        time.now += 60.0
        raise Unreachable("timed out")

    with pytest.raises(Unreachable):
        time.call(slow, FOUR)
    assert len(time.naps) == 1


def test_the_providers_own_wish_is_kept() -> None:
    time = Time()
    assert time.call(failing(Throttled("slow down", retry_after_s=7.5)), FOUR) == "answer"
    assert time.naps == [7.5]


def test_a_wish_beyond_the_deadline_ends_it_at_once() -> None:
    time = Time()
    with pytest.raises(Throttled):
        time.call(failing(Throttled("come back tomorrow", retry_after_s=86400)), FOUR)
    assert time.naps == []


@given(
    st.builds(
        Policy,
        attempts=st.integers(1, 20),
        deadline_s=st.floats(0, 1000),
        first_wait_s=st.floats(0, 10),
        longest_wait_s=st.floats(0, 60),
        jitter=st.floats(0, 1),
    ),
    st.floats(0, 1),
)
def test_no_policy_is_ever_exceeded(policy: Policy, chance: float) -> None:
    time, calls = Time(), []

    def count() -> str:
        calls.append(1)
        raise Unreachable("no route")

    with pytest.raises(Unreachable):
        time.call(count, policy, chance)
    assert 1 <= len(calls) <= policy.attempts
    assert sum(time.naps) <= policy.deadline_s + 1e-6
    assert all(0 <= nap <= policy.longest_wait_s + 1e-9 for nap in time.naps)


@pytest.mark.parametrize("policy", [READ, WATCH, END])
def test_waits_grow_up_to_a_limit_and_chance_shortens_them(policy: Policy) -> None:
    waits = [policy.wait_s(failures, 0.0) for failures in range(1, 20)]
    assert waits == sorted(waits)
    assert waits[-1] == policy.longest_wait_s
    assert policy.wait_s(3, 1.0) == pytest.approx(policy.wait_s(3, 0.0) * (1 - policy.jitter))


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"jitter": 1.5}])
def test_a_policy_without_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="policy"):
        Policy(**{"attempts": 1, "deadline_s": 1.0, **wrong})
