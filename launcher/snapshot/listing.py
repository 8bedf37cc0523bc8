"""Which files a folder offers: as git would list them, or all of them but what a pattern file names."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from launcher.job.problem import FieldError
from launcher.snapshot.ignore import IgnorePatterns

__all__ = ["IGNORE_FILE", "Listing", "ask_git", "is_in_git", "list_folder"]

IGNORE_FILE = ".launchignore"
_GIT_TIMEOUT_S = 120.0


@dataclass(slots=True)
class Listing:
    """Paths relative to the folder, ``/`` between their parts, any bytes (``surrogateescape``) in them."""

    listed_by: str
    """``git``, ``.launchignore``, ``.gitignore`` or ``folder``: who decided."""
    paths: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    """Path → reason; a folder stands for all that is in it."""


Prune = Callable[[str], str | None]
"""Folder (relative) → why nothing below it is looked at, or None."""


def list_folder(folder: Path, *, prune: Prune) -> Listing:
    """List ``folder`` as it is now. ``prune`` saves looking into folders that are left out anyway.

    Raises:
        FieldError: git refuses to say what belongs to the folder, or the folder cannot be read.
    """
    if is_in_git(folder):
        listing = Listing("git")
        _list_git(folder, "", listing)
    else:
        listing = _list_all(folder, prune)
    _apply_ignore_file(folder, listing)
    return listing


def is_in_git(folder: Path) -> bool:
    """Does git know what belongs to this folder? Not when the enclosing repository ignores all of it."""
    if shutil.which("git") is None:
        return False
    answer = ask_git(folder, "rev-parse", "--is-inside-work-tree")
    words = answer.stderr.decode(errors="replace").strip()
    if answer.returncode != 0:
        if "dubious ownership" in words:
            raise FieldError(
                "git does not trust this folder, because it belongs to another user",
                path=("workdir",),
                hint=f"git config --global --add safe.directory {folder}",
            )
        return False
    inside = answer.stdout.strip() == b"true"
    return inside and ask_git(folder, "check-ignore", "-q", ".").returncode != 0


def _list_git(root: Path, prefix: str, listing: Listing) -> None:
    here = root / prefix if prefix else root
    for name in _git_paths(here, "-co"):
        path = prefix + name.rstrip("/")
        full = root / path
        if not full.is_dir() or full.is_symlink():
            listing.paths.add(path)
        elif (full / ".git").exists():
            _list_git(root, path + "/", listing)
        elif not any(full.iterdir()):
            listing.left_out[path + "/"] = "a submodule that is not checked out"
        else:
            listing.paths.update(_walk(root, path + "/", lambda _: None, listing))
    for name in _git_paths(here, "-oi", "--directory", "--no-empty-directory"):
        listing.left_out[prefix + name] = "ignored by git"


def _git_paths(folder: Path, *options: str) -> list[str]:
    answer = ask_git(folder, "ls-files", "-z", *options, "--exclude-standard")
    if answer.returncode != 0:
        words = answer.stderr.decode(errors="replace").strip().splitlines()
        raise FieldError(
            f"git cannot list {folder}: {words[-1] if words else 'no reason given'}",
            path=("workdir",),
            hint=f"try `git -C {folder} ls-files`",
        )
    return [os.fsdecode(name) for name in answer.stdout.split(b"\0") if name]


def ask_git(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Ask git there, for what it knows and nothing else; `FieldError` when it does not answer."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    # Inside a hook of git, its variables would point to another index; a fixed language keeps messages readable.
    kept = {key: os.environ[key] for key in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM") if key in os.environ}
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**environ, **kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FieldError(
            f"git did not answer within {_GIT_TIMEOUT_S:.0f} s in {folder}", path=("workdir",)
        ) from None


def _list_all(folder: Path, prune: Prune) -> Listing:
    listing = Listing("folder")
    listing.paths.update(_walk(folder, "", prune, listing))
    return listing


def _walk(root: Path, prefix: str, prune: Prune, listing: Listing) -> Iterator[str]:
    pending = [prefix]
    while pending:
        base = pending.pop()
        try:
            entries = list(os.scandir(os.path.join(root, base)))  # noqa: PTH118 - a hot loop over many files
        except OSError as err:
            raise FieldError(f"{base or root} cannot be read: {err.strerror}", path=("workdir",)) from None
        for entry in entries:
            path = base + entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield path
                continue
            reason = prune(path)
            if reason is None:
                pending.append(path + "/")
            else:
                listing.left_out[path + "/"] = reason


def _apply_ignore_file(folder: Path, listing: Listing) -> None:
    """Take out what the pattern file names: ours always, git's where there is no git to read it."""
    names = (IGNORE_FILE,) if listing.listed_by == "git" else (IGNORE_FILE, ".gitignore")
    name = next((name for name in names if (folder / name).is_file()), None)
    if name is None:
        return
    text = (folder / name).read_text(encoding="utf-8", errors="surrogateescape")
    patterns = IgnorePatterns.parse(text.splitlines())
    if listing.listed_by != "git":
        listing.listed_by = name
    named: dict[str, bool] = {}

    def first_named(path: str) -> str | None:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if above not in named:
                named[above] = patterns.matches(above, is_folder=True)
            if named[above]:
                return above + "/"
        return path if patterns.matches(path, is_folder=False) else None

    for path in sorted(listing.paths):
        out = first_named(path)
        if out is not None:
            listing.paths.discard(path)
            listing.left_out[out] = f"named in {name}"
