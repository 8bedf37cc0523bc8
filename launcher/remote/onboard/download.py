"""Fetches the sources of ``file_mounts`` that lie elsewhere, on the machine. Argument::

    download LIST.json

``{"downloads": [{"url", "folder", "link", "sha256": hex|null, "files": […]|null, "is_folder"}, …]}``: each is fetched
into ``folder`` (going on where an earlier try stopped), unpacked there when it is one archive, and ``link`` is made to
lead to it. What is complete is marked and not fetched again. Output is for the log. Exit code 1 when one of them could
not be had.

``files`` is for a source in an object store: ``[{"name", "url", "headers", "size_bytes", "etag", "expires_at"}, …]``, one
object or, with ``is_folder``, all below a prefix. Its addresses are signed and end some time: the list is read again
then, because the launcher writes it anew while it can.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import shutil
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Callable

BLOCK_BYTES = 1 << 20
TRIES = 5
TIMEOUT_S = 60.0
SAY_EVERY_S = 10.0
AT_ONCE = 8
"""Small objects are fetched side by side: each costs a round trip."""
REFUSED = (400, 401, 403)
RENEWAL_S = 1800.0
LOOK_AGAIN_S = 2.0


class Failed(Exception):
    """With words for the log."""


def download(told: dict[str, Any], again: Callable[[], dict[str, Any]]) -> None:
    """Have one source where the job expects it; ``again`` reads what is told of it anew."""
    folder, complete = Path(told["folder"]), Path(told["folder"] + ".complete")
    files = told.get("files")
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if told.get("is_folder"):
            fetch_all(files or [], folder, again)
        else:
            file = folder / (name_in(told["url"]) if files is None else file_name(files[0]["name"]))
            fetch(lambda: (again().get("files") or [told])[0], file)
            verify(file, told.get("sha256"))
            unpack(file)
        complete.touch()
    entries = list(folder.iterdir())
    is_one_file = len(entries) == 1 and entries[0].is_file() and not told.get("is_folder")
    link(Path(told["link"]), entries[0] if is_one_file and not told["link"].endswith("/") else folder)


def name_in(url: str) -> str:
    """What a file from this address is called."""
    return PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "download"


def file_name(name: str) -> str:
    """The last part of an object's name."""
    return PurePosixPath(name).name or "download"


def fetch_all(files: list[dict[str, Any]], folder: Path, again: Callable[[], dict[str, Any]]) -> None:
    """Fetch all objects of a prefix, some at a time; each keeps the name that it has below the prefix."""
    for one in files:
        check_name(one["name"])
    missing = [number for number, one in enumerate(files) if not is_there(folder / one["name"], one)]
    total = sum(one["size_bytes"] for one in files)
    have = total - sum(files[number]["size_bytes"] for number in missing)
    newest = Renewed(again)

    def fetch_one(number: int) -> int:
        file = folder / files[number]["name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        fetch(lambda: newest.file(number), file)
        return int(files[number]["size_bytes"])

    said = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(fetch_one, number) for number in missing]
        try:
            for done, job in enumerate(concurrent.futures.as_completed(jobs), 1):
                have += job.result()
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    say("%d of %d files, %d MiB of %d MiB" % (done, len(jobs), have >> 20, total >> 20))
        except BaseException:
            for job in jobs:
                job.cancel()
            raise


def is_there(file: Path, told: dict[str, Any]) -> bool:
    """An earlier try brought it: files get their names when they are whole."""
    return file.is_file() and file.stat().st_size == told["size_bytes"]


class Renewed:
    """The list as it was last read; read again at most every few seconds, however many threads ask."""

    def __init__(self, again: Callable[[], dict[str, Any]]) -> None:
        self._again = again
        self._lock = threading.Lock()
        self._files: list[dict[str, Any]] = []
        self._read_at = -LOOK_AGAIN_S

    def file(self, number: int) -> dict[str, Any]:
        """What is told of one file."""
        with self._lock:
            if time.monotonic() - self._read_at >= LOOK_AGAIN_S:
                self._files = self._again().get("files") or []
                self._read_at = time.monotonic()
            return self._files[number]


def say(text: str) -> None:
    """A line for the log, at once."""
    sys.stdout.write(f"[launch] {text}\n")
    sys.stdout.flush()


def fetch(source: Callable[[], dict[str, Any]], file: Path, say: Callable[[str], None] = say) -> None:
    """Fetch to ``file``, resuming, with a few tries; renamed into place when it is whole.

    ``source`` gives address, headers and size, each time as they are now.
    """
    part = file.with_name(file.name + ".part")
    problem, left = "", TRIES
    while left:
        told = source()
        url = told["url"]
        try:
            fetch_rest(told, part, say)
            part.replace(file)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in REFUSED and has_expired(told):
                wait_for_renewal(source, told, say)
                continue
            if error.code == 412:
                part.unlink()
                raise Failed(f"{public(url)} was replaced by another while it was being fetched") from None
            if error.code < 500 and error.code not in (408, 416, 429):
                raise Failed(f"{public(url)} answers {error.code} {error.reason}") from None
            if error.code == 416:
                part.unlink()
            problem = f"{error.code} {error.reason}"
        except (OSError, EOFError) as error:
            problem = str(error)
        left -= 1
        if left:
            say(f"{public(url)}: {problem}; trying again")
            time.sleep(2.0 ** (TRIES - left) / 4)
    raise Failed(f"{public(url)} could not be fetched: {problem}")


def has_expired(told: dict[str, Any]) -> bool:
    """A signature that has ended is refused as one that is wrong."""
    expires_at = told.get("expires_at")
    return expires_at is not None and time.time() >= datetime.fromisoformat(expires_at).timestamp()


def wait_for_renewal(
    source: Callable[[], dict[str, Any]], told: dict[str, Any], say: Callable[[str], None]
) -> None:
    """Wait until there is a newer signature; only the launcher can make one, and its computer may be asleep."""
    say(f"{public(told['url'])}: the permission to read it has ended; waiting for a new one")
    give_up_at = time.monotonic() + RENEWAL_S
    while source()["url"] == told["url"]:
        if time.monotonic() >= give_up_at:
            raise Failed(f"{public(told['url'])}: the permission to read it has ended and nobody renewed it")
        time.sleep(LOOK_AGAIN_S)


def fetch_rest(told: dict[str, Any], part: Path, say: Callable[[str], None]) -> None:
    """Append what is missing, if the server can go on in the middle; else begin again."""
    url = told["url"]
    have = part.stat().st_size if part.exists() else 0
    headers = dict(told.get("headers") or {})
    if have:
        headers["Range"] = f"bytes={have}-"
    if told.get("etag"):
        headers["If-Match"] = told["etag"]
    if told.get("size_bytes") == have:  # whole, or empty: there is no range to ask for
        part.touch()
        return
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        resumed = answer.status == 206
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else told.get("size_bytes")
        said = time.monotonic()
        with part.open("ab" if resumed else "wb") as file:
            for block in iter(lambda: answer.read(BLOCK_BYTES), b""):
                file.write(block)
                have += len(block)
                if time.monotonic() - said > SAY_EVERY_S:
                    said = time.monotonic()
                    say(f"{public(url)}: {have >> 20} MiB of {total >> 20 if total else '?'} MiB")
    if total is not None and have != total:
        raise EOFError(f"{have} of {total} bytes came")


def verify(file: Path, sha256: str | None) -> None:
    """Compare with the digest that the job gives, if it does."""
    if sha256 is None:
        return
    digest = hashlib.sha256()
    with file.open("rb") as content:
        for block in iter(lambda: content.read(BLOCK_BYTES), b""):
            digest.update(block)
    if digest.hexdigest() != sha256.lower():
        file.unlink()
        raise Failed(f"{file.name} has SHA-256 {digest.hexdigest()}, not {sha256}")


def unpack(file: Path) -> None:
    """Unpack an archive beside itself and delete it; anything else stays as it is."""
    folder = file.parent
    if zipfile.is_zipfile(file) and file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                check_name(name)
            archive.extractall(folder)
    elif file.name.endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        with tarfile.open(file) as tar:
            for member in tar:
                check_name(member.name)
                if member.isfile() or member.isdir():
                    tar.extract(member, folder)
    else:
        return
    say(f"unpacked {file.name}")
    file.unlink()


def check_name(name: str) -> None:
    """Refuse a member that would leave the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise Failed(f"the archive holds {name!r}, which would leave its folder")


def link(name: Path, target: Path) -> None:
    """Make ``name`` lead to ``target``; a link of an earlier start is replaced, anything else is kept."""
    if name.is_symlink():
        name.unlink()
    elif name.exists():
        raise Failed(f"{name} is there already; it is not replaced by {target.name}")
    name.parent.mkdir(parents=True, exist_ok=True)
    name.symlink_to(target)


def public(url: str) -> str:
    """The address without its query, which may be a signature."""
    return urllib.parse.urlsplit(url)._replace(query="", fragment="").geturl()


def main(arguments: list[str]) -> int:
    """See the top of this file."""

    def read() -> list[dict[str, Any]]:
        return list(json.loads(Path(arguments[0]).read_bytes())["downloads"])

    for number, told in enumerate(read()):
        free = shutil.disk_usage(os.path.dirname(arguments[0])).free
        say(f"fetching {public(told['url'])} ({free >> 30} GiB free)")
        try:
            download(told, lambda number=number: read()[number])  # type: ignore[misc]
        except (Failed, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            say(str(error))
            return 1
    return 0
