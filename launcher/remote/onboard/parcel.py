"""Files on their way through an object store: a tar archive cut into parts, and a ``parcel.json`` that is written last.

A parcel lies under addresses that were signed before anybody knew what would be in it. Its head says what it holds and
has the digest of every part and file; while it is being replaced, the head says that it is not complete. The parts put
together are a plain tar archive: ``cat 0* | tar x`` unpacks it without any program of ours.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.client
import io
import json
import os
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

SCHEMA = 1
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60.0
TRIES = 5
END = b"\0" * 1024
"""Of a tar archive."""
REFUSED = (401, 403, 404)
"""What no further try will change."""


class Failed(Exception):
    """A parcel could not be sent or opened, with words for people that hold no signature."""


class Packed(NamedTuple):
    """One file and where it goes."""

    name: str
    """In the archive, with ``/``."""
    path: str
    size: int
    modified_ns: int
    mode: int


def packed(name: str, path: str) -> Packed:
    """A file as it is now; `OSError` when it is gone."""
    info = os.stat(path)
    return Packed(name, path, info.st_size, info.st_mtime_ns, info.st_mode & 0o777)


class Archive:
    """A tar archive that is never written anywhere: any piece of it can be read, again and again."""

    def __init__(self, files: List[Packed]) -> None:
        self.files = files
        self._pieces: List[Tuple[int, Any, int]] = []
        """(offset, bytes or a file, length)."""
        self.size = 0
        for file in files:
            header = tarfile.TarInfo(file.name)
            header.size, header.mode = file.size, file.mode
            header.mtime = file.modified_ns // 10**9
            self._add(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
            if file.size:
                self._pieces.append((self.size, file, file.size))
                self.size += file.size
            self._add(b"\0" * (-file.size % 512))
        self._add(END)

    def _add(self, data: bytes) -> None:
        if data:
            self._pieces.append((self.size, data, len(data)))
            self.size += len(data)

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """The bytes from ``offset`` on; `EOFError` when a file has become shorter than it was."""
        end = offset + length
        for begin, what, size in self._pieces:
            skip, stop = max(0, offset - begin), min(size, end - begin)
            if skip >= size or stop <= 0:
                continue
            if isinstance(what, bytes):
                yield what[skip:stop]
                continue
            with open(what.path, "rb") as content:
                content.seek(skip)
                left = stop - skip
                while left:
                    block = content.read(min(left, BLOCK_BYTES))
                    if not block:
                        raise EOFError("%s became shorter while it was read" % what.name)
                    left -= len(block)
                    yield block


def send(
    archive: Archive,
    slot: Callable[[], Dict[str, Any]],
    head: Dict[str, Any],
    *,
    part_bytes: int,
    go_on: Callable[[], bool] = lambda: True,
) -> Dict[str, Any]:
    """Put an archive into a slot and return its head, once the store has accepted every byte of it.

    ``slot`` gives the signed addresses (``{"head": …, "parts": […]}``) as they are now. The store compares each part with
    its digest before it accepts it.

    Raises:
        Failed: it could not be sent, or ``go_on`` said no; the slot holds nothing that anybody would take for whole.
    """
    count = max(1, -(-archive.size // part_bytes))
    if count > len(slot()["parts"]):
        raise Failed(
            "%d MB do not fit into the %d parts that were agreed"
            % (archive.size // 10**6, len(slot()["parts"]))
        )
    told = {"schema": SCHEMA, **head, "complete": False}
    _put_head(slot, told, go_on)
    parts = []
    for number in range(count):
        offset = number * part_bytes
        length = min(part_bytes, archive.size - offset)
        digest = _put(
            functools.partial(_part_link, slot, number),
            functools.partial(archive.read, offset, length),
            length,
            go_on,
        )
        parts.append({"size": length, "sha256": digest})
    files = [[file.name, file.size, file.modified_ns] for file in archive.files]
    told.update(complete=True, parts=parts, files=files, size=archive.size)
    _put_head(slot, told, go_on)
    return told


def _part_link(slot: Callable[[], Dict[str, Any]], number: int) -> Dict[str, Any]:
    link: Dict[str, Any] = slot()["parts"][number]
    return link


def _put_head(slot: Callable[[], Dict[str, Any]], head: Dict[str, Any], go_on: Callable[[], bool]) -> None:
    data = encode(head)
    _put(lambda: slot()["head"], lambda: [data], len(data), go_on)


def encode(head: Dict[str, Any]) -> bytes:
    """The bytes of ``parcel.json``."""
    return json.dumps(head, indent=1).encode("ascii")


def _put(
    link: Callable[[], Dict[str, Any]],
    content: Callable[[], Iterable[bytes]],
    length: int,
    go_on: Callable[[], bool],
) -> str:
    """Write one object, with a few tries; return its SHA-256. ``content`` is read twice in each: the digest goes first."""
    problem = ""
    for left in reversed(range(TRIES)):
        try:
            md5, sha256 = hashlib.md5(), hashlib.sha256()
            for block in content():
                md5.update(block)
                sha256.update(block)
            _request_put(link(), content(), length, md5.digest())
            return sha256.hexdigest()
        except urllib.error.HTTPError as error:
            error.close()
            problem = "%d %s" % (error.code, error.reason)
            if error.code in REFUSED:
                break
        except (OSError, EOFError, http.client.HTTPException) as error:
            problem = str(error) or repr(error)
        if not go_on():
            break
        if left:
            time.sleep(2.0 ** (TRIES - left) / 4)
    raise Failed("%s could not be written: %s" % (public(link()["url"]), problem))


def _request_put(link: Dict[str, Any], data: Any, length: int, md5: bytes) -> None:
    headers = {
        "Content-Type": "application/octet-stream",
        **(link.get("headers") or {}),
        "Content-Length": str(length),
        "Content-MD5": base64.b64encode(md5).decode(),
    }
    request = urllib.request.Request(link["url"], data=data, headers=headers, method="PUT")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        answer.read()


class Parts(io.RawIOBase):
    """The parts of a parcel as one stream; every part is verified before a byte of it is given out."""

    def __init__(self, head: Dict[str, Any], get: Callable[[int, str], None], folder: str) -> None:
        """``get(number, path)`` brings a part to a file."""
        super().__init__()
        self._head = head
        self._get = get
        self._path = os.path.join(folder, ".part-of-a-parcel")
        self._number = 0
        self._file: Optional[IO[bytes]] = None

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Give the next bytes; 0 at the end."""
        while True:
            if self._file is None:
                if self._number >= len(self._head["parts"]):
                    return 0
                self._open_next()
            assert self._file is not None
            data = self._file.read(len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            self._drop()

    def close(self) -> None:
        """Leave no part behind."""
        self._drop()
        super().close()

    def _open_next(self) -> None:
        told = self._head["parts"][self._number]
        self._get(self._number, self._path)
        digest = hashlib.sha256()
        with open(self._path, "rb") as content:
            for block in iter(lambda: content.read(BLOCK_BYTES), b""):
                digest.update(block)
        if digest.hexdigest() != told["sha256"]:
            raise Failed("part %d is not what its digest says" % self._number)
        self._number += 1
        self._file = os.fdopen(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC), "rb")

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        with contextlib.suppress(OSError):
            os.unlink(self._path)


def unpack(head: Dict[str, Any], get: Callable[[int, str], None], folder: str) -> List[str]:
    """Unpack a complete parcel below ``folder``, verified; return the names of its files.

    Raises:
        Failed: a part or a name is not what it should be.
        OSError: it cannot be written here.
    """
    names = []
    os.makedirs(folder, exist_ok=True)
    with Parts(head, get, folder) as stream:
        try:
            with tarfile.open(fileobj=io.BufferedReader(stream, BLOCK_BYTES), mode="r|", errorlevel=1) as tar:
                for member in tar:
                    names.append(_unpack_one(tar, member, folder))
        except tarfile.TarError as error:
            raise Failed("the archive is broken: %s" % error) from error
    expected = [name for name, _, _ in head["files"]]
    if names != expected:
        raise Failed("the archive holds other files than its head says")
    for name, _, modified_ns in head["files"]:
        os.utime(os.path.join(folder, name), ns=(modified_ns, modified_ns))
    return names


def _unpack_one(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: str) -> str:
    parts = member.name.split("/")
    if not member.isfile() or member.name.startswith("/") or ".." in parts or "" in parts:
        raise Failed("the archive holds %r, which is no file of a run" % member.name)
    target = os.path.join(folder, member.name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None
    with open(target, "wb") as file:
        for block in iter(lambda: content.read(BLOCK_BYTES), b""):
            file.write(block)
    os.chmod(target, member.mode & 0o777 | 0o600)
    return member.name


def public(url: str) -> str:
    """An address without its signature."""
    return urllib.parse.urlsplit(url)._replace(query="", fragment="").geturl()
