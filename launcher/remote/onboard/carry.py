"""Puts files that arrived in a folder beside where they belong in the working folder. The request, on standard input::

    {"beside", "workdir", "files": [[name, sha256], …]}

All of them are verified before the first one is moved, so that a job never sees half of what it needs. Prints one JSON
object: ``{"carried": number}``, or ``{"error": words, "differ": [name, …]}``. What was moved before a crash is found in
its place, and counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any, Dict, List

from .files import sha256_of


def carry(told: Dict[str, Any]) -> Dict[str, Any]:
    """Verify, then move."""
    moves: List[List[str]] = []
    differ: List[str] = []
    for name, digest in told["files"]:
        here, there = os.path.join(told["beside"], name), os.path.join(told["workdir"], name)
        if is_whole(here, digest):
            moves.append([here, there])
        elif not is_whole(there, digest):
            differ.append(name)
    if differ:
        words = "%s did not arrive as it is at home" % ", ".join(differ[:3])
        return {"error": words, "differ": differ}
    for here, there in moves:
        os.makedirs(os.path.dirname(there), exist_ok=True)
        os.replace(here, there)
    return {"carried": len(told["files"])}


def is_whole(path: str, digest: str) -> bool:
    """Whether a file is there with this digest."""
    try:
        return sha256_of(path) == digest
    except OSError:
        return False


def main(_: List[str]) -> int:
    """Read what to do from standard input, do it, and answer on standard output."""
    try:
        answer = carry(json.loads(sys.stdin.buffer.read()))
    except OSError as error:
        answer = {"error": str(error)}
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(answer) + "\n")
    return 1 if "error" in answer else 0
