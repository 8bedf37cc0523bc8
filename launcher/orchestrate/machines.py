"""The provider's word on what a run has rented, and the end of it. Gone is only what the provider says is gone."""

from __future__ import annotations

from typing import Any

from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.rent import find_unanswered
from launcher.store import InstanceRow
from provisioning import CloudError, Instance, InstanceRef, InstanceState, Parkable

__all__ = ["end_machines", "look", "park_machines"]

SEEN_EVERY_S = 30.0
"""How old the note of an unchanged state may get: every note is a write to the disk."""
_SETTLED = (InstanceState.STOPPED, InstanceState.TERMINATED)


def look(context: RunContext, row: InstanceRow) -> Instance:
    """Ask the provider for its word on an instance and note it.

    Raises:
        CloudError: it could not be asked; that says nothing about the machine.
    """
    ref = InstanceRef.parse(row.ref)
    instance = context.provider(ref.provider).get(ref)
    known = context.memory.instance
    if (
        known is not None and known.ref == ref
    ):  # or a machine that was just ended would be waited for as if it ran
        context.memory.instance = instance
    _note(context, row, instance)
    return instance


def end_machines(context: RunContext, *, attempt: int | None = None, discard: bool = False) -> bool:
    """End what the run has rented, or one attempt, and say whether the provider has confirmed the end of all of it.

    Asks again at every call until it has: terminating what is gone is success. Before a whole run ends, create
    calls that were never answered are looked up too. A parked disk that holds outputs which never came home counts
    as settled and stays, unless ``discard`` or one attempt is named: only a person gives those up.
    """
    all_gone = attempt is not None or _nothing_unanswered(context)
    for row in context.instances:
        if row.ended_at is not None or attempt not in (None, row.attempt):
            continue
        ref = InstanceRef.parse(row.ref)
        try:
            if attempt is None and not discard and _holds_outputs(context, row):
                continue
            context.provider(ref.provider).terminate(ref)
            gone = look(context, row).state.is_gone
        except CloudError as err:
            hint = f" ({err.hint})" if err.hint else ""
            context.complain(
                "end", f"{ref} could not be ended yet and may cost money: {err}{hint}", ref=row.ref
            )
            gone = False
        all_gone = all_gone and gone
    if all_gone:
        context.is_well("end")
    return all_gone


def _holds_outputs(context: RunContext, row: InstanceRow) -> bool:
    """Say whether a machine is parked and its disk has what was never brought home; that it is kept is said once."""
    attempt = [item for item in context.attempts if item.n == row.attempt][-1]
    if attempt.fetched or attempt.handle is None or attempt.ending_at is not None:
        return False
    if look(context, row).state is not InstanceState.STOPPED:
        return False
    words = (
        f"{row.ref} is kept: the outputs of attempt {row.attempt} on its disk never came home. "
        f"`launch down {context.run_id}` brings them home and ends it"
    )
    context.complain(f"kept {row.ref}", words, ref=row.ref)
    return True


def park_machines(context: RunContext) -> bool:
    """End compute and keep the disks, where the provider can; say whether it has confirmed that.

    What runs and cannot be parked is ended: the caller has its outputs home, or has given them up.
    """
    all_done = _nothing_unanswered(context)
    for row in context.instances:
        if row.ended_at is not None:
            continue
        ref = InstanceRef.parse(row.ref)
        try:
            done = _is_settled(look(context, row))
            if not done:
                provider = context.provider(ref.provider)
                end = provider.park if isinstance(provider, Parkable) else provider.terminate
                end(ref)
                done = _is_settled(look(context, row))
        except CloudError as err:
            context.complain("end", f"{ref} could not be parked yet and costs money: {err}", ref=row.ref)
            done = False
        all_done = all_done and done
    return all_done


def _is_settled(instance: Instance) -> bool:
    """Nothing of it runs, and nothing will without us."""
    return instance.state in _SETTLED and not instance.resumes_by_itself


def _nothing_unanswered(context: RunContext) -> bool:
    try:
        return find_unanswered(context)
    except CloudError as err:
        context.complain("end", f"an unanswered create call may have made a machine: {err}")
        return False


def _note(context: RunContext, row: InstanceRow, instance: Instance) -> None:
    """Write the provider's word down, and say so when it changed."""
    changes: dict[str, Any] = {}
    if instance.state.value != row.state:
        changes = {
            "state": instance.state.value,
            "state_reason": instance.state_reason,
            **_times(row, instance),
        }
    elif 0.0 <= (instance.seen_at - row.seen_at).total_seconds() < SEEN_EVERY_S:
        return
    with context.store.together():
        context.update_instance(row, seen_at=instance.seen_at, **changes)
        if changes:
            words = f"{row.ref} is {instance.state.value}"
            words += f": {instance.state_reason}" if instance.state_reason else ""
            context.report(
                Kind.INSTANCE, words, ref=row.ref, state=instance.state.value, reason=instance.state_reason
            )


def _times(row: InstanceRow, instance: Instance) -> dict[str, Any]:
    """What a change of state means for the bill: compute that ends, starts again, or is gone with the disk."""
    at = instance.seen_at
    if instance.deadline is not None:  # seen late, after this computer was away: it ended when it was to end
        at = max(row.seen_at, min(at, instance.deadline))
    if instance.state.is_gone:
        return {"ended_at": at}
    if instance.state in (InstanceState.STOPPING, InstanceState.STOPPED):
        return {"stopped_at": row.stopped_at or at}
    if row.stopped_at is not None:
        return {"stopped_at": None, "stopped_s": row.stopped_s + (at - row.stopped_at).total_seconds()}
    return {}
