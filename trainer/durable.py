"""Files that are either whole and on the disk, or not there.

`publish` is the only way in which the trainer makes a file that somebody may rely on. The digest is
renamed into place before the file, so whoever sees the file sees the digest that belongs to it; a crash
in between leaves a digest without a file, which nobody mistakes for a checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from trainer.contract import DIGEST_SUFFIX

__all__ = [
    "HashingFile",
    "digest_path",
    "file_digest",
    "is_alive",
    "link_into_place",
    "publish",
    "read_digest",
    "remove_published",
    "remove_stale",
    "replace_text",
]

TEMPORARY_SUFFIX = ".tmp"


class Writer(Protocol):
    """What `publish` hands to its caller: something to write bytes to, in order."""

    def write(self, data: bytes, /) -> int:
        """Append bytes."""
        ...


class HashingFile:
    """Forwards writes and hashes them on the way, so a checkpoint need not be read again for its digest.

    A failed write is kept in `error`: libraries that write through C++ may replace it by one of theirs.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Append bytes."""
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self._hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Part of what libraries expect of a file."""
        self._file.flush()

    def hexdigest(self) -> str:
        """SHA-256 of everything written."""
        return self._hash.hexdigest()


def digest_path(path: Path) -> Path:
    """Where the digest of `path` lies."""
    return path.with_name(path.name + DIGEST_SUFFIX)


def publish(path: Path, write: Callable[[HashingFile], None], *, with_digest: bool = True) -> None:
    """Make `path` with what `write` writes: beside, fsynced, renamed, folder fsynced.

    Raises OSError and leaves nothing behind when the disk refuses; a file of that name that was there
    before is replaced only at the very end. Costs one pass over the data.
    """
    temporary = _temporary(path)
    sidecar = _temporary(digest_path(path))
    try:
        digest = _write_whole(temporary, write)
        if with_digest:
            _write_whole(sidecar, lambda out: _ignore(out.write(f"{digest}  {path.name}\n".encode())))
            path.unlink(missing_ok=True)  # never an old file beside a new digest
            sidecar.replace(digest_path(path))
            _sync_folder(path.parent)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        for leftover in (temporary, sidecar):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _ignore(value: object) -> None:
    """For callbacks whose result does not matter."""


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")


def _write_whole(path: Path, write: Callable[[HashingFile], None]) -> str:
    with path.open("wb") as file:
        out = HashingFile(file)
        try:
            write(out)
        except Exception:
            if out.error is not None:
                raise out.error from None
            raise
        file.flush()
        os.fsync(file.fileno())
    return out.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str | bytes) -> None:
    """Make a small text file, durable but without a digest."""
    data = text.encode() if isinstance(text, str) else text
    publish(path, lambda out: _ignore(out.write(data)), with_digest=False)


def link_into_place(source: Path, target: Path) -> None:
    """Make `target` another name of `source` by one rename; a copy where the file system has no links."""
    temporary = _temporary(target)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        publish(target, lambda out: _copy(source, out), with_digest=False)
        return
    temporary.replace(target)
    _sync_folder(target.parent)


def _copy(source: Path, out: Writer) -> None:
    with source.open("rb") as file:
        while chunk := file.read(1 << 22):
            out.write(chunk)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def read_digest(path: Path) -> str | None:
    """The digest recorded for `path`, or None where none was."""
    try:
        return digest_path(path).read_text(encoding="ascii").split()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return None


def remove_published(path: Path) -> None:
    """Delete a file and then its digest."""
    path.unlink(missing_ok=True)
    digest_path(path).unlink(missing_ok=True)


def remove_stale(folder: Path) -> list[Path]:
    """Delete what killed processes left in `folder`: temporary files, and digests of files that never came.

    Temporary files of processes that still live are left alone. Returns what was deleted.
    """
    removed = []
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        owner = path.name.removesuffix(TEMPORARY_SUFFIX).rpartition(".")[2]
        if owner.isdigit() and int(owner) != os.getpid() and is_alive(int(owner)):
            continue
        path.unlink(missing_ok=True)
        removed.append(path)
    for path in folder.glob(f"*{DIGEST_SUFFIX}"):
        if not path.with_name(path.name.removesuffix(DIGEST_SUFFIX)).exists():
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def is_alive(pid: int) -> bool:
    """Whether a process with this number lives, ours or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
