"""A machine that does not answer and holds what never came home: its compute ends, its disk stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from launcher import Run
from launcher.errors import WrongState
from launcher.orchestrate.act import act
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.observe import observe
from launcher.orchestrate.orchestrator import Orchestrator
from launcher.policy.actions import EndMachine
from launcher.policy.recover import decide
from launcher.policy.situation import Policy
from launcher.supervise import hold_lock
from provisioning.models import utc_now
from tests.system.house import House, expected_outcome


def follow(
    house: House,
    run: Run,
    *,
    to_step: int | None = None,
    until: Callable[[], bool] = lambda: False,
    clock: Callable[[], datetime] = utc_now,
) -> None:
    """Be the supervisor until the run has ended, or has come so far."""
    orchestrator = Orchestrator(house.home, house.store, house.environ, clock=clock)
    give_up_at = time.monotonic() + 90
    next_look_s: float | None = 0.0
    while next_look_s is not None and (to_step is None or (run.status().step or 0) < to_step) and not until():
        assert time.monotonic() < give_up_at, run.status()
        time.sleep(min(next_look_s, 0.1))
        next_look_s = orchestrator.advance(run.id)


def end_for_its_silence(house: House, run: Run) -> None:
    """Look once with the machine's answers cut off, and do what is decided then."""
    context = RunContext(house.home, house.store, run.id, house.environ)
    assert context.attempt is not None
    seen = observe(context, context.attempt, Policy())
    silent = replace(seen.situation.machine, reachable=False, silent_s=901.0)
    unseen = replace(seen, runner=None, situation=replace(seen.situation, machine=silent))
    action = decide(unseen.situation)
    assert isinstance(action, EndMachine)
    act(context, unseen, action)


def test_its_disk_is_kept_and_the_run_goes_on_elsewhere(house: House) -> None:
    job = house.counting(
        total=40,
        pace_s=0.1,
        when_unattended="park",
        checkpoint={"dir": "saved", "mirror_every": "1s"},
    )
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(job, provider="fake", instance="t4.1x")
        follow(house, run, to_step=5)
        end_for_its_silence(house, run)
        follow(house, run)
    assert run.status().state == "succeeded", run.status().reason
    assert house.outcome(run) == expected_outcome(40)
    assert [machine["state"] for machine in house.machines()] == ["stopped", "terminated"]
    assert [attempt.cause for attempt in run.status().attempts] == ["unreachable", "finished"]
    run.down()
    assert house.outcome(run) == expected_outcome(40)
    house.audit(run)


def test_what_was_not_to_be_parked_is_ended(house: House) -> None:
    with hold_lock(house.home) as held:
        assert held
        job = house.counting(total=30, pace_s=0.1, when_unattended="linger")
        run = house.launch(job, provider="fake", instance="t4.1x")
        follow(house, run, to_step=3)
        end_for_its_silence(house, run)
        follow(house, run)
    assert run.status().state == "succeeded", run.status().reason
    assert house.outcome(run) == expected_outcome(30)
    house.audit(run)


def test_down_wins_over_a_disk_that_was_to_be_kept(house: House) -> None:
    """Whichever of the two is typed first, and also when the end has been decided in between."""
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.counting(gate=3), provider="fake", instance="t4.1x")
        follow(house, run, to_step=3)
        run.stop(keep_disk=True)
        follow(house, run, until=lambda: house.store.run(run.id).verdict is not None)
        run.down()
        with pytest.raises(WrongState, match="no disk is kept"):
            run.stop(keep_disk=True)
        run.stop()
        follow(house, run)
    assert [machine["state"] for machine in house.machines()] == ["terminated"]
    assert house.store.attempts(run.id)[0].fetched
    house.audit(run)
