"""What a job names in object stores, looked at before anything is rented: a list, free of charge."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from launcher import quantities
from launcher.buckets.parcels import bucket_place
from launcher.buckets.sources import is_in_bucket, list_source
from launcher.errors import UsageError
from launcher.planning.preflight import Finding, Level
from provisioning.storage import LONGEST

if TYPE_CHECKING:
    from launcher.buckets.stores import Stores
    from launcher.job import Job

__all__ = ["look_at_mirror", "look_at_sources"]

NOTHING = "nothing-is-called-so"
"""A list of what begins so is a cheap question that needs the same permission."""
LOGIN_LASTS = timedelta(days=6)
"""What is signed with lasting keys is good for a week; anything less is the end of a session."""


def look_at_mirror(job: Job, stores: Stores) -> list[Finding]:
    """Return what was found of the bucket that checkpoints go to; nothing where they go elsewhere.

    Raises:
        CloudError: there is none of this name, nobody is logged in, or may not look.
    """
    place = bucket_place(job.checkpoint.mirror, "")
    if place is None:
        return []
    store = stores.of(place.scheme)
    store.objects(place.at(f"{place.key}{NOTHING}"))
    ends_at = store.sign("PUT", place.below(NOTHING), lasts=LONGEST).expires_at
    left = ends_at - stores.clock()
    found = Finding(check="bucket", level=Level.OK, message=f"{job.checkpoint.mirror} is there")
    if left > LOGIN_LASTS:
        return [found]
    words = f"the login at {place.scheme}:// ends in {quantities.duration(left.total_seconds())}: then machines can write to the bucket only while this computer renews it"
    fix = "log in for longer, or use the keys of a user"
    return [found, Finding(check="bucket", level=Level.WARNING, message=words, fix=fix)]


def look_at_sources(job: Job, stores: Stores) -> tuple[list[Finding], int | None]:
    """Return what was found, and the bytes of all sources together: None where one of them could not be listed.

    Raises:
        CloudError: nobody is logged in, or may not look.
    """
    findings: list[Finding] = []
    total: int | None = 0
    for mount in job.mounts:
        if not is_in_bucket(mount.source):
            continue
        try:
            listed = list_source(mount.source, stores)
        except UsageError as err:
            findings.append(
                Finding(check="files", level=Level.ERROR, message=err.message, fix=err.hint, error=err)
            )
            total = None
            continue
        count = f"{len(listed.objects)} objects, " if listed.is_folder else ""
        size = quantities.size(listed.size_bytes)
        words = f"{mount.source}: {count}{size}, fetched by the machine itself"
        findings.append(Finding(check="files", level=Level.OK, message=words))
        total = None if total is None else total + listed.size_bytes
    return findings, total
