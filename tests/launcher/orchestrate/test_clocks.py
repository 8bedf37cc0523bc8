"""The clock of this computer jumps, or stood still while it was asleep: nothing is ended, stalled or repeated for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from launcher import Kind, Run
from launcher.orchestrate.context import Memory
from launcher.orchestrate.orchestrator import Orchestrator
from launcher.supervise import hold_lock
from provisioning import ProviderContext
from provisioning.models import utc_now
from provisioning.registry import provider
from tests.system.house import House, expected_outcome


class Clock:
    """The wall clock of this computer, and how it was set."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@contextmanager
def supervised(house: House, run: Run, clock: Clock) -> Iterator[Callable[[Callable[[], object], str], None]]:
    """Be the supervisor, by a clock that can be set; the cloud has its own."""
    options = run._context().job.provider_options.get("fake", {})
    cloud = provider("fake", ProviderContext(home=house.state, environ=house.environ, options=options))
    orchestrator = Orchestrator(house.home, house.store, house.environ, clock=clock)
    orchestrator._memories[run.id] = Memory(providers={"fake": cloud})

    def follow(until: Callable[[], object], what: str) -> None:
        give_up_at = time.monotonic() + 90
        next_look_s: float | None = 0.0
        while next_look_s is not None and not until():
            assert time.monotonic() < give_up_at, f"waited for {what}: {run.status()}"
            time.sleep(min(next_look_s, 0.1))
            next_look_s = orchestrator.advance(run.id)

    yield follow


def homecomings(run: Run) -> int:
    return sum(event.kind is Kind.CHECKPOINT and event.data["where"] == "home" for event in run.events())


def test_jumps_while_the_job_runs(house: House) -> None:
    checkpoint = {"dir": "saved", "mirror_every": "1s"}
    job = house.counting(total=20, pace_s=0.1, every=2, gate=6, checkpoint=checkpoint)
    clock = Clock()
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(job, provider="fake", instance="t4.1x", max_duration_s=7200)
        with supervised(house, run, clock) as follow:
            follow(lambda: (run.status().step or 0) >= 6 and homecomings(run), "a checkpoint at home")
            clock.ahead = timedelta(days=2)
            follow(lambda: any("clock of this computer" in e.message for e in run.events()), "the warning")
            assert run.status().state == "running", "its own clock says that there is time"
            clock.ahead = timedelta(days=-2)
            before = homecomings(run)
            house.open_gate()
            follow(lambda: homecomings(run) > before, "the next checkpoint at home")
            follow(lambda: False, "the end")
    assert run.status().state == "succeeded", run.status().reason
    assert len(house.machines()) == 1
    assert house.outcome(run) == expected_outcome(20)
    house.audit(run)


def test_a_program_that_does_not_save_is_told_what_that_costs(house: House) -> None:
    clock = Clock()
    with hold_lock(house.home) as held:
        assert held
        checkpoint = {"dir": "saved", "every": "1s"}
        run = house.launch(house.counting(every=99, gate=2, checkpoint=checkpoint), provider="fake")
        with supervised(house, run, clock) as follow:
            follow(lambda: (run.status().step or 0) >= 2, "the job at work")
            clock.ahead = timedelta(minutes=4)
            follow(lambda: any("nothing saved yet" in e.message for e in run.events()), "the warning")
            told = run.status().to_json()["loss_now"]
            assert told["saved"] is None and told["usd"] > 0.0, told
            house.open_gate()
            follow(lambda: False, "the end")
    assert run.status().to_json()["loss_now"] is None
    assert sum("nothing saved yet" in event.message for event in run.events()) == 1
    house.audit(run)


def test_an_hour_asleep_while_a_machine_boots_and_while_a_pause_lasts(house: House) -> None:
    """A boot that nobody watched is not too long; a pause is over, or not made longer."""
    clock = Clock()
    with hold_lock(house.home) as held:
        assert held
        job = house.counting(total=3, gate=2, provider_options={"fake": {"boot_s": 3}})
        run = house.launch(job, provider="fake", instance="t4.1x", max_duration_s=7200)
        with supervised(house, run, clock) as follow:
            follow(lambda: house.store.instances(run.id), "a machine")
            clock.ahead = timedelta(hours=1)
            follow(lambda: (run.status().step or 0) >= 2, "the job at work")
            attempt = house.store.attempts(run.id)[-1]
            house.store.update_attempt(attempt, not_before=clock() + timedelta(days=1))
            house.open_gate()
            follow(lambda: False, "the end")
    assert run.status().state == "succeeded", run.status().reason
    assert len(house.machines()) == 1
    house.audit(run)
