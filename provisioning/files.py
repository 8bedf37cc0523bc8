"""State on this computer for providers that have no cloud to keep it: a lock, an atomic write, typed failures."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from provisioning.errors import CloudError, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["lock", "os_errors", "write_atomically"]


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` exclusively against every process and thread; the kernel frees it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace ``path`` as a whole and durably: a reader, also after a crash, sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def os_errors(doing: str) -> Iterator[None]:
    """Turn `OSError` into a `CloudError` that says what was being done."""
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(
            f"{doing}: {error}", hint="make the folder writable, or set LAUNCH_HOME"
        ) from error
    except OSError as error:
        raise CloudError(
            f"{doing}: {error}", hint="make room or repair the folder, or set LAUNCH_HOME"
        ) from error
