"""``restore``: brings the newest checkpoint from an object store to a machine that has none. Request on standard input::

    {"checkpoints": folder, "parcels": [{"head": …, "parts": [{"url", "headers"}, …]}, …]}

Newest first; one that is broken is passed over for the one before. The answer is one JSON object::

    {"restored": name|null, "bytes": …, "problems": [[name, why], …]}
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from .digests import DIGEST_SUFFIX, fault_of, files_of
from .download import Failed as NotFetched
from .download import fetch
from .names import is_checkpoint_name
from .parcel import Failed, unpack


def main(_: List[str]) -> int:
    """Read the request from standard input, answer on standard output."""
    request = json.loads(sys.stdin.buffer.read())
    folder = request["checkpoints"]
    told: Dict[str, Any] = {"restored": None, "bytes": 0, "problems": []}
    try:
        os.makedirs(folder, exist_ok=True)
        if not has_checkpoint(folder):
            restore(request["parcels"], folder, told)
    except OSError as error:
        told["error"] = str(error)
    sys.stdout.write(json.dumps(told) + "\n")
    return 1 if "error" in told else 0


def has_checkpoint(folder: str) -> bool:
    """A machine that has one of its own knows better than any copy."""
    return any(
        is_checkpoint_name(name) and os.path.exists(os.path.join(folder, name + DIGEST_SUFFIX))
        for name in os.listdir(folder)
    )


def restore(parcels: List[Dict[str, Any]], folder: str, told: Dict[str, Any]) -> None:
    """Bring the first of the parcels that is whole into place."""
    beside = os.path.join(folder, ".incoming")
    for parcel in parcels:
        name = parcel["head"]["name"]
        shutil.rmtree(beside, ignore_errors=True)
        problem = bring(parcel, name, beside)
        if problem is None:
            told["bytes"] = sum(info.st_size for _, info in files_of(os.path.join(beside, name)))
            settle(beside, name, folder)
            told["restored"] = name
            break
        told["problems"].append([name, problem])
    shutil.rmtree(beside, ignore_errors=True)


def bring(parcel: Dict[str, Any], name: str, beside: str) -> Optional[str]:
    """Unpack a parcel beside; return what is wrong with it, or None."""
    if not is_checkpoint_name(name) or "/" in name:
        return "its name is none of a checkpoint"

    def get(number: int, path: str) -> None:
        fetch(lambda: dict(parcel["parts"][number]), Path(path), say=lambda words: None)

    try:
        unpack(parcel["head"], get, beside)
    except (Failed, NotFetched) as error:
        return str(error)
    return fault_of(os.path.join(beside, name))


def settle(beside: str, name: str, folder: str) -> None:
    """Move it into place, with times of this machine's clock, like those of what is saved after it. The digest goes first."""
    entry = os.path.join(beside, name)
    for relative, _ in files_of(entry):
        os.utime(os.path.join(beside, relative))
    digest = name + DIGEST_SUFFIX
    os.utime(os.path.join(beside, digest))
    os.replace(os.path.join(beside, digest), os.path.join(folder, digest))
    os.replace(entry, os.path.join(folder, name))
