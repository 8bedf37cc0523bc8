"""``sweep``: kill whatever watchdogs of a stage left behind, themselves included."""

from __future__ import annotations

import os
import signal
from typing import Any, Dict, List

from .files import read_json, remove
from .orders import read_orders, secrets_file
from .processes import Process, boot_id, end_leftovers, leftovers, look_at, send


def main(arguments: List[str]) -> int:
    """Kill the watchdog of this start and everything of its stage that still runs."""
    orders = read_orders(arguments[0])
    status = read_json(os.path.join(orders["paths"]["control"], "status.json")) or {}
    recorded = status.get("watchdog") or {"pid": 0, "started": ""}
    watchdog = look_at(recorded["pid"]) if status.get("boot_id") == boot_id() else None
    if watchdog is not None and watchdog.started == recorded["started"]:
        send(watchdog.pid, signal.SIGKILL)
    end_leftovers(lambda: left_by_earlier_starts(orders), 0.0)
    remove(secrets_file(orders))
    return 0


def left_by_earlier_starts(orders: Dict[str, Any]) -> List[Process]:
    """Processes of earlier starts of this stage that no watchdog looks after."""
    paths = orders["paths"]
    return leftovers(paths["run"], orders["stage"], recorded_sessions(paths["stage_control"]))


def recorded_sessions(stage_control: str) -> Dict[int, str]:
    """Session -> when its leader started, of the jobs that starts of this stage recorded since the machine booted."""
    found = {}
    boot = boot_id()
    for name in os.listdir(stage_control):
        status = read_json(os.path.join(stage_control, name, "status.json"))
        if isinstance(status, dict) and status.get("boot_id") == boot and status.get("job"):
            found[int(status["job"]["pid"])] = str(status["job"]["started"])
    return found
