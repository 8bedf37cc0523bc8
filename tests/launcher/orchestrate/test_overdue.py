"""Behind its hard deadline a machine that nobody has ended is ended from here, as it was agreed for that moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from launcher import Run
from launcher.orchestrate.orchestrator import Orchestrator
from launcher.supervise import hold_lock
from provisioning import InstanceRef, Parkable, ProviderContext
from provisioning.models import utc_now
from provisioning.registry import provider
from tests.system.house import House


def follow(house: House, run: Run, clock: Callable[[], datetime], until: Callable[[], bool]) -> None:
    """Be the supervisor, by a clock of our own."""
    orchestrator = Orchestrator(house.home, house.store, house.environ, clock=clock)
    give_up_at = time.monotonic() + 60
    next_look_s: float | None = 0.0
    while next_look_s is not None and not until():
        assert time.monotonic() < give_up_at, run.status()
        time.sleep(min(next_look_s, 0.1))
        next_look_s = orchestrator.advance(run.id)


def the_machine_outlives_its_deadline(house: House, run: Run) -> None:
    """As one does whose own clock or provider fails: it is there, long after it should have ended."""
    ref = InstanceRef.parse(house.store.instances(run.id)[0].ref)
    cloud = provider("fake", ProviderContext(home=house.state, environ=house.environ))
    assert isinstance(cloud, Parkable)
    cloud.park(ref)
    cloud.get(ref)
    cloud.unpark(ref, utc_now() + timedelta(days=30))


@pytest.mark.parametrize("when_unattended", ["park", "linger"])
def test_a_machine_whose_outputs_cannot_come_home(house: House, when_unattended: str) -> None:
    job = house.job("echo early > $LAUNCH_OUTPUT_DIR/early.txt", when_unattended=when_unattended)
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(job, provider="fake", instance="t4.1x")
        house.results.write_text("in the way")
        waits = "outputs are not home yet"
        follow(house, run, utc_now, until=lambda: waits in run.status().reason)
        the_machine_outlives_its_deadline(house, run)
        follow(house, run, utc_now, until=lambda: house.machines()[0]["state"] == "running")
        assert run.status().is_live, "before its deadline the machine is kept"

        follow(house, run, lambda: utc_now() + timedelta(days=2), until=lambda: False)
    status = run.status()
    assert (status.state, status.reason_code) == ("stopped", "deadline"), "no success without its outputs"
    assert any("could not be brought home" in event.message for event in run.events())
    if when_unattended == "linger":
        house.audit(run)
        return
    house.audit(run, kept=True)
    assert house.machines()[0]["state"] == "stopped"
    house.results.unlink()
    run.down()
    assert (house.results / run.id / "outputs/early.txt").read_text() == "early\n"
    house.audit(run)
