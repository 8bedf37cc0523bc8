"""The life of a fake machine: what is due, in which order, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning import InstanceState, WhenUnattended
from provisioning.fake.machine import (
    Effect,
    Machine,
    Period,
    due,
    interrupted,
    next_due,
    parked,
    terminated,
    unparked,
)
from tests.provisioning.machines import START


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def machine(**more: Any) -> Machine:
    fields: dict[str, Any] = {
        "id": "m-1",
        "region": "us-east",
        "zone": "us-east-a",
        "instance_type": "t4.1x",
        "spot": True,
        "usd_per_hour": 0.36,
        "disk_gib": 0.0,
        "attempt": 1,
        "tags": {"launch-run": "demo-abcd", "launch-token": "demo-abcd-1-1"},
        "parameters": "",
        "when_unattended": WhenUnattended.LINGER,
        "created_at": START,
        "deadline": at(3600),
        "boots_at": at(10),
        "boot_s": 10.0,
        "periods": (Period(START),),
        **more,
    }
    return Machine(**fields)


def lived(one: Machine, until: datetime) -> tuple[Machine, list[Effect]]:
    """Let everything happen that is due by ``until``."""
    effects = []
    while step := due(one, until):
        one = step[0]
        effects.append(step[1])
    return one, effects


def test_it_boots() -> None:
    assert lived(machine(), at(9))[0].state is InstanceState.PENDING
    assert lived(machine(), at(10)) == (replace(machine(), state=InstanceState.RUNNING), [Effect.NONE])


def test_the_deadline_ends_it_with_its_disk() -> None:
    one, effects = lived(machine(), at(9999))
    assert (one.state, one.reason, one.gone_at) == (InstanceState.TERMINATED, "deadline", at(3600))
    assert effects[-1] is Effect.WIPE


def test_the_deadline_parks_what_was_rented_so() -> None:
    one, effects = lived(machine(when_unattended=WhenUnattended.PARK), at(9999))
    assert (one.state, one.reason, one.gone_at) == (InstanceState.STOPPED, "deadline", None)
    assert effects[-1] is Effect.POWER_OFF


def test_an_interruption_is_announced_before_it_happens() -> None:
    planned = interrupted(machine(), at(10), after_s=5, notice_s=2)
    assert lived(planned, at(14.9))[1] == [Effect.NONE]
    assert lived(planned, at(15))[1] == [Effect.NONE, Effect.ANNOUNCE]
    one, effects = lived(planned, at(17))
    assert effects == [Effect.NONE, Effect.ANNOUNCE, Effect.WIPE]
    assert (one.state, one.reason) == (InstanceState.TERMINATED, "reclaimed by the spot market")


def test_an_interruption_may_come_without_notice() -> None:
    one, effects = lived(interrupted(machine(spot=False), at(10), after_s=5, notice_s=0), at(15))
    assert effects == [Effect.NONE, Effect.WIPE]
    assert one.reason == "its host failed"


def test_an_interruption_may_come_while_it_boots() -> None:
    one, effects = lived(interrupted(machine(), START, after_s=1, notice_s=1), at(5))
    assert one.state.is_gone
    assert effects == [Effect.ANNOUNCE, Effect.WIPE]


def test_termination_takes_its_time_and_cuts_power_at_once() -> None:
    one, effect = terminated(machine(terminate_s=30.0), at(60), "ended on request")
    assert (one.state, effect) == (InstanceState.STOPPING, Effect.POWER_OFF)
    assert lived(one, at(89))[0].state is InstanceState.STOPPING
    gone, effects = lived(one, at(90))
    assert (gone.state, gone.gone_at, effects) == (InstanceState.TERMINATED, at(90), [Effect.WIPE])


def test_what_parks_can_be_ended_meanwhile() -> None:
    stopping, _ = parked(machine(terminate_s=30.0), at(60), "parked on request")
    one, _ = terminated(stopping, at(61), "ended on request")
    assert lived(one, at(90))[0].state is InstanceState.TERMINATED


def test_a_parked_machine_starts_again_under_a_new_deadline() -> None:
    one, _ = parked(machine(), at(60), "parked on request")
    one, _ = lived(one, at(61))
    assert one.state is InstanceState.STOPPED
    assert lived(one, at(10_000_000))[0] == one
    again, _ = lived(unparked(one, at(7200), deadline=at(9000)), at(7210))
    assert again.state is InstanceState.RUNNING
    assert lived(again, at(9000))[0].state is InstanceState.TERMINATED


def test_only_compute_is_billed_by_the_second() -> None:
    one, _ = lived(parked(machine(), at(600), "parked")[0], at(600))
    again, _ = lived(unparked(one, at(7200), deadline=at(9000)), at(99999))
    assert one.seconds(at(5000)) == 600
    assert again.seconds(at(99999)) == 600 + 1800
    assert again.usd(at(99999)) == pytest.approx((600 + 1800) / 3600 * (0.36 + 0.005))


def test_a_parked_disk_costs_until_it_is_gone() -> None:
    month_s = 730 * 3600
    one, _ = lived(parked(machine(disk_gib=100.0), START, "parked")[0], START)
    assert one.usd(at(month_s)) == pytest.approx(100 * 0.08)
    gone, _ = lived(terminated(one, at(month_s), "ended")[0], at(month_s))
    assert gone.usd(at(3 * month_s)) == pytest.approx(100 * 0.08)


moments = st.floats(0, 8000)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    one = machine(
        deadline=at(draw(moments)),
        boots_at=at(draw(moments)),
        terminate_s=draw(st.sampled_from([0.0, 30.0])),
        when_unattended=draw(st.sampled_from(WhenUnattended)),
    )
    if draw(st.booleans()):
        one = interrupted(one, at(draw(moments)), draw(moments), draw(st.sampled_from([0.0, 2.0, 120.0])))
    if draw(st.booleans()):
        one, _ = draw(st.sampled_from([parked, terminated]))(one, at(draw(moments)), "ended")
    return one


@given(machines(), st.lists(moments))
def test_how_often_somebody_looks_changes_nothing(one: Machine, looks: list[float]) -> None:
    often, seen = one, []
    for moment in sorted([*looks, 20000.0]):
        often, effects = lived(often, at(moment))
        seen += effects
    assert (often, seen) == lived(one, at(20000.0))


@given(machines())
def test_every_life_ends_and_is_billed_no_further(one: Machine) -> None:
    ended, _ = lived(one, at(100000.0))
    assert ended.state in (InstanceState.STOPPED, InstanceState.TERMINATED)
    assert next_due(ended) is None
    assert all(period.end for period in ended.periods)
    if ended.state.is_gone:
        assert ended.usd(at(200000.0)) == ended.usd(at(300000.0))


@given(machines())
def test_a_machine_survives_json(one: Machine) -> None:
    assert Machine.from_json(one.to_json()) == one
