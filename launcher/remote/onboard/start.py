"""``run``: one start of one stage, at most once."""

from __future__ import annotations

import os
from typing import List

from . import guard, push
from .files import utc
from .lock import take_lock
from .orders import read_orders
from .output import Output
from .processes import adopt_orphans, end_leftovers, name_them
from .status import Status, first_status
from .sweep import left_by_earlier_starts
from .watchdog import Watchdog


def main(arguments: List[str]) -> int:
    """Run the start that ``run.json`` describes, unless that was done before."""
    orders = read_orders(arguments[0])
    paths = orders["paths"]
    status_path = os.path.join(paths["control"], "status.json")

    def begun_before() -> bool:
        return os.path.exists(status_path)

    lock = take_lock(os.path.join(paths["stage_control"], "lock"), orders["lock_wait_s"], begun_before)
    if begun_before():
        return 0
    status = Status(status_path, first_status(orders))
    if lock is None:
        reason = "another start of this stage still runs"
        status.finish(phase="ended", exit_code=1, reason=reason, ended_at=utc())
        return 1
    guard.arm(orders)
    push.arm(orders, arguments[0])
    adopt_orphans()
    status.change()
    output = Output(paths["segments"], orders["log"]["segment_bytes"], orders["log"]["total_bytes"])
    left = end_leftovers(lambda: left_by_earlier_starts(orders), orders["grace_s"])
    if left:
        output.say("an earlier watchdog had been killed; ended what it left running: %s" % name_them(left))
    Watchdog(orders, output, status).run()
    return 0
