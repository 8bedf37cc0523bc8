"""Between the fake cloud's records and ours: pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from provisioning import processes
from provisioning.fake.catalogue import PROVIDER
from provisioning.fake.machine import Machine, Period, interrupted
from provisioning.models import Instance, InstanceRef, InstanceState, LocalAccess

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from provisioning.fake.options import Options
    from provisioning.models import InstanceSpec, Offer

__all__ = ["create_digest", "new_machine", "to_instance", "unknown"]


def new_machine(offer: Offer, spec: InstanceSpec, options: Options, home: Path, now: datetime) -> Machine:
    """Return the machine that a create call makes, with the interruption that is planned for its attempt."""
    boots_at = now + timedelta(seconds=options.boot_s)
    machine = Machine(
        id=_machine_id(home, spec.token),
        region=offer.region,
        zone=offer.zone or "",
        instance_type=offer.instance_type,
        spot=offer.spot,
        usd_per_hour=offer.usd_per_hour,
        disk_gib=spec.disk_gib,
        attempt=spec.attempt,
        tags=spec.tags,
        parameters=create_digest(offer, spec),
        when_unattended=spec.when_unattended,
        created_at=now,
        deadline=spec.deadline,
        boots_at=boots_at,
        boot_s=options.boot_s,
        visible_after_s=options.visible_after_s,
        terminate_s=options.terminate_s,
        ends_itself=options.deadline != "client",
        periods=(Period(now),),
    )
    for plan in options.interruptions:
        if plan.attempt in (None, spec.attempt):
            return interrupted(machine, boots_at, plan.after_s, plan.notice_s)
    return machine


def _machine_id(home: Path, token: str) -> str:
    """Return an id that no other home uses: it marks processes, and those of all homes run on one computer."""
    return "m-" + hashlib.sha256(f"{home}\n{token}".encode()).hexdigest()[:12]


def create_digest(offer: Offer, spec: InstanceSpec) -> str:
    """Return a digest of all that a create call asks for; the price is an answer and no part of it."""
    asked = [offer.instance_type, offer.zone, offer.spot, asdict(spec)]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def to_instance(machine: Machine, folder: Path, power: Path, now: datetime) -> Instance:
    """Return our record of a machine whose disk is ``folder``, and that is on while ``power`` is there."""
    access = LocalAccess(work_root=folder, environ={processes.MARK: machine.id}, power=power)
    return Instance(
        ref=InstanceRef(PROVIDER, machine.region, machine.id),
        state=machine.state,
        seen_at=now,
        run_id=machine.run_id,
        token=machine.token,
        home_id=machine.tags["launch-home"],
        owner=machine.tags["launch-owner"],
        instance_type=machine.instance_type,
        spot=machine.spot,
        usd_per_hour=machine.usd_per_hour,
        created_at=machine.created_at,
        deadline=machine.deadline if machine.ends_itself else None,
        access=access if machine.state is InstanceState.RUNNING else None,
        state_reason=machine.reason,
    )


def unknown(ref: InstanceRef, now: datetime) -> Instance:
    """Return our record of a machine that the cloud has never heard of."""
    return Instance(
        ref=ref, state=InstanceState.TERMINATED, seen_at=now, run_id=None, token=None, state_reason="unknown"
    )
