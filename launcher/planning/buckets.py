"""What a job names in object stores, looked at before anything is rented: a list, free of charge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher import quantities
from launcher.buckets.sources import is_in_bucket, list_source
from launcher.errors import UsageError
from launcher.planning.preflight import Finding, Level

if TYPE_CHECKING:
    from launcher.buckets.stores import Stores
    from launcher.job import Job

__all__ = ["look_at_sources"]


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
