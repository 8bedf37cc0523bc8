"""A laptop that moves to another network is let in to its machines again, and its run goes on."""

from __future__ import annotations

import getpass
import time
from dataclasses import replace

from launcher import Run
from launcher.orchestrate.act import act
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.observe import observe
from launcher.orchestrate.orchestrator import Orchestrator
from launcher.policy.actions import Wait
from launcher.policy.recover import decide
from launcher.policy.situation import Policy
from launcher.supervise import hold_lock
from tests.provisioning.aws.cloud import Ec2Cloud
from tests.system.aws.machines import Machines
from tests.system.house import House, expected_outcome

ELSEWHERE = "198.51.100.99"


def test_the_firewall_follows_the_address_at_home(house: House, cloud: Ec2Cloud, machines: Machines) -> None:
    options = {"aws": {"ssh_user": getpass.getuser()}}
    with hold_lock(house.home) as held:
        assert held
        job = house.counting(total=20, gate=5, provider_options=options)
        run = house.launch(job, provider="aws", instance="t3.small")
        orchestrator = Orchestrator(house.home, house.store, house.environ)
        follow(orchestrator, run, to_step=5)
        look_at_its_silence(house, run)
        assert admitted(cloud) == {f"{cloud.address}/32"}
        cloud.address = ELSEWHERE
        look_at_its_silence(house, run)
        look_at_its_silence(house, run)
        assert admitted(cloud) == {f"{ELSEWHERE}/32"}
        house.open_gate()
        follow(orchestrator, run)
    assert run.status().state == "succeeded", run.status().reason
    assert house.outcome(run) == expected_outcome(20)
    assert len(run.status().attempts) == 1, "the machine was not given up"
    (told,) = [event.message for event in run.events() if event.data.get("action") == "admit"]
    assert ELSEWHERE in told


def follow(orchestrator: Orchestrator, run: Run, *, to_step: int | None = None) -> None:
    """Be the supervisor until the run has ended, or has come so far."""
    give_up_at = time.monotonic() + 120
    next_look_s: float | None = 0.0
    while next_look_s is not None and (to_step is None or (run.status().step or 0) < to_step):
        assert time.monotonic() < give_up_at, run.status()
        time.sleep(min(next_look_s, 0.1))
        next_look_s = orchestrator.advance(run.id)


def look_at_its_silence(house: House, run: Run) -> None:
    """Look once with the machine's answers cut off, and do what is decided then."""
    context = RunContext(house.home, house.store, run.id, house.environ)
    assert context.attempt is not None
    seen = observe(context, context.attempt, Policy())
    silent = replace(seen.situation.machine, reachable=False, silent_s=60.0)
    action = decide(replace(seen.situation, machine=silent))
    assert isinstance(action, Wait)
    assert action.check_address
    act(context, replace(seen, runner=None, situation=replace(seen.situation, machine=silent)), action)


def admitted(cloud: Ec2Cloud) -> set[str]:
    groups = [group for by_id in cloud.backend().groups.values() for group in by_id.values()]
    ours = [group for group in groups if group.name.startswith("launch-")]
    return {str(rule.cidr_ipv4 or rule.cidr_ipv6) for group in ours for rule in group.ingress_rules}
