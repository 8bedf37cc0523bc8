"""``push``: brings what nobody has fetched to an object store when the job is over, and then ends the machine.

A process of its own, like the guard: it outlives the watchdog and its session. It does nothing while the launcher is
here, which brings the outputs home itself and ends the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

from .bucket import read_bucket, signs_of_home
from .digests import DIGEST_SUFFIX, files_of
from .files import epoch, read_json, replace_file, utc
from .guard import destroy
from .lock import take_lock
from .manifest import answer
from .orders import read_orders
from .parcel import Archive, Failed, Packed, packed, send
from .processes import look_at

TICK_S = 1.0
RETRY_S = 60.0
HURRY_S = 600.0
"""So near its hard deadline the machine does not wait for anybody."""


def arm(orders: Dict[str, Any], runfile: str) -> None:
    """Start it beside a job whose outputs are to be pushed. Before this process adopts orphans, as the guard."""
    told = read_bucket(orders)
    if not (told and told.get("push")):
        return
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-I", "-S", os.path.abspath(sys.argv[0]), "push", runfile]
    subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, check=False)


def main(arguments: List[str]) -> int:
    """Wait for the end of the job, then for somebody to fetch; push what nobody does, until that has worked."""
    orders = read_orders(arguments[0])
    control = orders["paths"]["control"]
    lock = take_lock(os.path.join(control, "push.lock"), 0.0, lambda: False)
    if lock is None or os.fork():
        return 0
    next_try = 0.0
    while True:
        told = read_bucket(orders)
        if not (told and told.get("push")):
            return 0
        if time.monotonic() >= next_try and not _act(orders, told):
            next_try = time.monotonic() + RETRY_S
        time.sleep(TICK_S)


def _act(orders: Dict[str, Any], told: Dict[str, Any]) -> bool:
    """Push, or end the machine behind it, when it is time; False when that is to be tried again later."""
    ended_at = _ended_at(orders)
    if ended_at is None:
        return True
    quiet_s = time.time() - max([ended_at, *signs_of_home(orders)])
    hard = epoch(orders["hard_deadline"])
    left_s = None if hard is None else hard - time.time()
    is_pushed = os.path.exists(os.path.join(orders["paths"]["control"], "pushed.json"))
    asked = told["push"]
    if not is_pushed:
        return not is_time(quiet_s, asked["after_s"], left_s) or _try(orders, told)
    if orders["self_destroy"] and quiet_s >= asked["end_after_s"]:
        destroy(orders["self_destroy"])  # what it would cost until its deadline is saved
        return False
    return True


def is_time(quiet_s: float, patience_s: float, left_s: Optional[float]) -> bool:
    """Whether nobody has been here for long enough; near the hard deadline nobody is waited for."""
    return quiet_s >= (patience_s if left_s is None or left_s >= HURRY_S else 0.0)


def _try(orders: Dict[str, Any], told: Dict[str, Any]) -> bool:
    """Push everything; what happened is told in ``push.json``."""
    control = orders["paths"]["control"]
    try:
        head = push(orders, told)
    except Exception as error:  # whatever it is: the next try may work, and giving up loses data
        _tell(control, {"pushed": False, "at": utc(), "reason": str(error) or repr(error)})
        return False
    words = {"pushed": True, "at": utc(), "files": len(head["files"]), "bytes": head["size"]}
    replace_file(os.path.join(control, "pushed.json"), json.dumps(words).encode("ascii"), durable=True)
    _tell(control, words)
    return True


def _tell(control: str, words: Dict[str, Any]) -> None:
    replace_file(os.path.join(control, "push.json"), json.dumps(words).encode("ascii"))


def push(orders: Dict[str, Any], told: Dict[str, Any]) -> Dict[str, Any]:
    """Send outputs, log, status and the newest checkpoint as one parcel; return its head.

    Raises:
        Failed: the store would not have it, or there is nobody any more who wants it.
    """

    def slot() -> Dict[str, Any]:
        now = read_bucket(orders)
        if not (now and now.get("push")):
            raise Failed("nothing may be written any more")
        found: Dict[str, Any] = now["push"]["slot"]
        return found

    head = {name: orders[name] for name in ("run_id", "attempt", "stage", "start")}
    head.update(kind="outputs", made_at=utc())
    return send(Archive(files_to_push(orders, told["push"])), slot, head, part_bytes=told["part_bytes"])


def files_to_push(orders: Dict[str, Any], asked: Dict[str, Any]) -> List[Packed]:
    """Everything that the launcher would fetch, under its name in the run folder."""
    found: Dict[str, str] = {}
    matched = False
    for request in asked["requests"]:
        files = _listed(request)
        matched = matched or (bool(files) and request.get("counts", True))
        found.update(files)
    if not matched and asked["fallback"] is not None:
        found.update(_listed(asked["fallback"]))
    for path in _records(orders):
        found[os.path.relpath(path, orders["paths"]["run"])] = path
    found.update(_newest_checkpoint(orders))
    return [packed(name, path) for name, path in sorted(found.items())]


def _listed(request: Dict[str, Any]) -> Dict[str, str]:
    """Name in the run folder -> path, of the files that a request of the manifest program lists."""
    told = answer({**request["manifest"], "digests": False})
    if "error" in told:
        raise Failed(str(told["error"]))
    root = request["manifest"]["root"]
    return {"%s/%s" % (request["below"], name): os.path.join(root, name) for name, *_ in told["files"]}


def _records(orders: Dict[str, Any]) -> List[str]:
    """What tells how the job went: the log, the status, and what was placed."""
    paths = orders["paths"]
    segments = [os.path.join(paths["segments"], name) for name in sorted(os.listdir(paths["segments"]))]
    beside = [os.path.join(paths["run"], "control", name) for name in ("placed.json", "inputs.json")]
    told = [os.path.join(paths["control"], "status.json"), *beside, *segments]
    return [path for path in told if os.path.isfile(path)]


def _newest_checkpoint(orders: Dict[str, Any]) -> Dict[str, str]:
    status = read_json(os.path.join(orders["paths"]["control"], "status.json")) or {}
    told = status.get("checkpoints") or []
    if not told:
        return {}
    folder, name = orders["paths"]["checkpoints"], told[-1]["name"]
    names = [file for file, _ in files_of(os.path.join(folder, name))] + [name + DIGEST_SUFFIX]
    below = os.path.relpath(folder, orders["paths"]["run"])
    return {"%s/%s" % (below, file): os.path.join(folder, file) for file in names}


def _ended_at(orders: Dict[str, Any]) -> Optional[float]:
    """When the job was over; a watchdog that is dead tells nothing more, so its last sign of life counts."""
    status = read_json(os.path.join(orders["paths"]["control"], "status.json"))
    if not isinstance(status, dict):
        return None
    if status["phase"] == "ended":
        return epoch(status["ended_at"] or status["heartbeat"])
    watchdog = look_at(status["watchdog"]["pid"])
    lives = watchdog is not None and watchdog.started == status["watchdog"]["started"]
    return None if lives else epoch(status["heartbeat"])
