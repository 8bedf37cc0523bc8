"""What of a working folder goes up, what stays and why: known before anything is rented."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.job.problem import FieldError
from launcher.job.units import Size
from launcher.results import MARKER
from launcher.snapshot.listing import Listing, list_folder

__all__ = ["Entry", "LeftOut", "Manifest", "survey"]

WARN_BYTES = 100 * 10**6
REFUSE_BYTES = 2 * 10**9

_NEVER = {
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".DS_Store",
}
_MAX_COUNTED = 200_000
"""Files counted in one folder that is left out; its size is "at least" beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file or link that goes up."""

    path: str
    """Relative to the working folder; bytes that are not UTF-8 stand as surrogates (`os.fsencode` gives them back)."""
    size_bytes: int
    link: str | None = None
    """Where a link points to, relative to the folder it lies in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that stays at home; a path that ends in ``/`` stands for the folder and all in it."""

    path: str
    reason: str
    size_bytes: int
    at_least: bool = False
    """There were too many files to count them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The snapshot before it is made."""

    workdir: Path
    listed_by: str
    """``git``, the pattern file, or ``folder`` when nothing was left to anybody's choice."""
    entries: tuple[Entry, ...]
    """Sorted by path."""
    left_out: tuple[LeftOut, ...]
    """Largest first; version control and caches are not worth a line."""

    @property
    def files(self) -> int:
        """How many files and links go up."""
        return len(self.entries)

    @property
    def size_bytes(self) -> int:
        """Bytes that go up, before compression."""
        return sum(entry.size_bytes for entry in self.entries)

    @property
    def largest(self) -> tuple[Entry, ...]:
        """The five largest files."""
        return tuple(sorted(self.entries, key=lambda entry: (-entry.size_bytes, entry.path))[:5])

    def holds(self, path: str) -> bool:
        """Does ``path``, or something below it, go up?"""
        wanted = os.path.normpath(path)
        return any(entry.path == wanted or entry.path.startswith(wanted + "/") for entry in self.entries)

    def why_left_out(self, path: str) -> str | None:
        """Return the reason why ``path`` stays at home; None when nobody left it out."""
        wanted = os.path.normpath(path)
        for item in self.left_out:
            name = item.path.rstrip("/")
            if wanted == name or wanted.startswith(name + "/"):
                return item.reason
        return None


def survey(workdir: Path, *, kept_out: Mapping[str, str] | None = None) -> Manifest:
    """Find out what goes up. Reads names and sizes only; 100 000 files take about a second.

    ``kept_out``: relative path → reason, for what is not code although it lies in the working folder.

    Raises:
        JobFileError: ``workdir`` is no folder, is a whole home folder, cannot be read or is too large.
    """
    _require_folder(workdir)
    workdir = workdir.resolve()
    rules = _Rules(workdir, {os.path.normpath(path): why for path, why in (kept_out or {}).items()})
    listing = list_folder(workdir, prune=rules.why_folder)
    out: dict[str, str] = {
        path: why
        for path, why in listing.left_out.items()
        if path.rstrip("/").rpartition("/")[2] not in _NEVER
    }
    entries = list(_entries(workdir, listing, rules, out))
    manifest = Manifest(
        workdir=workdir,
        listed_by=listing.listed_by,
        entries=tuple(sorted(entries, key=lambda entry: os.fsencode(entry.path))),
        left_out=tuple(sorted(_measured(workdir, out), key=lambda item: (-item.size_bytes, item.path))),
    )
    _refuse_too_large(manifest)
    return manifest


def _require_folder(workdir: Path) -> None:
    if not workdir.is_dir():
        what = "is not a folder" if workdir.exists() else "does not exist"
        raise FieldError(f"{workdir} {what}", path=("workdir",), hint="paths are relative to the job file")
    if workdir in (Path.home(), Path(workdir.anchor)):
        raise FieldError(
            f"{workdir} is not the folder of a project",
            path=("workdir",),
            hint="run from the project's own folder",
        )


class _Rules:
    """Why a path is no code, whoever listed it. Answers for folders are remembered."""

    def __init__(self, workdir: Path, kept_out: Mapping[str, str]) -> None:
        self._workdir = workdir
        self._kept_out = kept_out
        self._known: dict[str, tuple[str, str] | None] = {}

    def why_folder(self, path: str) -> str | None:
        """Return why nothing below this folder is code, or None. An empty reason is not worth a line."""
        name = path.rpartition("/")[2]
        if name in _NEVER:
            return ""
        if path in self._kept_out:
            return self._kept_out[path]
        full = self._workdir / path
        if full.is_symlink():
            return ""  # the link itself is looked at; git still lists what lay below before it was one
        if (full / "pyvenv.cfg").exists() or (full / "conda-meta").is_dir():
            return "a Python environment"
        if (full / MARKER).exists():
            return "results of an earlier run"
        return None

    def why(self, path: str) -> tuple[str, str] | None:
        """Return (what is left out, why) for a file or the highest folder above it; None when it goes up."""
        above, _, name = path.rpartition("/")
        inherited = self._why_above(above) if above else None
        if inherited is not None:
            return inherited
        if name in _NEVER:
            return path, ""
        return (path, self._kept_out[path]) if path in self._kept_out else None

    def _why_above(self, folder: str) -> tuple[str, str] | None:
        if folder not in self._known:
            parent = folder.rpartition("/")[0]
            found = self._why_above(parent) if parent else None
            if found is None:
                reason = self.why_folder(folder)
                found = None if reason is None else (folder + "/", reason)
            self._known[folder] = found
        return self._known[folder]


def _entries(workdir: Path, listing: Listing, rules: _Rules, out: dict[str, str]) -> Iterable[Entry]:
    for path in listing.paths:
        excluded = rules.why(path)
        if excluded is not None:
            out[excluded[0]] = excluded[1]
            continue
        full = workdir / path
        try:
            status = full.lstat()
        except FileNotFoundError:
            continue  # deleted, and still in git's index
        if stat.S_ISREG(status.st_mode):
            yield Entry(path=path, size_bytes=status.st_size)
        elif stat.S_ISLNK(status.st_mode):
            link = _link_inside(workdir, full)
            if (full / MARKER).exists():
                out[path] = "a link to results of an earlier run"
            elif link is None:
                out[path] = f"a link out of the working folder, to {full.readlink()}"
            else:
                yield Entry(path=path, size_bytes=0, link=link)
        else:
            out[path] = "neither a file nor a folder"


def _link_inside(workdir: Path, link: Path) -> str | None:
    """Return where a link points, relative to its own folder; None when that is outside of ``workdir``."""
    target = str(link.readlink())
    resolved = Path(os.path.realpath(link))
    if resolved != workdir and workdir not in resolved.parents:
        return None
    lexical = Path(os.path.normpath(link.parent / target))
    if lexical != workdir and workdir not in lexical.parents:
        return os.path.relpath(resolved, link.parent)
    return os.path.relpath(lexical, link.parent) if target.startswith("/") else target


def _measured(workdir: Path, out: Mapping[str, str]) -> Iterable[LeftOut]:
    for path, reason in out.items():
        if not reason:
            continue
        size_bytes, at_least = _size_of(workdir / path)
        if size_bytes or reason != "ignored by git":
            yield LeftOut(path=path, reason=reason, size_bytes=size_bytes, at_least=at_least)


def _size_of(path: Path) -> tuple[int, bool]:
    """Return (bytes, whether there were more files than we wanted to count)."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return path.lstat().st_size, False
    except OSError:
        return 0, False
    size_bytes, counted = 0, 0
    for folder, _, names in os.walk(path):
        for name in names:
            counted += 1
            if counted > _MAX_COUNTED:
                return size_bytes, True
            try:
                size_bytes += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a hot loop
            except OSError:
                continue
    return size_bytes, False


def _refuse_too_large(manifest: Manifest) -> None:
    if manifest.size_bytes > REFUSE_BYTES:
        names = ", ".join(
            f"{entry.path} ({Size(entry.size_bytes).gib:.1f} GiB)" for entry in manifest.largest[:3]
        )
        raise FieldError(
            f"the code would be {Size(manifest.size_bytes).gib:.1f} GiB; the largest are {names}",
            path=("workdir",),
            hint="data belongs into file_mounts, and into .gitignore or .launchignore",
        )
