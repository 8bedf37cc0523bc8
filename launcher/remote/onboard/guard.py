"""``guard``: destroys the machine at its hard deadline, in a process that the end of the watchdog does not end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Dict, List

from .files import epoch, read_json, remove, replace_file
from .lock import take_lock
from .orders import SCHEMA
from .provider import http

TICK_S = 1.0
RETRY_S = 10.0
AGAIN_S = 60.0
"""The request was accepted, and we still live."""


def arm(orders: Dict[str, Any]) -> None:
    """Start the guard of this run folder, or tell the one that is there the new deadline, or end it.

    Called before this process adopts orphans, so that nobody here waits for it.
    """
    path = os.path.join(orders["paths"]["run"], "control", "deadline.json")
    if not (orders["hard_deadline"] and orders["self_destroy"]):
        remove(path)
        return
    told = {
        "schema": SCHEMA,
        "hard_deadline": orders["hard_deadline"],
        "self_destroy": orders["self_destroy"],
    }
    replace_file(path, json.dumps(told).encode("ascii"), mode=0o600, durable=True)
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), "guard", path]
    subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, check=False)


def main(arguments: List[str]) -> int:
    """Wait for the hard deadline and destroy the machine, again and again until that has worked.

    One per run folder. It follows changes of the file, and ends when the file is removed. The wall clock counts, also
    when it jumps.
    """
    path = arguments[0]
    lock = take_lock(path + ".lock", 0.0, lambda: False)
    if lock is None or os.fork():
        return 0
    next_try = 0.0
    while True:
        told = read_json(path)
        if told is None:
            return 0
        is_time = time.time() >= (epoch(told["hard_deadline"]) or 0.0)
        if is_time and time.monotonic() >= next_try:
            wait_s = AGAIN_S if destroy(told["self_destroy"]) else RETRY_S
            next_try = time.monotonic() + wait_s
        time.sleep(TICK_S)


def destroy(how: Dict[str, Any]) -> bool:
    """Send the request or run the command that ends this machine; False when it was refused."""
    try:
        if "argv" in how:
            command = subprocess.run(how["argv"], stdin=subprocess.DEVNULL, timeout=120.0, check=False)
            return command.returncode == 0
        return 200 <= http(how, 30.0)[0] < 300
    except Exception:  # whatever went wrong: the next try may work, and giving up costs money
        return False
