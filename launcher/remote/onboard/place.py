"""Unpacks the code of a run on its machine, once. The request, on standard input::

    {"run", "snapshot", "workdir", "record", "digest", "links", "folders", "mounts"}

The code is unpacked beside and renamed, so a working folder that exists is whole; what the job changes in it
afterwards is never touched again. ``record`` keeps size and time of every file as it was placed: that is how
results are told from code. ``mounts`` are pairs of a place in the working folder and what to link there.
Prints one JSON object: ``{"placed": bool}`` or ``{"error": words}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any


class Refused(Exception):
    """The snapshot cannot be placed; the message says why."""


def place(told: dict[str, Any]) -> bool:
    """Make the working folder; False when it had been made from the same snapshot before."""
    workdir, record = Path(told["workdir"]), Path(told["record"])
    if workdir.exists():
        check_same(record, told["digest"], workdir)
        return False
    beside = workdir.with_name(f".{workdir.name[:200]}.incoming")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    unpack(Path(told["snapshot"]), beside, set(told["links"]))
    for name, target in told["links"].items():
        link(beside / name, Path(target))
    files = {name: [info.st_size, info.st_mtime_ns] for name, info in walk(beside)}
    write_json(record, {"schema": 1, "digest": told["digest"], "files": files})
    beside.rename(workdir)
    return True


def mount(run: Path, target: Path, source: Path) -> None:
    """Have ``target`` lead to ``source``; a folder that the code brings is filled link by link, never replaced."""
    if target.is_symlink() and os.readlink(str(target)) == str(source):
        return
    if target.is_dir() and source.is_dir() and not target.is_symlink():
        for child in sorted(source.iterdir()):
            mount(run, target / child.name, child)
        return
    if target.is_symlink() or target.exists():
        raise Refused(f"file_mounts: {target} is there already; it is not replaced by {source}")
    first = next(folder for folder in target.parents if folder.exists())
    if run in target.parents and run not in (first.resolve(), *first.resolve().parents):
        raise Refused(f"file_mounts: {target} lies inside what another entry brings from {first.resolve()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def check_same(record: Path, digest: str, workdir: Path) -> None:
    """A run's code never changes: another snapshot under the same run is somebody's mistake."""
    try:
        placed = json.loads(record.read_bytes())["digest"]
    except (OSError, ValueError, KeyError):
        raise Refused(f"{workdir} is there, but not from this launcher ({record} is missing)") from None
    if placed != digest:
        raise Refused(
            f"{workdir} holds another version of the code (snapshot {placed[:12]}, not {digest[:12]})"
        )


def unpack(snapshot: Path, target: Path, reserved: set[str]) -> None:
    """Unpack a gzipped tar of files, folders and links that all stay below ``target``."""
    with tarfile.open(snapshot, "r:gz") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            check_member(member, name)
            if not name.parts or any(str(name) == own or str(name).startswith(own + "/") for own in reserved):
                continue
            member.mode = member.mode & 0o777 | (0o700 if member.isdir() else 0o600)
            member.uid = member.gid = os.getuid()
            member.uname = member.gname = ""
            archive.extract(member, target, set_attrs=not member.issym())


def check_member(member: tarfile.TarInfo, name: PurePosixPath) -> None:
    """Refuse whatever would leave the folder, or is no file, folder or link."""
    if name.is_absolute() or ".." in name.parts:
        raise Refused(f"the snapshot holds {member.name!r}, which would leave the working folder")
    if not (member.isfile() or member.isdir() or member.issym()):
        raise Refused(f"the snapshot holds {member.name!r}, which is no file, folder or link")
    if member.issym():
        leads_to = os.path.normpath(os.path.join(str(name.parent), member.linkname))
        if os.path.isabs(leads_to) or leads_to.split("/")[0] == "..":
            raise Refused(f"the snapshot's link {member.name!r} leads out of the working folder")


def link(name: Path, target: Path) -> None:
    """A link in the working folder to a folder of the run; both are made."""
    target.mkdir(parents=True, exist_ok=True)
    name.parent.mkdir(parents=True, exist_ok=True)
    name.symlink_to(target)


def walk(root: Path) -> list[tuple[str, os.stat_result]]:
    """(name relative to root, lstat) of everything below that is no folder."""
    found = []
    for folder, _, names in os.walk(str(root)):
        for name in names:
            path = os.path.join(folder, name)
            found.append((os.path.relpath(path, str(root)), os.lstat(path)))
    return found


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(content), encoding="ascii")
    beside.replace(path)


def main(_: list[str]) -> int:
    """Read what to do from standard input, do it, and answer on standard output."""
    told = json.loads(sys.stdin.buffer.read())
    try:
        for folder in told["folders"]:
            Path(folder).mkdir(parents=True, exist_ok=True)
        answer: dict[str, Any] = {"placed": place(told)}
        for target, source in told["mounts"]:
            mount(Path(told["run"]).resolve(), Path(told["workdir"]).resolve() / target, Path(source))
    except (Refused, OSError, tarfile.TarError, EOFError) as error:
        answer = {"error": str(error)}
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if "error" in answer else 0
