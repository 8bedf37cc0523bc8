"""Checkpoints at home: which to copy now, which one is good, which may go.

A checkpoint is a file or a folder with ``<name>.sha256`` beside it, in the format of ``sha256sum``; one without
is not complete and does not count. Deciding is apart from doing.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from launcher.remote.onboard.files import sha256_of
from launcher.remote.onboard.names import is_best
from trainer.contract import DIGEST_SUFFIX

if TYPE_CHECKING:
    from launcher.runners.base import CheckpointEntry

__all__ = [
    "Found",
    "Mirrored",
    "Order",
    "newest_good_checkpoint",
    "order_of",
    "patterns_of",
    "prune",
    "what_is_wrong",
    "what_to_delete",
    "what_to_mirror",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrored:
    """A checkpoint that was copied home, or is being copied."""

    modified_at: datetime
    """Of the one on the machine, by the machine's clock: the same name may be saved again."""
    at: datetime | None = None
    """When it was copied, by the clock at home; None while it is on its way."""


Order = Mapping[str, tuple[int, datetime]]
"""Checkpoint → (attempt, when it was saved by the clock of that attempt's machine): see `order_of`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The newest good checkpoint, and what was newer and no good."""

    path: Path | None
    """None: there is none, and the run starts from its beginning."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(name, what is wrong with it), newest first; worth a warning each."""


_NO_ORDER: Order = MappingProxyType({})
_UNKNOWN = (0, datetime.min.replace(tzinfo=timezone.utc))


def what_to_mirror(
    entries: Sequence[CheckpointEntry],
    mirrored: Mapping[str, Mirrored],
    *,
    now: datetime,
    every_s: float,
) -> tuple[CheckpointEntry, ...]:
    """Return the checkpoints to copy now: the newest one, and a new ``best``; nothing more often than ``every_s``.

    Those in between are passed over: only the newest one saves work. Pure.
    """
    copied = [one.at for one in mirrored.values() if one.at is not None]
    since = now - max(copied) if copied else None
    if since is not None and timedelta(0) <= since < timedelta(
        seconds=every_s
    ):  # a clock set back holds nothing up
        return ()
    ordered = sorted(entries, key=lambda entry: (entry.modified_at, _natural(entry.name)))
    best = [entry for entry in ordered if is_best(entry.name)]
    others = [entry for entry in ordered if not is_best(entry.name)]
    chosen = (*best[-1:], *others[-1:])
    return tuple(entry for entry in chosen if not _is_home(entry, mirrored))


def _is_home(entry: CheckpointEntry, mirrored: Mapping[str, Mirrored]) -> bool:
    one = mirrored.get(entry.name)
    return one is not None and one.at is not None and one.modified_at >= entry.modified_at


def order_of(mirrored: Mapping[int, Mapping[str, Mirrored]]) -> dict[str, tuple[int, datetime]]:
    """Return the order in which checkpoints were saved, from what each attempt (by number) has brought home. Pure.

    An attempt goes on from the ones before it, so whatever it saved is newer than what they saved, whatever the
    clocks of their machines said. Clocks are compared within one attempt alone.
    """
    order: dict[str, tuple[int, datetime]] = {}
    for attempt in sorted(mirrored):
        order |= {name: (attempt, one.modified_at) for name, one in mirrored[attempt].items()}
    return order


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Order ``step_90`` before ``step_100``."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((int(part), "") if index % 2 else (-1, part) for index, part in enumerate(parts))


def patterns_of(name: str) -> tuple[str, ...]:
    """Return the patterns that fetch exactly one checkpoint, file or folder, with its digest."""
    literal = glob.escape(name)
    return (literal, literal + "/", literal + DIGEST_SUFFIX)


def newest_good_checkpoint(mirror_dir: Path, order: Order = _NO_ORDER) -> Found:
    """Find the newest checkpoint whose bytes match its digest. Reads each candidate once, until one is good.

    ``order`` says which is newer (`order_of`); what it does not know comes before, by the numbers in the names. A
    ``best`` one is only taken where there is no other.
    """
    skipped: list[tuple[str, str]] = []
    for name in reversed(_by_age(mirror_dir, order)):
        problem = what_is_wrong(mirror_dir, name)
        if problem is None:
            return Found(path=mirror_dir / name, skipped=tuple(skipped))
        skipped.append((name, problem))
    return Found(path=None, skipped=tuple(skipped))


def what_is_wrong(folder: Path, name: str) -> str | None:
    """Check one checkpoint against ``<name>.sha256``; return what is wrong with it, or None."""
    try:
        expected = _read_digests((folder / (name + DIGEST_SUFFIX)).read_bytes())
    except FileNotFoundError:
        return "has no digest: it was not complete"
    except (OSError, ValueError) as err:
        return f"its digest cannot be read: {err}"
    mine = _about(folder, name, expected)
    if not mine:
        return "its digest is not about it"
    for path, digest in mine.items():
        try:
            actual = sha256_of(folder / path)
        except OSError as err:
            return f"{path} cannot be read: {err.strerror}"
        if actual != digest:
            return f"{path} does not match its digest"
    return None


def _about(folder: Path, name: str, digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests that belong to one checkpoint, by path in ``folder``; none when others are among them.

    The line of a file may carry whatever folder the program called ``sha256sum`` from.
    """
    if (folder / name).is_file():
        named = [digest for path, digest in digests.items() if path.rpartition("/")[2] == name]
        return {name: named[0]} if len(named) == len(digests) == 1 else {}
    return dict(digests) if all(path.startswith(name + "/") for path in digests) else {}


def _read_digests(text: bytes) -> dict[str, str]:
    """Read lines of ``sha256sum``: hexadecimal digest, two signs, name; a leading backslash says "escaped"."""
    digests = {}
    for line in text.split(b"\n"):
        if not line:
            continue
        match = re.fullmatch(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)", line, re.DOTALL)
        if match is None:
            raise ValueError(f"not a line of sha256sum: {line[:80].decode(errors='replace')!r}")
        name = match[3]
        if match[1]:
            name = re.sub(rb"\\(.)", lambda m: {b"n": b"\n", b"r": b"\r"}.get(m[1], m[1]), name)
        digests[os.path.normpath(os.fsdecode(name))] = match[2].decode().lower()
    return digests


def what_to_delete(names_by_age: Sequence[str], *, keep: int) -> tuple[str, ...]:
    """Return the checkpoints beyond the newest ``keep``, oldest first; ``best`` ones are not counted and stay. Pure.

    At least one is kept, whatever ``keep`` says.
    """
    counted = [name for name in names_by_age if not is_best(name)]
    return tuple(counted[: -max(keep, 1)])


def prune(mirror_dir: Path, *, keep: int, order: Order = _NO_ORDER) -> tuple[str, ...]:
    """Delete all but the newest ``keep`` checkpoints; return the names of the deleted.

    Deletes nothing unless the newest one was read back and is good: until then the one before is needed.
    """
    names = _by_age(mirror_dir, order)
    doomed = what_to_delete(names, keep=keep)
    if not doomed or what_is_wrong(mirror_dir, names[-1]) is not None:
        return ()
    for name in doomed:
        # The digest first: what a crash leaves then is incomplete, and is taken for that.
        (mirror_dir / (name + DIGEST_SUFFIX)).unlink(missing_ok=True)
        _remove(mirror_dir / name)
    return doomed


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _by_age(folder: Path, order: Order) -> list[str]:
    """Names of all entries that are checkpoints, complete or not: ``best`` ones first, then oldest to newest."""
    if not folder.is_dir():
        return []
    names = [
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and not path.name.endswith(DIGEST_SUFFIX) and not path.is_symlink()
    ]
    return sorted(names, key=lambda name: (not is_best(name), order.get(name, _UNKNOWN), _natural(name)))
