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
from launcher.events import keep_going, unreported
from launcher.remote.onboard.files import sha256_of
from launcher.remote.transfer import Pace
from launcher.results import MARKER
from launcher.runners.base import FetchedFile, FetchReport, replace_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.events import Listen, Report
    from launcher.remote.shell import OnProgress, Shell
    from launcher.remote.tools import Tools
    from launcher.remote.transfer import Transfer
    from launcher.runners.base import MakeWay

__all__ = ["fetch"]

INCOMING = ".incoming-"
"""Folders in which files arrive together; like the marker of a run's results, a name that no machine may write."""
MOST_FILES = 200_000
TRIES = 3
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
    what: str = "outputs",
    report: Report = unreported,
    listen: Listen = keep_going,
    make_way: MakeWay = replace_all,
) -> FetchReport:
    """Bring what ``request`` (of the manifest program) lists to ``dest``, under the same relative names.

    What is home with the same digest is not copied. A file that grew since it was listed comes as it was then.
    With ``transfer`` everything comes together, into a hidden folder that a later fetch goes on with after a cut.
    ``make_way`` is called before files are replaced. How far it is with ``what`` goes to ``report``; what ``listen`` raises ends it, and a later fetch goes on from there.

    Raises:
        FetchError: a file could not be had unchanged in three tries, or cannot be written here; what came is kept.
    """
    fetching = _Fetching(shell, tools, request, dest, timeout_s, what, report, listen, make_way)
    return fetching.all_together(transfer) if transfer is not None else fetching.one_by_one()


class _Fetching:
    """One fetch: what it works with, and what came of it so far."""

    def __init__(
        self,
        shell: Shell,
        tools: Tools,
        request: dict[str, Any],
        dest: Path,
        timeout_s: float,
        what: str,
        report: Report,
        listen: Listen,
        make_way: MakeWay,
    ) -> None:
        self._shell = shell
        self._tools = tools
        self._request = request
        self._root = PurePosixPath(request["root"])
        self._dest = dest
        self._timeout_s = timeout_s
        self._what = what
        self._report = report
        self._listen = listen
        self._make_way = make_way
        self._answer = self._list(request)
        self._brought = _Brought(refused=[(str(name), str(why)) for name, why in self._answer["refused"]])
        self._wanted = [listed for listed in map(_listed, self._answer["files"]) if self._may_come(listed)]
        self._missing = self._look_at_home()

    def all_together(self, transfer: Transfer) -> FetchReport:
        """Bring what is missing to a folder beside, verify it there and move it to its place."""
        key = hashlib.sha256(self._request["root"].encode(errors="surrogateescape")).hexdigest()[:8]
        arrived = self._dest / f"{INCOMING}{key}"
        if self._missing:
            names = [listed.name for listed in self._missing]
            try:
                transfer.bring(self._root, names, arrived, self._pace(self._missing))
            except OSError as error:
                raise FetchError(
                    f"{arrived} cannot be written: {error.strerror}",
                    hint="make room or choose another folder with --out",
                ) from error
        self._settle(arrived)
        shutil.rmtree(arrived, ignore_errors=True)
        return self._done()

    def one_by_one(self) -> FetchReport:
        """Bring every missing file through the shell."""
        self._settle(None)
        return self._done()

    def _settle(self, arrived: Path | None) -> None:
        """Take what has arrived, and bring what has not one by one; what comes together is made durable together."""
        self._keep_what_is_here()
        before = 0
        pace = self._pace(self._missing, ", checked" if arrived is not None else "")

        for listed in self._missing:
            checked = pace.after(before)
            target = self._dest / listed.name
            if arrived is not None and _take(arrived, target, listed, checked):
                self._brought.files.append(_fetched(target, listed, was_home=False))
            else:
                self._brought.note(listed, self._bring(listed, checked))
            before += listed.size_bytes
            pace(before)
        if arrived is not None:
            _sync_all([file.path for file in self._brought.files if not file.was_home])

    def _keep_what_is_here(self) -> None:
        targets = [self._dest / listed.name for listed in self._missing]
        replaced = [target for target in targets if target.is_file() and not target.is_symlink()]
        try:
            if replaced:
                self._make_way(replaced)
        except OSError as error:
            raise FetchError(
                f"files in {self._dest} would be replaced and cannot be kept: {error}",
                hint="make room or choose another folder with --out",
            ) from error

    def _done(self) -> FetchReport:
        brought = self._brought
        brought.require_whole(self._dest)
        return FetchReport(
            files=tuple(brought.files),
            refused=tuple(brought.refused),
            unmatched=tuple(self._answer["unmatched"]),
        )

    def _pace(self, files: Sequence[_Listed], doing: str = "") -> Pace:
        size = sum(listed.size_bytes for listed in files)
        return Pace(f"{self._what}{doing}", size, self._report, listen=self._listen)

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        told = {"most": MOST_FILES, **request}
        result, answer = self._tools.call("manifest", told, timeout_s=self._timeout_s, listen=self._listen)
        if "files" not in answer:
            words = answer.get("error") or result.stderr.decode(errors="replace").strip() or "no answer"
            raise FetchError(
                f"the files on the machine cannot be listed: {words}",
                hint="name fewer of them in file_outputs" if "files match" in words else None,
            )
        return answer

    def _may_come(self, listed: _Listed) -> bool:
        """Whether there is a place for it here; why not is noted."""
        why, obstacle = _why_never(listed.name), None
        if why is not None:
            self._brought.refused.append((listed.name, why))
        elif (obstacle := _in_the_way(self._dest, listed.name)) is not None:
            self._brought.blocked.append(f"{listed.name}: {obstacle}")
        return why is None and obstacle is None

    def _look_at_home(self) -> list[_Listed]:
        """Note what is home already, by its digest, and return what is not."""
        missing = []
        pace, before = self._pace(self._wanted, ", compared"), 0
        for listed in self._wanted:
            target = self._dest / listed.name
            if _is_home(target, listed, pace.after(before)):
                self._brought.files.append(_fetched(target, listed, was_home=True))
            else:
                missing.append(listed)
            before += listed.size_bytes
        return missing

    def _bring(self, listed: _Listed, on_progress: OnProgress) -> FetchedFile | _Missing:
        """One file; or why there is none: a program that rotates its files deletes some while we look."""
        target = self._dest / listed.name
        obstacle = _in_the_way(self._dest, listed.name)
        if obstacle is not None:  # a file that came before it
            self._brought.blocked.append(f"{listed.name}: {obstacle}")
            return _Missing.GONE
        for _ in range(TRIES):
            if _copy(self._shell, self._root / listed.name, target, listed, on_progress):
                return _fetched(target, listed, was_home=False)
            again = self._list({**self._request, "patterns": [_literally(listed.name)]})["files"]
            found = [one for one in map(_listed, again) if one.name == listed.name]
            if not found:
                return _Missing.GONE
            listed = found[0]
            if _is_home(target, listed, on_progress):
                return _fetched(target, listed, was_home=True)
        return _Missing.CHANGING


def _listed(entry: Sequence[Any]) -> _Listed:
    return _Listed(*entry)


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


def _take(arrived: Path, target: Path, listed: _Listed, on_progress: OnProgress) -> bool:
    """Verify a file that has arrived and move it to its place; False when it is not there, or is another.

    What arrived was written by a program that talked to the machine: a link in its path leads nobody anywhere.
    """
    file = arrived / listed.name
    try:
        straight = file.parent.resolve() == arrived.resolve() / PurePosixPath(listed.name).parent
        if not straight or file.is_symlink() or file.stat().st_size < listed.size_bytes:
            return False
        os.truncate(file, listed.size_bytes)
        if sha256_of(file, on_progress) != listed.sha256:
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


def _is_home(target: Path, listed: _Listed, on_progress: OnProgress) -> bool:
    try:
        return (
            not target.is_symlink()
            and target.stat().st_size == listed.size_bytes
            and sha256_of(target, on_progress) == listed.sha256
        )
    except OSError:
        return False


def _copy(
    shell: Shell, remote: PurePosixPath, target: Path, listed: _Listed, on_progress: OnProgress
) -> bool:
    """Copy beside, cut to the size that was digested, compare, rename; False when the bytes are others."""
    beside = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shell.get(remote, beside, on_progress=on_progress)
        os.truncate(beside, min(listed.size_bytes, beside.stat().st_size))
        if sha256_of(beside) != listed.sha256:
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


def _named(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more files" if len(names) > 3 else "")
