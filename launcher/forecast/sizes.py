"""How much a job has to carry: the code's manifest and the data on disk, measured where it can be."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.buckets.sources import is_in_bucket
from launcher.forecast.conditions import Sizes
from launcher.job import Job
from launcher.snapshot import Manifest

__all__ = ["sizes_of", "tree_bytes"]


def sizes_of(job: Job, manifest: Manifest | None, *, in_buckets_bytes: int | None = None) -> Sizes:
    """Return what is known about bytes before anything runs; what nobody knows stays unknown.

    ``in_buckets_bytes``: of all sources in object stores together; None when nobody has looked.
    """
    local = [mount for mount in job.mounts if "://" not in mount.source]
    fetched = [mount.source for mount in job.mounts if "://" in mount.source]
    is_known = all(is_in_bucket(source) for source in fetched)
    return Sizes(
        code_bytes=manifest.size_bytes if manifest is not None else 0,
        data_bytes=sum(tree_bytes(Path(mount.source)) for mount in local),
        fetched_bytes=(in_buckets_bytes if is_known else None) if fetched else 0,
        unpacks=any(_is_archive(source) for source in fetched),
    )


def _is_archive(source: str) -> bool:
    path = source.partition("#")[0].partition("?")[0].lower()
    return path.endswith((".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"))


def tree_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; what cannot be read counts nothing."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum(tree_bytes(Path(entry.path)) for entry in os.scandir(path) if not entry.is_symlink())
    except OSError:
        return 0
