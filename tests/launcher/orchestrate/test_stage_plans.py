"""What each stage of a job has of its own: how its machine ends unattended, what may be paid for it, who goes on with it."""

from __future__ import annotations

from dataclasses import replace

from launcher.orchestrate.candidates import agreed_usd_per_hour, begin_attempt
from launcher.orchestrate.context import RunContext
from launcher.policy.stages import StageState
from launcher.records import to_json
from launcher.supervise import hold_lock
from launcher.supervise.awake import needs_this_computer
from provisioning import WhenUnattended
from tests.system.house import House

STAGES = [
    {"name": "here", "run": "true"},
    {
        "name": "there",
        "run": "true",
        "after": "here",
        "resources": {"cloud": "fake", "instance_type": "t4.1x", "max_hourly_cost": 0.9},
    },
    {
        "name": "large",
        "run": "true",
        "after": "there",
        "resources": {"cloud": "fake", "instance_type": "a100.8x", "max_hourly_cost": 90},
    },
]


def test_each_stage_has_its_own(house: House) -> None:
    with hold_lock(house.home) as held:  # nobody follows it: it stays as it was planned
        assert held
        run = house.launch(house.job(None, stages=STAGES, resources={"cloud": "local"}), provider=None)
        context = RunContext(house.home, house.store, run.id, house.environ)
        assert needs_this_computer(context.run), "nobody else begins the next stage"
        assert context.plan.when_unattended is WhenUnattended.LINGER
        context.update_stage("here", state=StageState.SUCCEEDED)
        assert context.stage.name == "there"
        assert context.plan.when_unattended is WhenUnattended.PARK
        attempt = begin_attempt(context)
        assert agreed_usd_per_hour(context, attempt, context.offer_of(attempt)) == 0.9, (
            "not what a larger one may cost"
        )
        there = to_json(context.offer_of(attempt))
        here = to_json(replace(context.offer_of(attempt), provider="local"))
        held = context.when_unattended(replace(attempt, offer=there)), context.mirror_every_s(attempt)
        assert held == (WhenUnattended.PARK, context.plan.mirror_every_s)
        elsewhere = replace(attempt, offer=here)
        assert context.when_unattended(elsewhere) is WhenUnattended.LINGER, (
            "whatever was planned for another provider"
        )
        context.update_run(
            plan={
                **context.run.plan,
                "stages": [
                    {**stage, "mirror_every_s_on": {"local": 7.0}} for stage in context.run.plan["stages"]
                ],
            }
        )
        context.memory.plan = None
        assert context.mirror_every_s(elsewhere) == 7.0
        run.down()
