"""The process table: who lives, below whom, since when, and how to end what nobody looks after any more."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from typing import Callable, Dict, List, NamedTuple, Optional

from .files import read_text

LINUX = sys.platform.startswith("linux")


class Process(NamedTuple):
    """One line of the process table."""

    pid: int
    parent: int
    session: int
    started: str
    """When, in the system's own words: with the pid it names a process for good, until the next boot."""
    cpu_ticks: int
    name: str
    zombie: bool


def boot_id() -> str:
    """Changes with every boot; empty where the system has none."""
    return read_text("/proc/sys/kernel/random/boot_id").strip()


def look_at(pid: int) -> Optional[Process]:
    """One process, or None when it is gone."""
    if not LINUX:
        return process_table().get(pid)
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            head, _, tail = file.read().rpartition(b")")
    except OSError:
        return None
    field = tail.split()
    name = head.partition(b"(")[2].decode("utf-8", "replace")
    cpu_ticks = int(field[11]) + int(field[12])
    return Process(pid, int(field[1]), int(field[3]), field[19].decode(), cpu_ticks, name, field[0] in b"ZX")


def process_table() -> Dict[int, Process]:
    """All processes by pid."""
    if LINUX:
        found = (look_at(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
        return {process.pid: process for process in found if process is not None}
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,sess=,stat=,lstart=,comm="], stdout=subprocess.PIPE, check=False
    )
    table = {}
    for line in listing.stdout.decode("utf-8", "replace").splitlines():
        part = line.split(None, 9)
        if len(part) == 10:
            name = os.path.basename(part[9])
            started = " ".join(part[4:9])
            session = int(part[2], 16) if part[2].isalnum() else 0
            pid, parent = int(part[0]), int(part[1])
            table[pid] = Process(pid, parent, session, started, 0, name, "Z" in part[3])
    return table


def descendants(table: Dict[int, Process], root: int) -> List[Process]:
    """All living processes below ``root``, parents before children."""
    children = collections.defaultdict(list)
    for process in table.values():
        children[process.parent].append(process)
    found: List[Process] = []
    waiting = [root]
    while waiting:
        for process in children[waiting.pop()]:
            waiting.append(process.pid)
            if not process.zombie:
                found.append(process)
    return found


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none is lost sight of (Linux)."""
    if LINUX:
        set_child_subreaper = 36
        ctypes.CDLL(None, use_errno=True).prctl(set_child_subreaper, 1, 0, 0, 0)


def leftovers(run_dir: str, stage: str, sessions: Dict[int, str]) -> List[Process]:
    """Processes of this run folder and stage that no watchdog looks after any more.

    They are known by the variables that every job is given, and by the sessions that earlier watchdogs recorded
    (session -> when its leader started): a session's number is not used again while a member of it lives.
    """
    marks = {b"LAUNCH_RUN_DIR=" + os.fsencode(run_dir), b"LAUNCH_STAGE=" + os.fsencode(stage)}
    table = process_table()
    found = []
    for process in table.values():
        if process.zombie or process.pid in (os.getpid(), os.getppid()):
            continue
        leader = table.get(process.session)
        recorded = sessions.get(process.session)
        if recorded is not None and (leader is None or leader.started == recorded):
            found.append(process)
            continue
        try:
            with open("/proc/%d/environ" % process.pid, "rb") as file:
                if marks <= set(file.read().split(b"\0")):
                    found.append(process)
        except OSError:
            continue
    return found


def end_leftovers(find: Callable[[], List[Process]], grace_s: float) -> List[Process]:
    """SIGTERM, then SIGKILL after ``grace_s``; returns what there was once all of it is gone."""
    first = left = find()
    deadline = time.monotonic() + grace_s
    for process in left:
        send(process.pid, signal.SIGTERM if grace_s > 0 else signal.SIGKILL)
    while left:
        time.sleep(0.02)
        left = find()
        if time.monotonic() >= deadline:
            for process in left:
                send(process.pid, signal.SIGKILL)
    return first


def name_them(processes: List[Process]) -> str:
    """For people, and not too long."""
    named = ["%s (pid %d)" % (process.name, process.pid) for process in processes[:8]]
    return ", ".join(named + (["%d more" % (len(processes) - 8)] if len(processes) > 8 else []))


def prefer_as_victim(pid: int) -> None:
    """When memory ends, the kernel should take the job and not the one that can tell about it."""
    try:
        with open("/proc/%d/oom_score_adj" % pid, "w") as file:
            file.write("500")
    except OSError:
        pass


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed since boot because memory ran out."""
    found = re.search(r"^oom_kill (\d+)$", read_text("/proc/vmstat"), re.MULTILINE)
    return int(found.group(1)) if found else 0
