"""Small things about files and time that every part needs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from datetime import datetime, timezone
from typing import Any, Callable, Optional, Union


def utc(seconds: Optional[float] = None) -> str:
    """A moment of the wall clock (default: now) as ISO 8601 in UTC."""
    moment = time.time() if seconds is None else seconds
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")


def epoch(text: Optional[str]) -> Optional[float]:
    """Seconds since 1970 of an ISO 8601 time."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def replace_file(path: str, data: bytes, mode: int = 0o644, durable: bool = False) -> None:
    """Write beside and rename, so that a reader sees the old bytes or the new ones."""
    beside = "%s.%d.tmp" % (path, os.getpid())
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        remove(beside)
        raise


def remove(path: str) -> None:
    """Delete a file if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def read_json(path: str) -> Any:
    """The file's content, or None where there is no whole file."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read().decode("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return None


def read_text(path: str) -> str:
    """The file's text; empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def sha256_of(
    path: Union[str, "os.PathLike[str]"], on_progress: Optional[Callable[[int], None]] = None
) -> str:
    """Digest of a file's bytes, as hex digits; ``on_progress`` is told how many were read."""
    digest = hashlib.sha256()
    done = 0
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
            done += len(block)
            if on_progress is not None:
                on_progress(done)
    return digest.hexdigest()
