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

COMPARE = ("diff", "--relative", "--no-renames")
FILES_AT_ONCE = 500
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
    """Of `git diff HEAD` over what goes up; 0 when nothing of that was changed."""
    diff_sha256: str = ""
    deleted_files: int = 0
    """Files that the commit has and the working folder has not."""
    new_files: int = 0
    """Files that go up and that git does not follow; they are in the snapshot and not in the difference."""

    @property
    def is_changed(self) -> bool:
        """The code is not that of the commit."""
        return bool(self.diff_bytes or self.new_files or self.deleted_files)


def origin_of(workdir: Path, sent: Collection[str]) -> tuple[Origin, bytes]:
    """Return where the code in ``workdir`` comes from, and the difference to its commit as a patch; ``sent``: what goes up.

    The patch is of what goes up and nothing else: what is to stay at home does not leave it by way of a difference. It
    is empty when there is none or when it is larger than `DIFF_BYTES`. Never raises: that nobody knows where code comes
    from is no reason not to run it.
    """
    try:
        if not is_in_git(workdir):
            return Origin(), b""
        commit = _line(workdir, "rev-parse", "--verify", "-q", "HEAD")
        # Without a commit everything is new: the empty tree, as git names it in every repository.
        base = commit or _line(workdir, "hash-object", "-t", "tree", "/dev/null")
        changed = _names(workdir, *COMPARE, "--name-only", "-z", base, "--", ".")
        diff = _difference(workdir, base, sorted(changed.intersection(sent)))
        new = _names(workdir, "ls-files", "-z", "-o", "--exclude-standard")
    except FieldError:
        return Origin(), b""
    origin = Origin(
        commit=commit,
        branch=_line(workdir, "symbolic-ref", "-q", "--short", "HEAD"),
        remote=re.sub(r"(?<=://)[^/@]*@", "", _line(workdir, "remote", "get-url", "origin")),
        diff_bytes=len(diff),
        diff_sha256=hashlib.sha256(diff).hexdigest() if diff else "",
        deleted_files=sum(not os.path.lexists(workdir / name) for name in changed.difference(sent)),
        new_files=len(new.intersection(sent)),
    )
    return origin, diff if len(diff) <= DIFF_BYTES else b""


def _difference(workdir: Path, base: str, names: list[str]) -> bytes:
    """The patch of these files; the command line of a system has room for a part of very many."""
    parts = (names[at : at + FILES_AT_ONCE] for at in range(0, len(names), FILES_AT_ONCE))
    told = ("--literal-pathspecs", *COMPARE, "--binary", "--no-color", "--no-ext-diff", base, "--")
    return b"".join(ask_git(workdir, *told, *part).stdout for part in parts)


def _names(workdir: Path, *words: str) -> set[str]:
    told = ask_git(workdir, *words).stdout
    return {os.fsdecode(name) for name in told.split(b"\0") if name}


def _line(workdir: Path, *words: str) -> str:
    answer = ask_git(workdir, *words)
    return answer.stdout.decode(errors="replace").strip() if answer.returncode == 0 else ""
