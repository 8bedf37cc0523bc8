"""Files as a tar stream, for machines without rsync; the same code on both ends. The request, JSON on standard input::

    {"action": "list", "root"}                  what lies there, whole and in part
    {"action": "receive", "root", "keep"}       a tar stream follows the request; nothing but ``keep`` stays
    {"action": "send", "root", "files"}         a tar stream is the answer; files are [name, size, mtime_ns, have]

The request is preceded by its length on a line of its own. A file that is cut off stays as a hidden part whose name
tells of which file, size and time it is a part; the tail alone travels next time. ``receive`` answers with the
SHA-256 of every file as it was written, to be compared with what was read at the other end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tarfile
from typing import IO, Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

BLOCK_BYTES = 1 << 20
OFFSET, SIZE, TIME = "LAUNCH.offset", "LAUNCH.size", "LAUNCH.mtime_ns"
PART = re.compile(r"\.launch-part-(\d+)-(\d+)-(.+)", re.DOTALL)
LONGEST_NAME = 200


class Entry(NamedTuple):
    """One file, folder or link below a root."""

    name: str
    path: str
    """Where its content is, which for a link that leads out is elsewhere."""
    size: int
    mtime_ns: int
    mode: int
    link: Optional[str] = None
    """What it points to, for links that stay inside."""
    is_folder: bool = False


def walk(root: str, prefix: str = "", above: Tuple[Tuple[int, int], ...] = ()) -> Iterator[Entry]:
    """Everything below a folder. Links inside stay links; what others lead to is taken in their place."""
    folder = os.path.join(root, prefix) if prefix else root
    info = os.stat(folder)
    identity = (info.st_dev, info.st_ino)
    if identity in above:
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if entry.is_symlink() and stays_inside(name, os.readlink(entry.path)):
            yield Entry(name, entry.path, 0, 0, 0o777, link=os.readlink(entry.path))
            continue
        try:
            info = entry.stat()
        except FileNotFoundError:
            continue  # a link to nothing, or gone meanwhile
        if stat.S_ISDIR(info.st_mode):
            yield Entry(name, entry.path, 0, info.st_mtime_ns, info.st_mode & 0o7777, is_folder=True)
            yield from walk(root, name + "/", (*above, identity))
        elif stat.S_ISREG(info.st_mode):
            yield Entry(name, entry.path, info.st_size, info.st_mtime_ns, info.st_mode & 0o7777)


def stays_inside(name: str, target: str) -> bool:
    """Whether a link of this name and target stays below the root."""
    if os.path.isabs(target):
        return False
    leads_to = os.path.normpath(os.path.join(os.path.dirname(name), target))
    return leads_to.split("/")[0] != ".."


def pack(entries: Iterable[Tuple[Entry, int]], digests: Optional[Dict[str, str]] = None) -> Iterator[bytes]:
    """The tar stream of entries, each from an offset on; ``digests`` is filled with those of whole files."""
    for entry, offset in entries:
        if entry.link is not None or entry.is_folder:
            yield header(entry, 0, 0)
            continue
        try:
            descriptor = os.open(entry.path, os.O_RDONLY)
        except OSError:
            continue  # it is gone or closed to us; who compares what came will say so
        with os.fdopen(descriptor, "rb") as file:
            yield from content(entry, offset, file, digests)
    yield tarfile.NUL * (2 * tarfile.BLOCKSIZE)


def content(entry: Entry, offset: int, file: IO[bytes], digests: Optional[Dict[str, str]]) -> Iterator[bytes]:
    """One file: as many bytes as it had when it was listed, whatever becomes of it meanwhile."""
    digest = hashlib.sha256()
    for block in blocks(file, offset):
        digest.update(block)
    yield header(entry, entry.size - offset, offset)
    left = entry.size - offset
    for block in blocks(file, left):
        left -= len(block)
        digest.update(block)
        yield block
    for _ in range(0, left, BLOCK_BYTES):  # it shrank: the digest will not be the expected one
        yield tarfile.NUL * min(left, BLOCK_BYTES)
    yield tarfile.NUL * (-(entry.size - offset) % tarfile.BLOCKSIZE)
    if digests is not None:
        digests[entry.name] = digest.hexdigest()


def header(entry: Entry, length: int, offset: int) -> bytes:
    """The tar header of an entry."""
    info = tarfile.TarInfo(entry.name)
    info.mode, info.size = entry.mode, length
    info.mtime = entry.mtime_ns // 10**9
    info.pax_headers = {OFFSET: str(offset), SIZE: str(entry.size), TIME: str(entry.mtime_ns)}
    if entry.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
    elif entry.is_folder:
        info.type = tarfile.DIRTYPE
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def blocks(file: IO[bytes], length: int) -> Iterator[bytes]:
    """The next ``length`` bytes, or as many as there are."""
    while length > 0:
        block = file.read(min(length, BLOCK_BYTES))
        if not block:
            return
        length -= len(block)
        yield block


class Receiver:
    """Writes a tar stream below a folder. Nothing in it can lead out of the folder."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.digests: Dict[str, str] = {}

    def take(self, stream: IO[bytes]) -> None:
        """Read the stream to its end; `OSError` or `tarfile.TarError` when it cannot be written or is cut off."""
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
            while True:
                member = archive.next()
                if member is None:
                    return
                self._member(archive, member)
                # Or it would remember every member for a second look: kilobytes for each small file.
                archive.members = []  # type: ignore[attr-defined]

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        target = self._target(member.name)
        if member.isdir():
            if os.path.islink(target) or (os.path.exists(target) and not os.path.isdir(target)):
                os.unlink(target)
            os.makedirs(target, exist_ok=True)
            os.chmod(target, member.mode | 0o700)
        elif member.issym():
            if not stays_inside(member.name, member.linkname):
                raise tarfile.TarError("the link %r would lead out of the folder" % member.name)
            self._clear(target)
            os.symlink(member.linkname, target)
        elif member.isreg():
            source = archive.extractfile(member)
            assert source is not None
            self._file(target, member, source)
        else:
            raise tarfile.TarError("%r is neither a file, nor a folder, nor a link" % member.name)

    def _target(self, name: str) -> str:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\0" in name or not name:
            raise tarfile.TarError("the name %r would lead out of the folder" % name)
        target = os.path.join(self.root, name)
        parent = os.path.dirname(target)
        os.makedirs(parent, exist_ok=True)
        if os.path.realpath(parent) != os.path.normpath(parent):
            raise tarfile.TarError("%r lies behind a link" % name)
        return target

    def _clear(self, target: str) -> None:
        if os.path.isdir(target) and not os.path.islink(target):
            shutil.rmtree(target)
        elif os.path.lexists(target):
            os.unlink(target)

    def _file(self, target: str, member: tarfile.TarInfo, source: IO[bytes]) -> None:
        told = member.pax_headers
        offset, size, mtime_ns = int(told[OFFSET]), int(told[SIZE]), int(told[TIME])
        part = part_of(target, size, mtime_ns)
        digest = hashlib.sha256()
        with open(part, "r+b" if offset else "wb") as file:
            if offset:
                for block in blocks(file, offset):
                    digest.update(block)
            file.truncate(offset)
            file.seek(offset)
            for block in blocks(source, member.size):
                digest.update(block)
                file.write(block)
            file.flush()
            if os.fstat(file.fileno()).st_size != size:
                raise tarfile.TarError("%r did not arrive whole" % member.name)
        os.chmod(part, member.mode)
        os.utime(part, ns=(mtime_ns, mtime_ns))
        if os.path.isdir(target) or os.path.islink(target):
            self._clear(target)
        os.replace(part, target)
        self.digests[member.name] = digest.hexdigest()


def part_of(target: str, size: int, mtime_ns: int) -> str:
    """Where a file is while it arrives."""
    folder, name = os.path.split(target)
    return os.path.join(folder, ".launch-part-%d-%d-%s" % (size, mtime_ns, name[:LONGEST_NAME]))


def listing(root: str) -> Dict[str, Any]:
    """``files``: name -> [size, mtime_ns]; ``parts``: name -> [size, mtime_ns, have]; ``other``: folders and links."""
    files: Dict[str, List[int]] = {}
    parts: Dict[str, List[int]] = {}
    other: List[str] = []
    for entry in walk(root) if os.path.isdir(root) else ():
        folder, _, base = entry.name.rpartition("/")
        found = PART.fullmatch(base)
        if entry.link is not None or entry.is_folder:
            other.append(entry.name)
        elif found:
            name = folder + "/" + found[3] if folder else found[3]
            parts[name] = [int(found[1]), int(found[2]), entry.size]
        else:
            files[entry.name] = [entry.size, entry.mtime_ns]
    return {"files": files, "parts": parts, "other": other}


def delete_others(root: str, keep: Iterable[str]) -> None:
    """Whatever is below the folder and not in ``keep`` goes."""
    kept = set(keep)
    for name in list(kept):
        while "/" in name:
            name = name.rpartition("/")[0]
            kept.add(name)
    others = [(entry.name, entry.is_folder) for entry in walk(root) if entry.name not in kept]
    for name, is_folder in others:
        with contextlib.suppress(FileNotFoundError):
            path = os.path.join(root, name)
            shutil.rmtree(path) if is_folder else os.unlink(path)


def wanted_entries(root: str, files: Iterable[List[Any]]) -> Iterator[Tuple[Entry, int]]:
    """The files that are asked for, each from where the other end has it, if it is still the same file."""
    for name, size, mtime_ns, have in files:
        path = os.path.join(root, name)
        try:
            info = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(info.st_mode):
            same = (info.st_size, info.st_mtime_ns) == (size, mtime_ns)
            entry = Entry(name, path, info.st_size, info.st_mtime_ns, info.st_mode & 0o7777)
            yield entry, have if same else 0


def main(_: List[str]) -> int:
    """See the top of this file."""
    stdin = sys.stdin.buffer
    request = json.loads(stdin.read(int(stdin.readline())))
    root = request["root"]
    try:
        if request["action"] == "send":
            for block in pack(wanted_entries(root, request["files"])):
                sys.stdout.buffer.write(block)
            return 0
        answer = receive(root, request["keep"], stdin) if request["action"] == "receive" else listing(root)
    except (OSError, tarfile.TarError) as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if "error" in answer else 0


def receive(root: str, keep: List[str], stream: IO[bytes]) -> Dict[str, Any]:
    """Make ``root`` hold what comes, and of what it held only ``keep``."""
    os.makedirs(root, exist_ok=True)
    receiver = Receiver(root)
    receiver.take(stream)
    delete_others(root, keep)
    return {"digests": receiver.digests}
