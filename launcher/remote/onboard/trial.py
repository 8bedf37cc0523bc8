"""``trial``: tries a rented machine before any data is sent to it. Request and answer are JSON on stdin and stdout.

The answer has what was found, and ``unfit``: why the machine is at fault, empty where it is not. torch is tried only
where the image has it; the job's own is tried after the job's setup, by ``probe``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

from .files import remove
from .probe import MACHINE, TIMEOUT_S, TRIAL, driver

PYTHONS = ("python3", "/venv/main/bin/python", "/opt/conda/bin/python")
"""Where images for training keep their torch."""
BLOCK_BYTES = 1 << 20


def main(_: List[str]) -> int:
    """See the top of this file."""
    asked = json.load(sys.stdin)
    found: Dict[str, Any] = {}
    unfit: List[str] = []
    if asked["gpu"]:
        found, unfit = try_gpu()
    found["disk_mb_s"] = disk_mb_s(asked["folder"], int(asked["disk_mb"]))
    json.dump({**found, "unfit": unfit}, sys.stdout)
    return 0


def try_gpu() -> Tuple[Dict[str, Any], List[str]]:
    """Ask the driver, then let torch multiply. The first word on what is wrong is enough."""
    listed = driver()
    if listed is None:
        return {}, ["it has no GPU driver (there is no nvidia-smi)"]
    if not listed:
        return {}, ["its GPU driver does not answer (nvidia-smi failed)"]
    found = {"gpu": listed.splitlines()[0]}
    for python in PYTHONS:
        words = multiply(python)
        if words is not None:
            return {**found, "torch": words[0]}, words[1]
    return found, []


def multiply(python: str) -> Optional[Tuple[str, List[str]]]:
    """What torch says with this Python, and what that says against the machine; None where there is no torch."""
    argv = [python, "-c", TRIAL]
    quiet = subprocess.DEVNULL
    try:
        tried = subprocess.run(
            argv, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, timeout=TIMEOUT_S, check=False
        )
    except OSError:
        return None
    except subprocess.TimeoutExpired:
        words = "the GPU did not finish a small multiplication within %g s" % TIMEOUT_S
        return words, [words]
    lines = tried.stdout.decode(errors="replace").splitlines()
    if not lines or lines[0].startswith("no torch"):
        return None
    return lines[-1], lines[-1:] if tried.returncode == MACHINE else []


def disk_mb_s(folder: str, megabytes: int) -> float:
    """How fast the disk takes data, in 10^6 bytes per second, until it is really there."""
    path = os.path.join(folder, ".trial")
    block = os.urandom(BLOCK_BYTES)
    began = time.monotonic()
    try:
        with open(path, "wb") as file:
            for _ in range(megabytes):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        return megabytes * BLOCK_BYTES / 1e6 / max(time.monotonic() - began, 1e-6)
    finally:
        remove(path)
