"""Digests of checkpoints, written and read in the format of sha256sum."""

from __future__ import annotations

import os
import re
import stat
from typing import Any, Dict, List, Optional, Tuple

from .files import sha256_of

DIGEST_SUFFIX = ".sha256"
Files = List[Tuple[str, os.stat_result]]
"""(path relative to the checkpoint folder, lstat), sorted."""


def files_of(entry: str) -> Files:
    """(path relative to the entry's own folder, stat) of the regular files of a checkpoint, sorted."""
    info = os.lstat(entry)
    base = os.path.dirname(entry)
    if stat.S_ISREG(info.st_mode):
        return [(os.path.basename(entry), info)]
    found = []
    for folder, _, names in os.walk(entry):
        for name in names:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode):
                found.append((os.path.relpath(path, base), info))
    return sorted(found, key=lambda item: os.fsencode(item[0]))


def signature_of(files: Files) -> Tuple[Any, ...]:
    """Changes whenever a file of the checkpoint does."""
    return tuple((name, info.st_size, info.st_mtime_ns, info.st_ino) for name, info in files)


def digest_lines(entry: str, files: Files) -> bytes:
    """The text of ``<entry>.sha256`` in the format of sha256sum; names are relative to the checkpoint folder."""
    base = os.path.dirname(entry)
    lines = []
    for name, _ in files:
        digest = sha256_of(os.path.join(base, name))
        raw = os.fsencode(name)
        escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        lines.append((b"\\" if escaped != raw else b"") + digest.encode() + b"  " + escaped + b"\n")
    return b"".join(lines)


ESCAPES = {b"n": b"\n", b"r": b"\r", b"\\": b"\\"}


def read_digests(path: str) -> Dict[str, str]:
    """name -> digest from a file in the format of sha256sum; empty when it is not one."""
    found = {}
    with open(path, "rb") as file:
        for line in file.read().split(b"\n"):
            match = re.fullmatch(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)", line)
            if match:
                name = match.group(3)
                if match.group(1):
                    name = re.sub(rb"\\([nr\\])", lambda escape: ESCAPES[escape.group(1)], name)
                found[os.fsdecode(name)] = match.group(2).decode().lower()
    return found


def fault_of(entry: str) -> Optional[str]:
    """Why a checkpoint is not what its digest says; None when it is."""
    name = os.path.basename(entry)
    try:
        digests = read_digests(entry + DIGEST_SUFFIX)
        files = [relative for relative, _ in files_of(entry)]
        if os.path.isfile(entry):
            written = [digest for path, digest in digests.items() if os.path.basename(path) == name]
            digests = {name: written[0]} if written else {}
        if not digests:
            return "its digest file names no file of it"
        for relative, digest in sorted(digests.items()):
            relative = os.path.normpath(relative)
            if relative not in files:
                return "%s is missing" % relative
            if sha256_of(os.path.join(os.path.dirname(entry), relative)) != digest:
                return "%s does not match its digest" % relative
    except Exception as error:  # whatever it is: not verified is not good
        return str(error) or repr(error)
    return None
