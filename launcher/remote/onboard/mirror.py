"""Copying checkpoints to an object store while the job works, so that they outlive the machine and need nobody at home."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from .background import Worker
from .bucket import read_bucket
from .checkpoints import Checkpoint
from .digests import DIGEST_SUFFIX, files_of
from .files import utc
from .names import is_best
from .parcel import Archive, Failed, packed, send

RETRY_S = 30.0
MOST_TOLD = 20


class Mirror:
    """Puts the newest complete checkpoint into the slot that holds the oldest one; an upload is a thread's business.

    The slot that is written anew loses what it held: the others keep theirs, and there is always one more than the
    checkpoints that are to be kept.
    """

    def __init__(self, orders: Dict[str, Any], worker: Worker, say: Callable[[str], None]) -> None:
        self._orders = orders
        self._folder = orders["paths"]["checkpoints"]
        self._worker = worker
        self._say = say
        self._sequences: Optional[List[int]] = None
        """Of each slot: higher is newer, 0 holds nothing."""
        self._sent: Optional[Tuple[str, float]] = None
        self._started_at = -float("inf")
        self._busy = False
        self._failed = ""
        self._had_last_try = False
        self._in_a_hurry = False
        self._told: List[Dict[str, Any]] = []

    @property
    def is_busy(self) -> bool:
        """A checkpoint is on its way."""
        return self._busy

    def summary(self) -> List[Dict[str, Any]]:
        """What this start has brought to the store, for ``status.json``; oldest first."""
        return self._told[-MOST_TOLD:]

    def hurry(self) -> None:
        """The machine may be taken away: from now on every checkpoint goes at once, as far as the link allows."""
        self._in_a_hurry = True

    def look(self, complete: List[Checkpoint], last: bool = False) -> None:
        """Send the newest checkpoint when it is due. ``last``: nothing comes after; it is tried at once, and once."""
        if self._busy or (last and self._had_last_try):
            return
        mirror = self._slots()
        newest = self._newest(complete)
        if mirror is None or newest is None or self._sent == (newest.name, newest.modified):
            return
        pause_s = RETRY_S if self._failed else 0.0 if self._in_a_hurry else mirror["every_s"]
        if not last and time.monotonic() - self._started_at < pause_s:
            return
        self._had_last_try = last
        self._busy, self._started_at = True, time.monotonic()
        if self._sequences is None:
            self._sequences = [slot["sequence"] for slot in mirror["slots"]]
        number = self._sequences.index(min(self._sequences))
        sequence = max(self._sequences) + 1
        self._sequences[number] = 0
        self._worker.submit(
            lambda: self._send(newest, number, sequence),
            lambda head: self._done(newest, number, sequence, head),
        )

    def _slots(self) -> Optional[Dict[str, Any]]:
        told = read_bucket(self._orders)
        return told["mirror"] if told else None

    def _newest(self, complete: List[Checkpoint]) -> Optional[Checkpoint]:
        """A ``best`` one may lack what a resumed run needs: it is taken where there is no other."""
        others = [one for one in complete if not is_best(one.name)]
        chosen = others or complete
        return chosen[-1] if chosen else None

    def _send(self, checkpoint: Checkpoint, number: int, sequence: int) -> Dict[str, Any]:
        """In the worker's thread."""
        entry = os.path.join(self._folder, checkpoint.name)
        names = [name for name, _ in files_of(entry)] + [checkpoint.name + DIGEST_SUFFIX]
        archive = Archive([packed(name, os.path.join(self._folder, name)) for name in names])
        told = self._slots()
        if told is None:
            raise Failed("nothing may be written any more")
        head = {
            "kind": "checkpoint",
            "run_id": self._orders["run_id"],
            "attempt": self._orders["attempt"],
            "name": checkpoint.name,
            "modified_at": utc(checkpoint.modified),
            "sequence": sequence,
        }
        return send(archive, lambda: self._slot(number), head, part_bytes=told["part_bytes"])

    def _slot(self, number: int) -> Dict[str, Any]:
        told = self._slots()
        if told is None:
            raise Failed("nothing may be written any more")
        slot: Dict[str, Any] = told["slots"][number]
        return slot

    def _done(self, checkpoint: Checkpoint, number: int, sequence: int, head: Any) -> None:
        self._busy = False
        if isinstance(head, Exception):
            words = str(head) or repr(head)
            if words != self._failed:
                self._say("checkpoint %s is not in the bucket: %s" % (checkpoint.name, words))
            self._failed = words
            return
        assert self._sequences is not None
        self._failed = ""
        self._sequences[number] = sequence
        self._sent = (checkpoint.name, checkpoint.modified)
        self._told.append(
            {
                "name": checkpoint.name,
                "modified_at": utc(checkpoint.modified),
                "at": utc(),
                "size_bytes": checkpoint.size_bytes,
            }
        )
