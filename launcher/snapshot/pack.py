"""The snapshot itself: a gzipped tar that is byte for byte the same for the same files."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from launcher.errors import HomeError
from launcher.job.problem import FieldError
from launcher.snapshot.manifest import Entry, Manifest, survey

__all__ = ["Snapshot", "pack"]

_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The code of a run, as it was at launch."""

    path: Path
    sha256: str
    """Of the packed file; equal files give an equal digest."""
    size_bytes: int
    """Of the packed file."""
    manifest: Manifest


class _ChangedMeanwhileError(Exception):
    """A file was not the same at the end of reading it as at the beginning."""


def pack(
    workdir: Path,
    dest: Path,
    *,
    kept_out: Mapping[str, str] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Snapshot:
    """Write the working folder as it is now to ``dest``, whole or not at all.

    Looks again at what goes up (see `survey`), and starts over when a file changes under its hands.
    ``on_bytes`` hears how many bytes of files have been read so far.

    Raises:
        JobFileError: a file cannot be read, or something keeps changing.
        HomeError: ``dest`` cannot be written.
    """
    changed = ""
    for _ in range(_TRIES):
        manifest = survey(workdir, kept_out=kept_out)
        try:
            return _write(manifest, dest, on_bytes)
        except _ChangedMeanwhileError as err:
            changed = str(err)
    raise FieldError(
        f"{changed} changed while it was packed, {_TRIES} times in a row",
        path=("workdir",),
        hint="launch again when nothing writes there, or name it in .launchignore",
    )


def _write(manifest: Manifest, dest: Path, on_bytes: Callable[[int], None] | None) -> Snapshot:
    beside = dest.with_name(f"{dest.name}.{os.getpid()}.part")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as raw:
            digest = _Digest(raw)
            _write_tar(manifest, cast("IO[bytes]", digest), on_bytes)
            raw.flush()
            os.fsync(raw.fileno())
        beside.replace(dest)
    except OSError as err:
        raise HomeError(f"the snapshot cannot be written to {dest}: {err.strerror}") from err
    finally:
        with contextlib.suppress(OSError):  # it is in place, or was never made
            beside.unlink()
    return Snapshot(path=dest, sha256=digest.hexdigest(), size_bytes=digest.size_bytes, manifest=manifest)


class _Digest:
    """A file that is only written, digested on the way."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self.size_bytes += len(data)
        return self._raw.write(data)

    def flush(self) -> None:
        self._raw.flush()

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def _write_tar(manifest: Manifest, out: IO[bytes], on_bytes: Callable[[int], None] | None) -> None:
    done = 0
    with (
        # No name and no time of its own in the header: the same files give the same bytes.
        gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0) as packed,
        tarfile.open(
            fileobj=packed,
            mode="w",
            format=tarfile.GNU_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
        ) as tar,
    ):
        for entry in manifest.entries:
            _add(tar, manifest.workdir, entry)
            done += entry.size_bytes
            if on_bytes:
                on_bytes(done)


def _add(tar: tarfile.TarFile, workdir: Path, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.path)
    if entry.link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(info)
        return
    try:
        descriptor = os.open(workdir / entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        raise _ChangedMeanwhileError(entry.path) from None
    except OSError as err:
        raise FieldError(f"{entry.path} cannot be read: {err.strerror}", path=("workdir",)) from None
    with os.fdopen(descriptor, "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise _ChangedMeanwhileError(entry.path)
        info.size = before.st_size
        info.mtime = int(before.st_mtime)
        info.mode = before.st_mode & 0o755 | 0o600
        try:
            tar.addfile(info, file)
        except OSError as err:
            if err.errno is None:  # tarfile's own word for a file that was shorter than it said
                raise _ChangedMeanwhileError(entry.path) from None
            raise
        after = os.fstat(file.fileno())
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise _ChangedMeanwhileError(entry.path)
