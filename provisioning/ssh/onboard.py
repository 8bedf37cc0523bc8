"""Claims on a host, decided on the host itself: several people and homes may use it. Python 3.8, standard library.

Sent whole on the standard input of ``python3``, followed by a JSON request; or kept beside the claims and called as
``claims.py release ID`` by the watchdog of a claim. In ``~/.launch/claims``: ``live/ID.json``, ``released/ID.json``,
and ``lock``, which the kernel frees when its holder dies.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, Dict, Iterator

Claim = Dict[str, Any]

MARK = "LAUNCH_MACHINE"
END_TIMEOUT_S = 10.0
ANSWER = "launch-answer:"
PROGRAM = "claims.py"
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


class Claims:
    """The claims of one account."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        for name in ("live", "released"):
            os.makedirs(os.path.join(self.folder, name), mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else decides meanwhile."""
        with open(os.path.join(self.folder, "lock"), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self, claim_id: str) -> Claim | None:
        """One claim, live or released, or None."""
        for name in ("live", "released"):
            with contextlib.suppress(FileNotFoundError):
                return self._read(name, claim_id)
        return None

    def live(self) -> list[Claim]:
        """All that are not released, oldest first; what is due is released now."""
        names = [
            name[:-5] for name in os.listdir(os.path.join(self.folder, "live")) if name.endswith(".json")
        ]
        claims = [self.settled(self._read("live", name)) for name in names if ID.fullmatch(name)]
        return sorted(
            (claim for claim in claims if not claim["released_at"]),
            key=lambda claim: (claim["created_at"], claim["id"]),
        )

    def claim(
        self, wanted: Claim, choices: list[str], count: int, share: bool
    ) -> tuple[Claim | None, list[str]]:
        """Make the claim, or return the one of this id; None and the holders when its GPUs are held by others."""
        found = self.find(wanted["id"])
        if found:
            return self.settled(found), []
        holders = {gpu: claim["tags"]["launch-run"] for claim in self.live() for gpu in claim["gpus"]}
        chosen = sorted(choices, key=lambda gpu: gpu in holders)[:count]
        held = sorted({holders[gpu] for gpu in chosen if gpu in holders})
        if held and not share:
            return None, held
        made = dict(wanted, gpus=chosen, program=os.path.join(self.folder, PROGRAM))
        self._write("live", made)
        return made, []

    def settled(self, claim: Claim) -> Claim:
        """Release a claim whose deadline passed and that runs nothing any more."""
        is_over = not claim["released_at"] and moment(claim["deadline"]) <= now()
        return self.release(claim, "deadline") if is_over and not running(claim["id"]) else claim

    def release(self, claim: Claim, reason: str) -> Claim:
        """End the claim's processes, then the claim; repeating it is fine."""
        if claim["released_at"]:
            return claim
        end_all(claim["id"])
        ended = dict(claim, released_at=now().isoformat(), reason=reason)
        self._write("released", ended)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path("live", claim["id"]))
        return ended

    def keep_program(self, source: bytes) -> None:
        """Keep this file beside the claims, for the watchdog."""
        write(os.path.join(self.folder, PROGRAM), source)

    def _path(self, name: str, claim_id: str) -> str:
        if not ID.fullmatch(claim_id):
            raise FileNotFoundError(claim_id)
        return os.path.join(self.folder, name, claim_id + ".json")

    def _read(self, name: str, claim_id: str) -> Claim:
        with open(self._path(name, claim_id), "rb") as file:
            claim: Claim = json.loads(file.read())
        return claim

    def _write(self, name: str, claim: Claim) -> None:
        write(self._path(name, claim["id"]), json.dumps(claim, indent=1).encode())


def write(path: str, content: bytes) -> None:
    """Whole or not at all, durable, private."""
    beside = "%s.%d.tmp" % (path, os.getpid())
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def now() -> datetime.datetime:
    """UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def moment(text: str) -> datetime.datetime:
    """Read what ``isoformat`` wrote."""
    return datetime.datetime.fromisoformat(text)


def processes() -> Iterator[tuple[int, int, str | None]]:
    """(pid, parent, mark) of every process of this user."""
    if not os.path.exists("/proc/self/environ"):
        yield from processes_from_ps()
        return
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            with open("/proc/%s/environ" % name, "rb") as file:
                variables = file.read().split(b"\0")
        except (OSError, ValueError):
            continue
        if state in (b"Z", b"X"):
            continue
        prefix = (MARK + "=").encode()
        marks = [os.fsdecode(one[len(prefix) :]) for one in variables if one.startswith(prefix)]
        yield int(name), int(parent), marks[0] if marks else None


def processes_from_ps() -> Iterator[tuple[int, int, str | None]]:
    """The same where there is no /proc."""
    told = subprocess.run(["ps", "axeww", "-o", "pid=,ppid=,command="], stdout=subprocess.PIPE, check=False)
    for line in told.stdout.decode(errors="replace").splitlines():
        found = re.match(r"\s*(\d+)\s+(\d+)\s+(.*)", line)
        if found:
            mark = re.search(r"(?:^|\s)%s=(\S+)" % MARK, found.group(3))
            yield int(found.group(1)), int(found.group(2)), mark.group(1) if mark else None


def running(claim_id: str) -> set[int]:
    """Pids that carry the mark, and those below them that carry no other; without this process."""
    table = {pid: (parent, mark) for pid, parent, mark in processes()}
    ours = {pid for pid, (_, mark) in table.items() if mark == claim_id}
    more = set(ours)
    while more:
        more = {
            pid
            for pid, (parent, mark) in table.items()
            if pid not in ours and mark is None and parent in ours
        }
        ours |= more
    return ours - {os.getpid()}


def end_all(claim_id: str) -> None:
    """Kill until nothing is left; what was born meanwhile does not escape."""
    give_up_at = time.monotonic() + END_TIMEOUT_S
    pids = running(claim_id)
    while pids:
        if time.monotonic() >= give_up_at:
            raise OSError("processes %s of %s did not end" % (", ".join(map(str, sorted(pids))), claim_id))
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        time.sleep(0.01)
        pids = running(claim_id)


def answer(request: dict[str, Any], source: bytes) -> dict[str, Any]:
    """Do what a request asks for."""
    claims = Claims(os.path.realpath(request.get("folder") or os.path.expanduser("~/.launch/claims")))
    action = request["action"]
    with claims.locked():
        if action == "claim":
            claims.keep_program(source)
            root = request["work_root"] or os.path.dirname(claims.folder)
            wanted = dict(request["claim"], work_root=root)
            made, held = claims.claim(wanted, request["choices"], request["count"], request["share_gpu"])
            return {"claim": made, "held": held}
        if action == "list":
            return {"claims": claims.live()}
        found = claims.find(request["id"])
        if found and action == "release":
            found = claims.release(found, request.get("reason", "released"))
        return {"claim": claims.settled(found) if found else None}


def main(arguments: list[str], source: bytes) -> int:
    """With arguments: ``release ID`` from the claim's own watchdog. Without: a request on standard input."""
    # The tmux session that this may run in is about to end: its hang-up must not end us first.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if arguments:
        folder = os.path.dirname(os.path.abspath(__file__))
        request: dict[str, Any] = {"action": arguments[0], "id": arguments[1], "folder": folder}
        request["reason"] = "deadline"
    else:
        request = json.loads(sys.stdin.buffer.read())
    try:
        told = answer(request, source)
    except OSError as error:
        told = {"error": str(error)}
    print(ANSWER + json.dumps(told))
    return 1 if "error" in told else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(sys.argv[1:], b""))
    # The line that read this text from standard input has kept it.
    sys.exit(main([], globals()["SOURCE"]))
