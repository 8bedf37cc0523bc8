"""The deadline that counts is the one that is armed on the machine, however long renting it took."""

from __future__ import annotations

from datetime import timedelta

from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.context import RunContext
from provisioning import InstanceRef, ProviderContext
from provisioning.registry import provider
from tests.system.house import House


def test_a_create_call_that_took_its_time_does_not_move_the_end(house: House) -> None:
    throttled = {
        "fake": {"faults": [{"call": "create", "kind": "throttled", "times": 2, "retry_after_s": 1.5}]}
    }
    job = house.counting(total=2000, pace_s=0.05, provider_options=throttled, max_duration="10m")
    run = house.launch(job, provider="fake")
    house.until(run, "running")

    (row,) = house.store.instances(run.id)
    fake = provider("fake", ProviderContext(home=house.state, environ=house.environ))
    armed = fake.get(InstanceRef.parse(row.ref)).deadline
    deadlines = deadlines_now(RunContext(house.home, house.store, run.id, house.environ))

    assert armed == row.deadline
    assert deadlines.hard == armed
    assert row.created_at + timedelta(minutes=10) - deadlines.hard >= timedelta(seconds=2.5), "it was late"
    assert deadlines.soft < deadlines.hard
    run.down(discard=True)
    run.wait(timeout_s=60)
    house.audit(run)
