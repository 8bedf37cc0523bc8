"""``file_mounts`` in a bucket: one object, or everything below a prefix, as addresses that the machine fetches itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from launcher.errors import UsageError
from launcher.runners.mounts import SignedFile
from provisioning.storage import SCHEMES, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.buckets.stores import Stores
    from launcher.runners.mounts import Mount
    from provisioning.storage import StoredObject

__all__ = ["MOST_OBJECTS", "Listed", "is_in_bucket", "list_source", "signed"]

MOST_OBJECTS = 20_000
"""Each is signed for by itself, in a list of half a kilobyte a line."""
_DIGEST = re.compile(r"#sha256=[0-9a-fA-F]{64}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a source holds."""

    place: Place
    objects: tuple[StoredObject, ...]
    is_folder: bool
    """All below a prefix; else one object."""

    @property
    def size_bytes(self) -> int:
        """Of all objects."""
        return sum(item.size_bytes for item in self.objects)


def is_in_bucket(source: str) -> bool:
    """Whether a source of ``file_mounts`` lies in an object store."""
    return source.partition("://")[0] in SCHEMES and "://" in source


def list_source(source: str, stores: Stores) -> Listed:
    """Look up what a source holds: everything below it as in a folder, else the object of just this name.

    Raises:
        UsageError: there is nothing, or too much, or a name that no folder can hold.
        CloudError: no such bucket, or it may not be listed.
    """
    place = Place.parse(_DIGEST.sub("", source))
    store = stores.of(place.scheme)
    prefix = f"{place.key.rstrip('/')}/" if place.key.strip("/") else ""
    below = [item for item in store.objects(place.at(prefix)) if not item.key.endswith("/")]
    if below:
        _check(source, [item.key[len(prefix) :] for item in below])
        return Listed(place=place.at(prefix), objects=tuple(below), is_folder=True)
    found = [item for item in store.objects(place) if item.key == place.key and not item.key.endswith("/")]
    if not found:
        raise UsageError(
            f"file_mounts: there is nothing at {source}",
            hint=f"look what there is: {_look(place)}",
        )
    return Listed(place=place, objects=tuple(found), is_folder=False)


def signed(mount: Mount, stores: Stores, *, lasts: timedelta) -> Mount:
    """Return a mount with what the machine needs to fetch it; one that lies in no bucket as it is. Raises as `list_source`."""
    if not is_in_bucket(mount.source):
        return mount
    listed = list_source(mount.source, stores)
    store = stores.of(listed.place.scheme)
    files = []
    for item in listed.objects:
        url = store.sign("GET", listed.place.at(item.key), lasts=lasts)
        name = item.key[len(listed.place.key) :] if listed.is_folder else item.key
        files.append(SignedFile(name=name, link=url, size_bytes=item.size_bytes, etag=item.etag))
    return replace(mount, files=tuple(files), is_folder=listed.is_folder)


def _check(source: str, names: Sequence[str]) -> None:
    if len(names) > MOST_OBJECTS:
        raise UsageError(
            f"file_mounts: {source} holds {len(names)} objects; {MOST_OBJECTS} are the most",
            hint="put them into one archive: it is unpacked on the machine",
        )
    for name in names:
        parts = name.split("/")
        if "" in parts or "." in parts or ".." in parts or "\0" in name:
            raise UsageError(
                f"file_mounts: {source} holds an object named {name!r}, which no folder can hold",
                hint="name a narrower prefix",
            )
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    both = sorted(folders.intersection(names))
    if both:
        raise UsageError(
            f"file_mounts: in {source}, {both[0]!r} is an object and has objects below it, which no folder can hold",
            hint="name a narrower prefix",
        )


def _look(place: Place) -> str:
    tool = {"s3": "aws s3 ls", "gs": "gcloud storage ls"}.get(place.scheme, "list")
    return f"`{tool} {place.at(place.key.rpartition('/')[0])}`"
