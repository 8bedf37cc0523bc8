"""Data that a job is given: where it lies and where the job expects it. An estimate needs no more of a runner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioning.storage import SignedUrl

__all__ = ["Mount", "SignedFile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedFile:
    """One object that the machine may read for some time."""

    name: str
    """Of a single object its key; of one below a prefix, its name from there on."""
    link: SignedUrl
    size_bytes: int
    etag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One entry of ``file_mounts``: a source, and where the job expects it."""

    target: str
    """Relative to the working folder, or absolute on the machine."""
    source: str
    """An absolute local path, or an ``https://`` address or object, which may end in ``#sha256=<hex digits>``."""
    files: tuple[SignedFile, ...] = ()
    """For a source in an object store: what the machine fetches."""
    is_folder: bool = False
    """With ``files``: they are what lies below a prefix, and keep their names."""
