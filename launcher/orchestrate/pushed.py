"""What a machine has pushed to a bucket before it ended, where nobody was here to fetch."""

from __future__ import annotations

from launcher.buckets.parcels import outputs_place, outputs_slot, read_head
from launcher.buckets.pushed import Pushed, PushedRunner
from launcher.events import Kind
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.signing import place_of, stores_of
from launcher.records import from_json
from launcher.runners.base import Handle
from launcher.store import AttemptRow
from provisioning import CloudError, Instance, InstanceState, WhenUnattended
from provisioning.storage import Place

__all__ = ["forget_pushed", "pushed_runner", "runner_for_pushed"]

_OVER = (InstanceState.STOPPED, InstanceState.TERMINATED)


def pushed_runner(context: RunContext, attempt: AttemptRow, instance: Instance | None) -> PushedRunner | None:
    """Return a way to read what a machine that has ended has pushed; None when it has not, or its outputs are home.

    Raises:
        CloudError: the store cannot be asked now; that says nothing about what is there.
    """
    if instance is None or instance.state not in _OVER or attempt.fetched or attempt.handle is None:
        return None
    key = (attempt.stage, attempt.n, attempt.starts)
    if key not in context.memory.pushed:
        context.memory.pushed[key] = runner_for_pushed(context, attempt)
    return context.memory.pushed[key]


def runner_for_pushed(context: RunContext, attempt: AttemptRow) -> PushedRunner | None:
    """Look in the bucket for what an attempt's last start has pushed. Raises as `pushed_runner`."""
    place = _place(context, attempt)
    if place is None or attempt.handle is None:
        return None
    handle = from_json(Handle, attempt.handle)
    where = outputs_slot(place, handle.attempt, handle.start)
    store = stores_of(context).of(place.scheme)
    head = read_head(store, where)
    if head is None or not head.get("complete"):
        return None
    words = f"the machine has pushed its outputs to {where}: {len(head['files'])} files"
    context.say_once("pushed", Kind.DECISION, words, action="pull_from_bucket", place=str(where))
    folder = context.paths.root / "pushed" / f"{handle.stage}-{handle.attempt}-{handle.start}"
    return PushedRunner(Pushed(store=store, place=where, head=head, folder=folder))


def forget_pushed(context: RunContext) -> None:
    """Delete what was pushed, once the run's outputs are home; what stands in the way is only said."""
    newest = {attempt.stage: attempt for attempt in context.attempts}
    for attempt in newest.values():
        place = _place(context, attempt)
        if place is None or not attempt.fetched:
            continue
        try:
            store = stores_of(context).of(place.scheme)
            below = outputs_place(place)
            store.delete([below.at(item.key) for item in store.objects(below)])
        except CloudError as err:
            context.complain(
                "pushed", f"what was pushed to {place} is home and could not be deleted there: {err}"
            )


def _place(context: RunContext, attempt: AttemptRow) -> Place | None:
    if context.when_unattended(attempt) is not WhenUnattended.PUSH:
        return None
    return place_of(context, attempt)
