"""Which commit a working folder stands at, and what was changed since: so that a result can be traced to its code."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.job.problem import FieldError
from launcher.snapshot.listing import ask_git, is_in_git

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["DIFF_BYTES", "Origin", "origin_of"]

DIFF_BYTES = 8 << 20
"""A larger difference is counted and not kept: the snapshot of the code has it anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where code comes from; everything is empty for a folder that git does not know."""

    commit: str = ""
    branch: str = ""
    """Empty when none is checked out."""
    remote: str = ""
    """Of ``origin``, without a name or a token in it."""
    diff_bytes: int = 0
    """Of `git diff HEAD` in the working folder; 0 when nothing that git follows was changed."""
    diff_sha256: str = ""
    new_files: int = 0
    """Files that go up and that git does not follow; they are in the snapshot and not in the difference."""

    @property
    def is_changed(self) -> bool:
        """The code is not that of the commit."""
        return bool(self.diff_bytes or self.new_files)


def origin_of(workdir: Path, sent: Collection[str]) -> tuple[Origin, bytes]:
    """Return where the code in ``workdir`` comes from, and the difference to its commit as a patch; ``sent``: what goes up.

    The patch is empty when there is none or when it is larger than `DIFF_BYTES`. Never raises: that nobody knows where
    code comes from is no reason not to run it.
    """
    try:
        if not is_in_git(workdir):
            return Origin(), b""
        commit = _line(workdir, "rev-parse", "--verify", "-q", "HEAD")
        # Without a commit everything is new: the empty tree, as git names it in every repository.
        base = commit or _line(workdir, "hash-object", "-t", "tree", "/dev/null")
        diff = ask_git(workdir, "diff", "--binary", "--no-color", "--no-ext-diff", base, "--", ".").stdout
        new = ask_git(workdir, "ls-files", "-z", "-o", "--exclude-standard").stdout.split(b"\0")
    except FieldError:
        return Origin(), b""
    origin = Origin(
        commit=commit,
        branch=_line(workdir, "symbolic-ref", "-q", "--short", "HEAD"),
        remote=re.sub(r"(?<=://)[^/@]*@", "", _line(workdir, "remote", "get-url", "origin")),
        diff_bytes=len(diff),
        diff_sha256=hashlib.sha256(diff).hexdigest() if diff else "",
        new_files=len({os.fsdecode(name) for name in new}.intersection(sent)),
    )
    return origin, diff if len(diff) <= DIFF_BYTES else b""


def _line(workdir: Path, *words: str) -> str:
    answer = ask_git(workdir, *words)
    return answer.stdout.decode(errors="replace").strip() if answer.returncode == 0 else ""
