"""Brings files home from a run folder: listed and digested there, copied beside, verified, renamed into place."""

from __future__ import annotations

import enum
import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from launcher.errors import FetchError
from launcher.results import MARKER
from launcher.runners.base import FetchedFile, FetchReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.remote.shell import Shell
    from launcher.remote.tools import Tools
    from launcher.remote.transfer import Transfer

__all__ = ["fetch"]

INCOMING = ".incoming-"
"""Folders in which files arrive together; like the marker of a run's results, a name that no machine may write."""
MOST_FILES = 200_000
TRIES = 3
HASH_BYTES = 1 << 20
MOST_SINGLE_SYNCS = 50


@dataclass(frozen=True, slots=True)
class _Listed:
    name: str
    size_bytes: int
    modified_ns: int
    sha256: str


class _Missing(enum.Enum):
    GONE = "gone"
    CHANGING = "changing"


def fetch(
    shell: Shell,
    tools: Tools,
    request: dict[str, Any],
    dest: Path,
    *,
    transfer: Transfer | None = None,
    timeout_s: float = 3600.0,
) -> FetchReport:
    """Bring what ``request`` (of the manifest program) lists to ``dest``, under the same relative names.

    What is home with the same digest is not copied. A file that grew since it was listed comes as it was then.
    With ``transfer`` everything comes together, into a hidden folder that a later fetch goes on with after a cut.

    Raises:
        FetchError: a file could not be had unchanged in three tries, or cannot be written here; what came is kept.
    """
    answer = _list(tools, request, timeout_s)
    brought = _Brought(refused=[(str(name), str(why)) for name, why in answer["refused"]])
    arrived = _bring_together(transfer, request, answer, dest) if transfer is not None else None
    for listed in (_Listed(*entry) for entry in answer["files"]):
        why, obstacle = _why_never(listed.name), _in_the_way(dest, listed.name)
        if why is not None:
            brought.refused.append((listed.name, why))
        elif obstacle is not None:
            brought.blocked.append(f"{listed.name}: {obstacle}")
        elif arrived is not None and _take(arrived, dest, listed):
            brought.files.append(_fetched(dest / listed.name, listed, was_home=False))
        else:
            brought.note(listed, _bring(shell, tools, request, listed, dest / listed.name, timeout_s))
    if arrived is not None:
        _sync_all([file.path for file in brought.files if not file.was_home])
        shutil.rmtree(arrived, ignore_errors=True)
    brought.require_whole(dest)
    unmatched = tuple(answer["unmatched"])
    return FetchReport(files=tuple(brought.files), refused=tuple(brought.refused), unmatched=unmatched)


@dataclass(slots=True)
class _Brought:
    """What came of one fetch, file by file."""

    refused: list[tuple[str, str]]
    files: list[FetchedFile] = field(default_factory=list)
    changing: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)

    def note(self, listed: _Listed, outcome: FetchedFile | _Missing) -> None:
        if isinstance(outcome, FetchedFile):
            self.files.append(outcome)
        elif outcome is _Missing.CHANGING:
            self.changing.append(listed.name)

    def require_whole(self, dest: Path) -> None:
        """Raise unless everything that can be had is home: machines are ended on the strength of it."""
        left = f"{len(self.files)} files are home and verified in {dest}"
        if self.blocked:
            raise FetchError(
                f"something here is in the way of {_named(self.blocked)}",
                left_behind=left,
                hint="move it aside, or name another folder",
            )
        if self.changing:
            raise FetchError(
                f"{_named(self.changing)} changed each time while being fetched",
                left_behind=left,
                hint="fetch again when the job has finished writing",
            )


def _list(tools: Tools, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    result, answer = tools.call("manifest", {"most": MOST_FILES, **request}, timeout_s=timeout_s)
    if "files" not in answer:
        words = answer.get("error") or result.stderr.decode(errors="replace").strip() or "no answer"
        raise FetchError(
            f"the files on the machine cannot be listed: {words}",
            hint="name fewer of them in file_outputs" if "files match" in words else None,
        )
    return answer


def _bring_together(transfer: Transfer, request: dict[str, Any], answer: dict[str, Any], dest: Path) -> Path:
    """Bring what is not home to a folder beside; the caller verifies and moves it."""
    key = hashlib.sha256(request["root"].encode(errors="surrogateescape")).hexdigest()[:8]
    arrived = dest / f"{INCOMING}{key}"
    wanted = [_Listed(*entry) for entry in answer["files"]]
    missing = [
        listed.name
        for listed in wanted
        if _why_never(listed.name) is None
        and _in_the_way(dest, listed.name) is None
        and not _is_home(dest / listed.name, listed)
    ]
    if missing:
        try:
            transfer.bring(PurePosixPath(request["root"]), missing, arrived, lambda _: None)
        except OSError as error:
            raise FetchError(
                f"{arrived} cannot be written: {error.strerror}",
                hint="make room or choose another folder with --out",
            ) from error
    return arrived


def _take(arrived: Path, dest: Path, listed: _Listed) -> bool:
    """Verify a file that has arrived and move it to its place; False when it is not there, or is another.

    What arrived was written by a program that talked to the machine: a link in its path leads nobody anywhere.
    """
    file, target = arrived / listed.name, dest / listed.name
    try:
        straight = file.parent.resolve() == arrived.resolve() / PurePosixPath(listed.name).parent
        if not straight or file.is_symlink() or file.stat().st_size < listed.size_bytes:
            return False
        os.truncate(file, listed.size_bytes)
        if _sha256(file) != listed.sha256:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        os.utime(file, ns=(listed.modified_ns, listed.modified_ns))
        file.replace(target)
    except OSError:
        return False
    return True


def _fetched(target: Path, listed: _Listed, *, was_home: bool) -> FetchedFile:
    return FetchedFile(path=target, size_bytes=listed.size_bytes, sha256=listed.sha256, was_home=was_home)


def _why_never(name: str) -> str | None:
    """Why a name from the machine is written nowhere; None when it is fine."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        return "its name would leave the target folder"
    if path.parts[0] == MARKER or path.parts[0].startswith(INCOMING):
        return "launch keeps this name for itself"
    return None


def _in_the_way(dest: Path, name: str) -> str | None:
    """What is here in place of a file or its folder; None when there is room."""
    parent = (dest / name).parent
    while not parent.exists() and parent != dest:
        parent = parent.parent
    if not parent.resolve().is_relative_to(dest.resolve()):
        return f"{parent} is a link that leaves the target folder"
    if parent.exists() and not parent.is_dir():
        return f"{parent} is a file here"
    if (dest / name).is_dir():
        return "there is a folder of this name here"
    return None


def _bring(
    shell: Shell, tools: Tools, request: dict[str, Any], listed: _Listed, target: Path, timeout_s: float
) -> FetchedFile | _Missing:
    """One file; or why there is none: a program that rotates its files deletes some while we look."""
    for _ in range(TRIES):
        if _is_home(target, listed):
            return _fetched(target, listed, was_home=True)
        if _copy(shell, PurePosixPath(request["root"]) / listed.name, target, listed):
            return _fetched(target, listed, was_home=False)
        again = _list(tools, {**request, "patterns": [_literally(listed.name)]}, timeout_s)["files"]
        found = [one for one in (_Listed(*entry) for entry in again) if one.name == listed.name]
        if not found:
            return _Missing.GONE
        listed = found[0]
    return _Missing.CHANGING


def _is_home(target: Path, listed: _Listed) -> bool:
    try:
        return (
            not target.is_symlink()
            and target.stat().st_size == listed.size_bytes
            and _sha256(target) == listed.sha256
        )
    except OSError:
        return False


def _copy(shell: Shell, remote: PurePosixPath, target: Path, listed: _Listed) -> bool:
    """Copy beside, cut to the size that was digested, compare, rename; False when the bytes are others."""
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shell.get(remote, beside)
        os.truncate(beside, min(listed.size_bytes, beside.stat().st_size))
        if _sha256(beside) != listed.sha256:
            return False
        os.utime(beside, ns=(listed.modified_ns, listed.modified_ns))
        _sync(beside)
        beside.replace(target)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FetchError(
            f"{target} cannot be written: {error.strerror}",
            hint="make room or choose another folder with --out",
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return True


def _sync(path: Path) -> None:
    """The machine may be ended on the strength of this file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(paths: Sequence[Path]) -> None:
    """One by one, or the whole disk at once when they are many: a minute for ten thousand files against a second."""
    if len(paths) > MOST_SINGLE_SYNCS:
        os.sync()
        return
    for path in paths:
        _sync(path)


def _literally(name: str) -> str:
    """A pattern that matches this name only."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _named(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more files" if len(names) > 3 else "")
