"""What we know of a machine after we have ended it ourselves."""

from __future__ import annotations

from launcher.orchestrate.context import RunContext
from launcher.orchestrate.machines import end_machines
from launcher.orchestrate.observe import observe
from launcher.policy.situation import Policy
from launcher.supervise import hold_lock
from provisioning import InstanceState
from tests.launcher.orchestrate.test_parking import follow
from tests.system.house import House


def test_a_confirmed_end_counts_at_once(house: House) -> None:
    with hold_lock(house.home):
        run = house.launch(house.counting(gate=3), provider="fake")
        follow(house, run, to_step=3)
        context = RunContext(house.home, house.store, run.id, house.environ)
        assert context.attempt is not None
        before = observe(context, context.attempt, Policy())
        assert before.situation.machine.state is InstanceState.RUNNING
        assert end_machines(context, attempt=1)
        after = observe(context, context.attempt, Policy())
        assert after.situation.machine.state is InstanceState.TERMINATED
        run.down(discard=True)
        follow(house, run)
