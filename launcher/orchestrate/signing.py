"""What machines may read in object stores: signed at home for as long as the run may need it, and renewed in time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from launcher.buckets.sources import is_in_bucket, signed
from launcher.buckets.stores import Stores
from launcher.errors import LaunchError
from launcher.orchestrate.budget import deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.runners.base import Mount
from provisioning import CloudError
from trainer.contract import Phase

if TYPE_CHECKING:
    from launcher.orchestrate.observe import Seen

__all__ = ["renew_if_due", "signed_mounts"]

BEYOND_THE_END = timedelta(hours=1)
RENEWED_AT = 0.5
"""The part of a signature's life after which it is renewed."""


def signed_mounts(context: RunContext) -> tuple[Mount, ...]:
    """Return the job's mounts; those in a bucket with what the machine needs to fetch them.

    Raises:
        UsageError, CloudError: there is nothing, or we may not look.
    """
    now, stores = context.clock(), _stores(context)
    lasts = deadlines_now(context).hard - now + BEYOND_THE_END
    mounts = tuple(signed(mount, stores, lasts=lasts) for mount in context.job.mounts)
    ends = [file.link.expires_at for mount in mounts for file in mount.files]
    context.memory.renew_at = _half_way(now, min(ends)) if ends else None
    return mounts


def renew_if_due(context: RunContext, seen: Seen) -> None:
    """Give the machine new signatures while it still fetches its data; what stands in the way is said and tried again."""
    progress = seen.situation.progress
    if seen.runner is None or seen.handle is None or progress is None:
        return
    if progress.phase not in (Phase.STARTING, Phase.SETUP) or not _uses_buckets(context):
        return
    if context.memory.renew_at is not None and context.clock() < context.memory.renew_at:
        return
    try:
        seen.runner.renew(seen.handle, signed_mounts(context))
    except (CloudError, LaunchError, OSError) as err:
        context.complain("signing", f"what the machine may read could not be renewed yet: {err}")
    else:
        context.is_well("signing")


def _uses_buckets(context: RunContext) -> bool:
    return any(is_in_bucket(mount.source) for mount in context.job.mounts)


def _stores(context: RunContext) -> Stores:
    return Stores(
        home=context.home.root,
        environ=context.environ,
        options=context.job.provider_options,
        clock=context.clock,
    )


def _half_way(now: datetime, end: datetime) -> datetime:
    return now + RENEWED_AT * max(end - now, timedelta(0))
