"""Fetches the ``https://`` sources of ``file_mounts`` on the machine. Argument::

    download LIST.json

``{"downloads": [{"url", "folder", "link", "sha256": hex|null}, …]}``: each is fetched into ``folder`` (going on where
an earlier try stopped), unpacked there when it is an archive, and ``link`` is made to lead to it. What is complete is
marked and not fetched again. Output is for the log. Exit code 1 when one of them could not be had.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

BLOCK_BYTES = 1 << 20
TRIES = 5
TIMEOUT_S = 60.0
SAY_EVERY_S = 10.0


class Failed(Exception):
    """With words for the log."""


def download(told: dict[str, Any]) -> None:
    """Have one source where the job expects it."""
    folder, complete = Path(told["folder"]), Path(told["folder"] + ".complete")
    url = told["url"]
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / (
            PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name or "download"
        )
        fetch(url, file)
        verify(file, told.get("sha256"))
        unpack(file)
        complete.touch()
    entries = list(folder.iterdir())
    is_one_file = len(entries) == 1 and entries[0].is_file()
    link(Path(told["link"]), entries[0] if is_one_file and not told["link"].endswith("/") else folder)


def fetch(url: str, file: Path) -> None:
    """Fetch to ``file``, resuming, with a few tries; renamed into place when it is whole."""
    part = file.with_name(file.name + ".part")
    for left in reversed(range(TRIES)):
        try:
            fetch_rest(url, part)
            part.replace(file)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 416, 429):
                raise Failed(f"{public(url)} answers {error.code} {error.reason}") from None
            if error.code == 416:
                part.unlink()
            problem = f"{error.code} {error.reason}"
        except (OSError, EOFError) as error:
            problem = str(error)
        if left:
            say(f"{public(url)}: {problem}; trying again")
            time.sleep(2.0 ** (TRIES - left) / 4)
    raise Failed(f"{public(url)} could not be fetched: {problem}")


def fetch_rest(url: str, part: Path) -> None:
    """Append what is missing, if the server can go on in the middle; else begin again."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        resumed = answer.status == 206
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
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


def say(text: str) -> None:
    """A line for the log, at once."""
    sys.stdout.write(f"[launch] {text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """See the top of this file."""
    for told in json.loads(Path(arguments[0]).read_bytes())["downloads"]:
        free = shutil.disk_usage(os.path.dirname(arguments[0])).free
        say(f"fetching {public(told['url'])} ({free >> 30} GiB free)")
        try:
            download(told)
        except (Failed, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            say(str(error))
            return 1
    return 0
