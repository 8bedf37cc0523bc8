"""What machines may read and write in object stores: signed at home for as long as the run may need it, and renewed."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from launcher import results
from launcher.buckets.parcels import (
    PART_BYTES,
    bucket_place,
    checkpoint_slot,
    checkpoints_in,
    outputs_slot,
    sequences_of,
    sign_slot,
    stored_checkpoint,
)
from launcher.buckets.sources import is_in_bucket, signed
from launcher.buckets.stores import Stores
from launcher.errors import LaunchError
from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.stage_outputs import fetch_for_others
from launcher.runners.base import Area, Bucket, Mount, Slot, Submission, Wanted
from provisioning import CloudError, WhenUnattended
from trainer.contract import Phase

if TYPE_CHECKING:
    from launcher.orchestrate.observe import Seen
    from launcher.store import AttemptRow
    from provisioning.storage import Place

__all__ = ["place_of", "renew_if_due", "stores_of", "with_signatures"]

BEYOND_THE_END = timedelta(hours=1)
RENEWED_AT = 0.5
"""The part of a signature's life after which it is renewed."""
LARGEST_CHECKPOINT_PARTS = 32
MOST_PARTS = 1000


def with_signatures(context: RunContext, attempt: AttemptRow, submission: Submission) -> Submission:
    """Return a submission with what the machine may read and write in buckets.

    Raises:
        UsageError, CloudError: there is nothing, or we may not look.
    """
    place = place_of(context, attempt)
    submission = replace(submission, mounts=_signed_mounts(context))
    if place is None:
        _note_renewed(context, submission.mounts, submission.bucket)
        return submission
    slots = _slots(context)
    store, lasts = stores_of(context).of(place.scheme), _lasts(context)
    heads = checkpoints_in(store, place, slots)
    stored = stored_checkpoint(store, place, heads, lasts=lasts) if attempt.starts <= 1 else ()
    bucket = _bucket(context, attempt, place, sequences_of(heads, slots))
    submission = replace(submission, stored=stored, bucket=bucket)
    _note_renewed(context, submission.mounts, submission.bucket)
    return submission


def renew_if_due(context: RunContext, seen: Seen) -> None:
    """Give the machine new signatures in time; what stands in the way is said, and tried again."""
    progress, memory = seen.situation.progress, context.memory
    if seen.runner is None or seen.handle is None or progress is None or progress.phase is Phase.ENDED:
        return
    place = place_of(context, seen.attempt)
    fetches = progress.phase in (Phase.STARTING, Phase.SETUP) and _has_sources(context)
    if place is None and not fetches:
        return
    if memory.renew_at is not None and context.clock() < memory.renew_at:
        return
    try:
        mounts = _signed_mounts(context) if fetches else ()
        bucket = None if place is None else _bucket(context, seen.attempt, place, [0] * _slots(context))
        seen.runner.renew(seen.handle, mounts, bucket)
    except (CloudError, LaunchError, OSError) as err:
        context.complain("signing", f"what the machine may read and write could not be renewed yet: {err}")
        return
    context.is_well("signing")
    _note_renewed(context, mounts, bucket)


def place_of(context: RunContext, attempt: AttemptRow) -> Place | None:
    """Return where the parcels of an attempt lie, each stage's in a place of its own; None without a bucket."""
    stage = attempt.stage if context.job.stages else ""
    return bucket_place(context.job.checkpoint.mirror, context.run_id, stage)


def stores_of(context: RunContext) -> Stores:
    """Return the object stores, as the job's accounts reach them."""
    return Stores(
        home=context.home.root,
        environ=context.environ,
        options=context.job.provider_options,
        clock=context.clock,
    )


def _signed_mounts(context: RunContext) -> tuple[Mount, ...]:
    stores, lasts = stores_of(context), _lasts(context)
    return tuple(signed(mount, stores, lasts=lasts) for mount in context.job.mounts)


def _bucket(context: RunContext, attempt: AttemptRow, place: Place, sequences: list[int]) -> Bucket:
    job, plan, lasts = context.job, context.plan, _lasts(context)
    store = stores_of(context).of(place.scheme)

    def slot(where: Place, parts: int, sequence: int = 0) -> Slot:
        return sign_slot(store, where, parts=parts, lasts=lasts, sequence=sequence)

    disk_parts = min(MOST_PARTS, math.ceil(max(plan.disk_gib, 1.0)) + 1)
    pushes = context.when_unattended(attempt) is WhenUnattended.PUSH
    mirror = [
        slot(checkpoint_slot(place, number), min(LARGEST_CHECKPOINT_PARTS, disk_parts), sequence)
        for number, sequence in enumerate(sequences)
    ]
    for_others = fetch_for_others(context, attempt.stage)
    wanted = [
        Wanted(patterns=fetch.patterns, area=fetch.area)
        for fetch in (
            *results.wanted(job, context.run_id, out=plan.out),
            *((for_others,) if for_others is not None else ()),
        )
    ]
    everything = Wanted(patterns=("**",), area=Area.CHANGED)
    return Bucket(
        part_bytes=PART_BYTES,
        mirror=tuple(mirror),
        mirror_every_s=context.mirror_every_s(attempt),
        push=slot(outputs_slot(place, attempt.n, attempt.starts), disk_parts) if pushes else None,
        wanted=tuple(wanted) if pushes else (),
        otherwise=everything if pushes and job.file_outputs else None,
    )


def _slots(context: RunContext) -> int:
    """One more than are kept: the one that is being written holds nothing meanwhile."""
    return max(2, context.job.checkpoint.keep) + 1


def _has_sources(context: RunContext) -> bool:
    return any(is_in_bucket(mount.source) for mount in context.job.mounts)


def _lasts(context: RunContext) -> timedelta:
    return deadlines_now(context).hard - context.clock() + BEYOND_THE_END


def _note_renewed(context: RunContext, mounts: tuple[Mount, ...], bucket: Bucket | None) -> None:
    ends = [file.link.expires_at for mount in mounts for file in mount.files]
    ends += [bucket.expires_at] if bucket is not None else []
    now = context.clock()
    context.memory.renew_at = now + RENEWED_AT * max(min(ends) - now, timedelta(0)) if ends else None
