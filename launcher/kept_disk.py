"""A disk that was kept when its machine stopped: reading it, and ending it, after its run has ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from launcher.errors import MachineUnreachable, WrongState
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.export import EventExport
from launcher.orchestrate.machines import end_machines, look, park_machines
from launcher.resuming import kept_machine
from provisioning import Instance, InstanceRef, InstanceState, MayStillBeRunning, Parkable

__all__ = ["end_kept", "started_for_a_while"]

AWAKE = timedelta(hours=1)
"""The deadline of a machine that is started only to be read: the cloud stops it again if we die meanwhile."""
BOOT_S = 900.0
CONFIRM_S = 300.0
LOOK_EVERY_S = 0.5


@contextlib.contextmanager
def started_for_a_while(
    context: RunContext,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Instance]:
    """Start the machine whose disk was kept, for the block; it is parked again behind it. SPENDS MONEY meanwhile.

    Raises:
        WrongState: no disk was kept.
        NoCapacity: its place is full now.
        MachineUnreachable: it did not come up.
    """
    attempt = kept_machine(context)
    row = None if attempt is None else context.machine_of(attempt)
    if row is None:
        raise WrongState(f"{context.run_id} has no machine", hint=f"`launch status {context.run_id}`")
    ref = InstanceRef.parse(row.ref)
    provider = context.provider(ref.provider)
    assert isinstance(provider, Parkable), f"{ref} was parked by a provider that cannot park"
    provider.unpark(ref, context.clock() + AWAKE)
    try:
        give_up_at = monotonic() + BOOT_S
        while True:
            instance = look(context, row)
            if instance.state is InstanceState.RUNNING and instance.access is not None:
                break
            if monotonic() >= give_up_at:
                raise MachineUnreachable(f"{row.ref} did not come up within {BOOT_S / 60:.0f} minutes")
            sleep(LOOK_EVERY_S)
        yield instance
    finally:
        park_machines(context)
        _export(context)


def end_kept(
    context: RunContext,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """End what an ended run has left, and return when the provider has confirmed it.

    Raises:
        MayStillBeRunning: it has not within five minutes.
    """
    give_up_at = monotonic() + CONFIRM_S
    try:
        _end(context, give_up_at, monotonic, sleep)
    finally:
        _export(context)


def _end(
    context: RunContext, give_up_at: float, monotonic: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    while not end_machines(context):
        if monotonic() >= give_up_at:
            left = [row for row in context.instances if row.ended_at is None]
            raise MayStillBeRunning(
                f"the end of {left[0].ref} was not confirmed", ref=InstanceRef.parse(left[0].ref)
            )
        sleep(LOOK_EVERY_S)


def _export(context: RunContext) -> None:
    """No supervisor follows an ended run: what happened here goes into its ``events.jsonl`` from here."""
    with contextlib.suppress(OSError):  # an export: the record has it
        EventExport(context.store, context.run_id, context.paths.events).catch_up()
