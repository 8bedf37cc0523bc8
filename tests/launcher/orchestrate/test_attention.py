"""What a step of a run hears while its files move."""

from __future__ import annotations

from datetime import timedelta

import pytest

from launcher import Kind
from launcher.orchestrate.attention import GaveWay, onlooker_of
from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.orchestrator import Orchestrator
from launcher.policy.states import RunState
from launcher.store import Intent
from launcher.supervise import hold_lock
from provisioning.models import utc_now
from tests.system.house import House, eventually


def test_a_wish_and_each_deadline_are_heard_once(house: House) -> None:
    ahead = timedelta(0)

    def step() -> RunContext:
        return RunContext(house.home, house.store, run.id, house.environ, clock=lambda: utc_now() + ahead)

    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.counting(), provider="fake", instance="t4.1x", max_duration_s=7200)
        orchestrator = Orchestrator(house.home, house.store, house.environ)
        eventually(lambda: orchestrator.advance(run.id) is None or house.store.instances(run.id), "a machine")
        deadlines = deadlines_now(step())
        onlooker_of(step()).listen()
        known = onlooker_of(step())
        house.store.ask(run.id, Intent.STOP)
        with pytest.raises(GaveWay, match="`launch stop` was called"):
            known.listen()
        known = onlooker_of(step())
        known.listen()
        house.store.ask(run.id, Intent.DOWN, discard=True)
        with pytest.raises(GaveWay, match="`launch down` was called"):
            known.listen()
        for moment in (deadlines.soft, deadlines.hard):
            known = onlooker_of(step())
            known.listen()
            ahead = moment - utc_now() + timedelta(seconds=1)
            with pytest.raises(GaveWay, match="a deadline of this run"):
                known.listen()
            onlooker_of(step()).listen()


def test_a_transfer_under_way_is_the_reason_that_the_run_waits(house: House) -> None:
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.counting(), provider="fake", instance="t4.1x")
        context = RunContext(house.home, house.store, run.id, house.environ)
        context.move(RunState.PROVISIONING, "a machine is being rented")
        report = onlooker_of(context).report
        report(Kind.TRANSFER, "data: 1 %", what="data", bytes=1, total_bytes=100)
        assert run.status().reason == "a machine is being rented"
        context.move(RunState.SYNCING, "code and data are placed")
        report(Kind.TRANSFER, "data: 2 %", what="data", bytes=2, total_bytes=100)
        assert run.status().reason == "data: 2 %"
        assert [event.message for event in run.events() if event.kind is Kind.TRANSFER] == [
            "data: 1 %",
            "data: 2 %",
        ]
