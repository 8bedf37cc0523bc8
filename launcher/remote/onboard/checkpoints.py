"""Which checkpoints are complete, and which one to go on from."""

from __future__ import annotations

import os
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from .background import Worker
from .digests import DIGEST_SUFFIX, Files, digest_lines, fault_of, files_of, signature_of
from .files import replace_file, utc
from .names import is_best, is_checkpoint_name, natural, sort_out

MOST_TOLD = 100
MOST_NAMED = 5
"""Of entries that are passed over, how many are named at a time."""


class Checkpoint(NamedTuple):
    """A complete one."""

    name: str
    size_bytes: int
    modified: float


class Checkpoints:
    """Knows which entries of the checkpoint folder are complete, and gives each a digest.

    Complete is what arrived by rename, or did not change between two scans, or was left by a program that ended
    well. What lay there at the start without a good digest may be the half of a file whose writer was killed:
    it is not touched and not used until it changes.
    """

    def __init__(self, folder: str, worker: Worker, say: Callable[[str], None], settle_s: float) -> None:
        self._folder = folder
        self._worker = worker
        self._say = say
        self._settle_s = settle_s
        self._seen: Dict[str, Tuple[Tuple[Any, ...], float]] = {}
        self._refused: Dict[str, Tuple[Any, ...]] = {}
        self._hashing: Set[str] = set()
        self._renamed: Set[str] = set()
        self._complete: Dict[str, Tuple[Tuple[Any, ...], Checkpoint]] = {}
        self._passed_over: Set[str] = set()

    def newest_good(self, done: Callable[[Optional[str]], None]) -> None:
        """Look at what is there before the job starts; ``done`` gets the path of the newest one that verifies."""
        for name, files in self._entries():
            if self._has_digest(name, files):
                self._complete[name] = (signature_of(files), self._describe(name, files))
            else:
                self._refused[name] = signature_of(files)
                self._say("checkpoint %s has no digest: it may be half of one, so it is not used" % name)
        newest_first = [checkpoint.name for checkpoint in reversed(self.complete())]
        candidates = sorted(newest_first, key=is_best)  # which may lack what a resumed run needs
        self._worker.submit(lambda: self._verify(candidates), lambda result: self._verified(result, done))

    def _verify(self, names: List[str]) -> Tuple[Optional[str], Dict[str, str]]:
        faults: Dict[str, str] = {}
        for name in names:
            fault = fault_of(os.path.join(self._folder, name))
            if fault is None:
                return name, faults
            faults[name] = fault
        return None, faults

    def _verified(self, result: Any, done: Callable[[Optional[str]], None]) -> None:
        name, faults = result
        for broken, fault in faults.items():
            self._refused[broken] = self._complete.pop(broken)[0]
            instead = (
                "going back to %s" % name
                if name
                else "and there is no older one: starting from the beginning"
            )
            self._say("CHECKPOINT %s IS BROKEN (%s): %s" % (broken, fault, instead))
        done(name)

    def renamed(self, name: str) -> None:
        """An entry arrived by rename: it is complete."""
        if is_checkpoint_name(name):
            self._renamed.add(name)

    def scan(self) -> None:
        """Look for entries that are complete now."""
        now = time.monotonic()
        for name, files, signature in self._open_entries():
            if name not in self._seen or self._seen[name][0] != signature:
                self._seen[name] = (signature, now)
            if name in self._renamed or now - self._seen[name][1] >= self._settle_s:
                self._settle(name, files)

    def final_scan(self, nobody_was_writing: bool) -> None:
        """After the job: unless its end was a good one, what is not known to be whole may be half a file for ever."""
        for name, files, _ in self._open_entries():
            if nobody_was_writing or name in self._renamed:
                self._settle(name, files)

    def _open_entries(self) -> Iterator[Tuple[str, Files, Tuple[Any, ...]]]:
        """Entries that are neither known to be complete, nor refused, nor being digested."""
        present = set()
        for name, files in self._entries():
            present.add(name)
            signature = signature_of(files)
            if name in self._complete and self._complete[name][0] != signature:
                del self._complete[name]  # it is being written anew
            if (
                name not in self._complete
                and name not in self._hashing
                and self._refused.get(name) != signature
            ):
                yield name, files, signature
        for name in set(self._complete) - present:
            del self._complete[name]

    def summary(self) -> List[Dict[str, Any]]:
        """The newest ones, for ``status.json``; oldest first."""
        return [
            {"name": one.name, "size_bytes": one.size_bytes, "modified_at": utc(one.modified)}
            for one in self.complete()[-MOST_TOLD:]
        ]

    def complete(self) -> List[Checkpoint]:
        """Oldest first."""
        found = (checkpoint for _, checkpoint in self._complete.values())
        return sorted(found, key=lambda checkpoint: (checkpoint.modified, natural(checkpoint.name)))

    def is_busy(self) -> bool:
        """Digests are being made."""
        return bool(self._hashing)

    def _entries(self) -> Iterator[Tuple[str, Files]]:
        try:
            names = os.listdir(self._folder)
        except OSError:
            return
        counted, passed_over = sort_out(self._folder, names)
        self._say_what_is_passed_over(passed_over)
        for name in counted:
            try:
                files = [] if os.path.islink(self._path(name)) else files_of(self._path(name))
            except OSError:
                continue
            if any(info.st_size for _, info in files):
                yield name, files

    def _say_what_is_passed_over(self, names: List[str]) -> None:
        """Once of each: who counts on the mirror for it has to know."""
        new = [name for name in names if name not in self._passed_over]
        self._passed_over.update(new)
        if new:
            more = " and %d more" % (len(new) - MOST_NAMED) if len(new) > MOST_NAMED else ""
            told = ", ".join(new[:MOST_NAMED]) + more
            self._say("%s: beside the checkpoints of a library these are its results, not mirrored" % told)

    def _settle(self, name: str, files: Files) -> None:
        if self._has_digest(name, files):
            self._accept(name, files)
            return
        self._hashing.add(name)
        entry = self._path(name)
        self._worker.submit(
            lambda: digest_lines(entry, files), lambda lines: self._hashed(name, files, lines)
        )

    def _hashed(self, name: str, files: Files, lines: Any) -> None:
        self._hashing.discard(name)
        try:
            unchanged = signature_of(files_of(self._path(name))) == signature_of(files)
            if isinstance(lines, bytes) and unchanged:
                if not self._has_digest(name, files):
                    replace_file(self._path(name) + DIGEST_SUFFIX, lines, durable=True)
                self._accept(name, files)
        except OSError as error:
            self._say("no digest for checkpoint %s: %s" % (name, error))

    def _accept(self, name: str, files: Files) -> None:
        self._renamed.discard(name)
        self._complete[name] = (signature_of(files), self._describe(name, files))

    def _has_digest(self, name: str, files: Files) -> bool:
        """A digest that is older than the entry belongs to what had this name before."""
        try:
            written_ns = os.stat(self._path(name) + DIGEST_SUFFIX).st_mtime_ns
        except OSError:
            return False
        return all(info.st_mtime_ns <= written_ns for _, info in files)

    def _describe(self, name: str, files: Files) -> Checkpoint:
        size = sum(info.st_size for _, info in files)
        return Checkpoint(name, size, max(info.st_mtime for _, info in files))

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)
