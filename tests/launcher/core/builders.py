"""Readable beginnings for the tests of the decision core."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from launcher.policy.situation import Deadlines, Machine, Past, Policy, Situation, Wish
from launcher.runners.base import Progress
from provisioning import Capabilities, DeadlineKind, HostKeyOrigin, InstanceState, Offer
from trainer.contract import Cause, Phase

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)
CAPABILITIES = {
    "aws": Capabilities(deadline=DeadlineKind.BOOT, park=True, firewall=True),
    "gcp": Capabilities(deadline=DeadlineKind.CLOUD, park=True, firewall=True),
    "lambda": Capabilities(deadline=DeadlineKind.CLIENT),
    "vast": Capabilities(deadline=DeadlineKind.BOOT, park=True, host_keys=HostKeyOrigin.FIRST_CONTACT),
    "ssh": Capabilities(deadline=DeadlineKind.BOOT, claimed=True, bills=False),
    "local": Capabilities(deadline=DeadlineKind.BOOT, claimed=True, bills=False),
}


def offer(**changes: Any) -> Offer:
    """An on-demand T4 with every rate that AWS charges."""
    values: dict[str, Any] = {
        "provider": "aws",
        "instance_type": "g4dn.xlarge",
        "location": "us-east-1",
        "region": "us-east-1",
        "zone": "us-east-1a",
        "usd_per_hour": 0.526,
        "priced_at": NOON,
        "price_source": "table of 2026-11-21",
        "gpu_name": "T4",
        "gpu_count": 1,
        "gpu_memory_gib": 16.0,
        "vcpus": 4.0,
        "memory_gib": 16.0,
        "disk_usd_per_gib_month": 0.08,
        "ipv4_usd_per_hour": 0.005,
        "egress_usd_per_gib": 0.09,
    }
    return Offer(**{**values, **changes})


def spot_offer(**changes: Any) -> Offer:
    """The same machine, cheaper, and taken away every twenty hours."""
    return offer(**{"spot": True, "usd_per_hour": 0.21, "interruptions_per_hour": 0.05, **changes})


def this_computer(**changes: Any) -> Offer:
    """Two cores, free."""
    values: dict[str, Any] = {
        "provider": "local",
        "instance_type": "this-computer",
        "location": "here",
        "region": "here",
        "usd_per_hour": 0.0,
        "priced_at": NOON,
        "price_source": "free",
        "vcpus": 2.0,
    }
    return Offer(**{**values, **changes})


def running(step: int | None = 50, **changes: Any) -> Progress:
    """The job works and nobody has asked it to leave."""
    values: dict[str, Any] = {
        "seen_at": NOON,
        "alive": True,
        "phase": Phase.RUNNING,
        "step": step,
        "total": 100,
    }
    return Progress(**{**values, **changes})


def ended(
    exit_code: int | None, cause: Cause = Cause.NONE, step: int | None = 50, **changes: Any
) -> Progress:
    """The job's process is over."""
    return running(
        step, **{"phase": Phase.ENDED, "exit_code": exit_code, "cause": cause, "alive": False, **changes}
    )


def machine(state: InstanceState | None = InstanceState.RUNNING, **changes: Any) -> Machine:
    """A rented machine that answers."""
    return Machine(state=state, **changes)


def situation(progress: Progress | None = None, **changes: Any) -> Situation:
    """Noon, hours before any deadline, on a rented machine that answers."""
    values: dict[str, Any] = {
        "now": NOON,
        "machine": machine(),
        "progress": progress,
        "deadlines": Deadlines(soft=NOON + timedelta(hours=8), hard=NOON + timedelta(hours=9)),
        "past": Past(),
        "wish": Wish(),
        "policy": Policy(),
    }
    return Situation(**{**values, **changes})
