"""``run.json``: what the watchdog is told."""

from __future__ import annotations

import os
import sys
from typing import Any, Dict

from .files import read_json, remove

SCHEMA = 1
NOT_FOR_THE_JOB = ("TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION")


def read_orders(path: str) -> Dict[str, Any]:
    """The file's content; ends the program with words when it is missing or of another version."""
    orders: Any = read_json(path)
    if not isinstance(orders, dict) or orders.get("schema") != SCHEMA:
        found = orders.get("schema") if isinstance(orders, dict) else None
        sys.exit("%s: expected a run file of schema %d, found %r" % (path, SCHEMA, found))
    return orders


def job_environ(orders: Dict[str, Any], resume_from: str) -> Dict[str, str]:
    """The environment of every step; secrets are read from their private file, which is deleted then."""
    environ = {name: value for name, value in os.environ.items() if name not in NOT_FOR_THE_JOB}
    environ.setdefault("PYTHONUNBUFFERED", "1")
    environ.update(orders["environ"])
    path = [*orders["path_prefix"], environ.get("PATH", os.defpath)]
    environ.update(PATH=os.pathsep.join(path), LAUNCH_RESUME_FROM=resume_from)
    environ.update(read_json(secrets_file(orders)) or {})
    remove(secrets_file(orders))
    return environ


def secrets_file(orders: Dict[str, Any]) -> str:
    """Where secrets wait to be read once."""
    return os.path.join(orders["paths"]["control"], "secrets.json")
