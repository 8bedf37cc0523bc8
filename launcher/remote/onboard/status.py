"""``status.json``: what the watchdog tells."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import Any, Dict

from .files import remove, replace_file, utc
from .processes import boot_id, look_at

SCHEMA = 1


class Status:
    """``status.json``: changed in memory, written at once when it matters and once a second otherwise."""

    RESERVE_BYTES = 64 * 1024

    def __init__(self, path: str, fields: Dict[str, Any]) -> None:
        self._path = path
        self._reserve = path + ".reserve"
        self._written = b""
        self.fields = fields
        with contextlib.suppress(OSError):
            replace_file(self._reserve, b"\0" * self.RESERVE_BYTES)

    def change(self, **fields: Any) -> None:
        """Change fields and write them through to the disk before going on."""
        self.fields.update(fields)
        self.write(durable=True)

    def write(self, durable: bool = False) -> None:
        """Write it; on a full disk the space held back for this is used."""
        self.fields["heartbeat"] = utc()
        data = json.dumps(self.fields, indent=1, default=str).encode("ascii")
        for _ in range(2):
            try:
                replace_file(self._path, data, durable=durable)
                return
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    return
                remove(self._reserve)

    def finish(self, **fields: Any) -> None:
        """The last word."""
        self.change(**fields)
        remove(self._reserve)


def first_status(orders: Dict[str, Any]) -> Dict[str, Any]:
    """All fields of ``status.json``, before anything has happened."""
    me = look_at(os.getpid())
    given = {name: orders[name] for name in ("run_id", "attempt", "stage", "start")}
    return {
        "schema": SCHEMA,
        **given,
        "phase": "starting",
        "step": None,
        "cause": "none",
        "signal": None,
        "exit_code": None,
        "reason": "",
        "started_at": utc(),
        "ended_at": None,
        "heartbeat": utc(),
        "boot_id": boot_id(),
        "watchdog": {"pid": os.getpid(), "started": me.started if me else ""},
        "job": None,
        "log": {"start": 0, "bytes": 0},
        "metrics": {"bytes": 0, "step": None, "total": None, "steps_per_s": None, "values": {}, "best": None},
        "progress": None,
        "checkpoints": [],
        "mirrored": [],
        "warned": None,
        "resumed_from": None,
        "setup_s": None,
        "run_s": None,
        "fault": None,
        "repeated": False,
        "out_of_memory": None,
    }
