from __future__ import annotations

from datetime import timedelta

from launcher.policy.silence import Silence
from tests.launcher.core.builders import NOON


def looks(*seen: tuple[float, bool, bool]) -> Silence:
    """Look at these seconds after noon: (when, machine answered, provider answered)."""
    silence = Silence()
    for at_s, machine, provider in seen:
        now = NOON + timedelta(seconds=at_s)
        silence = silence.after(now, machine_answered=machine, provider_answered=provider)
    return silence


def test_silence_is_the_time_between_looks_that_observed_it() -> None:
    assert looks((0, False, True), (30, False, True), (60, False, True)).seconds == 60


def test_an_answer_ends_it() -> None:
    assert looks((0, False, True), (60, False, True), (61, True, True)) == Silence()


def test_an_hour_asleep_is_not_an_hour_of_silence() -> None:
    silence = looks((0, False, True), (30, False, True), (3630, False, True), (3660, False, True))
    assert silence.seconds == 60


def test_with_the_network_down_at_home_no_time_passes_but_none_is_forgotten() -> None:
    silence = looks(
        (0, False, True), (60, False, True), (90, False, False), (120, False, True), (150, False, True)
    )
    assert silence.seconds == 90


def test_a_clock_that_was_set_back_adds_nothing() -> None:
    assert looks((0, False, True), (60, False, True), (10, False, True)).seconds == 60
