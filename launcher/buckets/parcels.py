"""Where the parcels of a run lie in a bucket, and what home signs and reads of them.

``<mirror>/<run id>/checkpoints/<slot>/`` and ``<mirror>/<run id>/outputs/<attempt>-<start>/``, of a job with stages both below
``<mirror>/<run id>/<stage>/``; in each a ``parcel.json`` and the parts ``00000``, ``00001``, … of a tar archive. `launcher.remote.onboard.parcel` writes and opens them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from launcher.runners.base import Slot, StoredCheckpoint
from provisioning.storage import SCHEMES, Place, read_small

if TYPE_CHECKING:
    from provisioning.storage import ObjectStore, SignedUrl

__all__ = [
    "HEAD",
    "PART_BYTES",
    "bucket_place",
    "checkpoint_slot",
    "checkpoints_in",
    "outputs_place",
    "outputs_slot",
    "part_links",
    "read_head",
    "sequences_of",
    "sign_slot",
    "stored_checkpoint",
]

HEAD = "parcel.json"
PART_BYTES = 1 << 30
"""What failed is sent again from the beginning of its part; far below what a store takes in one piece."""
SCHEMA = 1


def bucket_place(mirror: str, run_id: str, stage: str = "") -> Place | None:
    """Return where a run's parcels lie, or those of one of its stages; None when ``checkpoint.mirror`` names no bucket."""
    if mirror.partition("://")[0] not in SCHEMES:
        return None
    place = Place.parse(mirror).below(run_id)
    return place.below(stage) if stage else place


def checkpoint_slot(place: Place, number: int) -> Place:
    """Return the place of one slot for checkpoints."""
    return place.below("checkpoints", f"{number:02d}")


def outputs_place(place: Place) -> Place:
    """Return where everything lies that machines of a run have pushed at their end."""
    return place.below("outputs", "")


def outputs_slot(place: Place, attempt: int, start: int) -> Place:
    """Return where a machine pushes what nobody has fetched of one start."""
    return place.below("outputs", f"{attempt}-{start}")


def sign_slot(store: ObjectStore, place: Place, *, parts: int, lasts: timedelta, sequence: int = 0) -> Slot:
    """Sign for writing one parcel of at most ``parts`` parts."""
    return Slot(
        head=store.sign("PUT", place.below(HEAD), lasts=lasts),
        parts=tuple(store.sign("PUT", part, lasts=lasts) for part in _parts(place, parts)),
        sequence=sequence,
    )


def part_links(
    store: ObjectStore, place: Place, head: Mapping[str, Any], *, lasts: timedelta
) -> tuple[SignedUrl, ...]:
    """Sign for reading a complete parcel."""
    return tuple(store.sign("GET", part, lasts=lasts) for part in _parts(place, len(head["parts"])))


def read_head(store: ObjectStore, place: Place) -> dict[str, Any] | None:
    """Return a parcel's ``parcel.json``; None where there is none, or none that this version understands."""
    data = read_small(store, place.below(HEAD))
    try:
        head = json.loads(data or b"")
    except ValueError:
        return None
    return head if isinstance(head, dict) and head.get("schema") == SCHEMA else None


def checkpoints_in(store: ObjectStore, place: Place, slots: int) -> dict[int, dict[str, Any]]:
    """Return the heads of the complete checkpoints of a run by their slot.

    Raises:
        CloudError: the store cannot be asked.
    """
    listed = {item.key for item in store.objects(place.below("checkpoints", ""))}
    found = {}
    for number in range(slots):
        slot = checkpoint_slot(place, number)
        if slot.below(HEAD).key in listed:
            head = read_head(store, slot)
            if head is not None and head.get("complete"):
                found[number] = head
    return found


def sequences_of(heads: Mapping[int, Mapping[str, Any]], slots: int) -> list[int]:
    """Return for each slot when it was written, as a number that grows; 0 for one that holds nothing. Pure."""
    return [int(heads[number]["sequence"]) if number in heads else 0 for number in range(slots)]


def stored_checkpoint(
    store: ObjectStore, place: Place, heads: Mapping[int, dict[str, Any]], *, lasts: timedelta
) -> tuple[StoredCheckpoint, ...]:
    """Sign for reading all of these checkpoints, newest first."""
    newest_first = sorted(heads, key=lambda number: -int(heads[number]["sequence"]))
    return tuple(
        StoredCheckpoint(
            head=heads[number],
            parts=part_links(store, checkpoint_slot(place, number), heads[number], lasts=lasts),
        )
        for number in newest_first
    )


def _parts(place: Place, count: int) -> Sequence[Place]:
    return [place.below(f"{number:05d}") for number in range(count)]
