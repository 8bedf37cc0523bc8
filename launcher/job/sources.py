"""``file_mounts``: what may stand on either side."""

from __future__ import annotations

import re

__all__ = ["REMOTE_SCHEMES", "mount_target_problem", "scheme_of", "source_problem"]

REMOTE_SCHEMES = ("https", "s3", "gs", "kaggle")


def scheme_of(source: str) -> str | None:
    """Return ``https``, ``s3``, ``gs``, ``kaggle`` or another scheme; None for a local path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    return match[1].lower() if match else None


def source_problem(text: str) -> str | None:
    """Say why ``text`` is no source; None when it is one."""
    scheme = scheme_of(text)
    if scheme is None or (scheme in REMOTE_SCHEMES and re.match(r"[a-z0-9]+://[^/\s]+", text)):
        return None
    if scheme == "http":
        return f"data comes over https:// only, so that it arrives as it was sent: {text!r}"
    known = ", ".join(f"{name}://" for name in REMOTE_SCHEMES)
    return f"expected a local path or one of {known}, came {text!r}"


def mount_target_problem(text: str) -> str | None:
    """Say why ``text`` is no place on the machine; None when it is one."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("~"):
        return f"expected a path in the working folder, or an absolute one; ~ is not expanded: {text!r}"
    if ".." in parts or not parts:
        return f"expected a path in the working folder, or an absolute one, came {text!r}"
    return None
