"""The parent of a job on its machine: starts it, keeps its output, watches the clock, and tells how it ended.

One file, standard library only, Python 3.8 or later; it is copied to the machine and needs nobody else::

    python3 watchdog.py run.json            run one start of one stage (inside tmux)
    python3 watchdog.py sweep run.json      kill whatever earlier watchdogs of this stage left behind
    python3 watchdog.py guard deadline.json at the hard deadline destroy the machine (started by the first form)

What it is told is ``run.json``; what it tells is ``status.json``, which nobody else writes. Both are described
in ``docs/run-directory.md``. The main thread does everything that matters and never waits for a disk to be
hashed or a server to answer: those happen in threads that only hand their result back.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import queue
import re
import selectors
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from typing import Any, Callable, Deque, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

SCHEMA = 1
LINUX = sys.platform.startswith("linux")
EXIT_INTERRUPTED = 75
EXIT_REFUSED = 2
DIGEST_SUFFIX = ".sha256"

SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh"))
FILTERS = frozenset(("tee", "cat", "grep", "sed", "awk", "gawk", "mawk", "ts", "tr", "cut", "head", "tail"))
INHERITED_NO_LONGER = ("TMUX", "TMUX_PANE", "TERM_PROGRAM", "TERM_PROGRAM_VERSION")


# --- files and time ------------------------------------------------------------------------------


def utc(seconds: Optional[float] = None) -> str:
    """A moment of the wall clock (default: now) as ISO 8601 in UTC."""
    moment = time.time() if seconds is None else seconds
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")


def epoch(text: Optional[str]) -> Optional[float]:
    """Seconds since 1970 of an ISO 8601 time."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def replace_file(path: str, data: bytes, mode: int = 0o644, durable: bool = False) -> None:
    """Write beside and rename, so that a reader sees the old bytes or the new ones."""
    beside = "%s.%d.tmp" % (path, os.getpid())
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        remove(beside)
        raise


def remove(path: str) -> None:
    """Delete a file if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def read_json(path: str) -> Any:
    """The file's content, or None where there is no whole file."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read().decode("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return None


def read_text(path: str) -> str:
    """The file's text; empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


# --- processes -----------------------------------------------------------------------------------


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


def program_names(process: Process) -> Set[str]:
    """What it calls itself and the file it executes: a script is known by the second, busybox by the first."""
    names = {process.name.lstrip("-")}
    with contextlib.suppress(OSError):
        names.add(os.path.basename(os.readlink("/proc/%d/exe" % process.pid)))
    return names


def catches_sigterm(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM."""
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)", read_text("/proc/%d/status" % pid), re.MULTILINE)
    return found is not None and bool(int(found.group(1), 16) >> (signal.SIGTERM - 1) & 1)


def reads_from_pipe(pid: int) -> bool:
    """Whether its standard input is a pipe."""
    try:
        return os.readlink("/proc/%d/fd/0" % pid).startswith("pipe:")
    except OSError:
        return False


def programs_to_ask(table: Dict[int, Process], roots: Iterable[Process]) -> List[Process]:
    """Which processes below and including ``roots`` SIGTERM goes to: the programs, and only they.

    A shell that does not catch the signal is passed over and its children are asked instead, so that it lives
    to return the program's exit code. A filter at the end of a pipe ends by itself and must not take the
    program's output away. The children of a program (data loaders, the workers of a launcher) are that
    program's business: they are asked when it left them behind.
    """
    children = collections.defaultdict(list)
    for process in table.values():
        children[process.parent].append(process)
    asked: List[Process] = []
    waiting = list(roots)
    while waiting:
        process = waiting.pop()
        names = program_names(process)
        if names & SHELLS:
            waiting.extend(children[process.pid])
            if catches_sigterm(process.pid):
                asked.append(process)
        elif not (names & FILTERS and reads_from_pipe(process.pid)):
            asked.append(process)
    return asked


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


# --- work that must not hold up the main thread ------------------------------------------------------


class Worker:
    """A thread that does one thing after another; ``take`` hands each result to its callback in the caller's thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._todo: queue.SimpleQueue[Tuple[Callable[[], Any], Callable[[Any], None]]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Tuple[Callable[[Any], None], Any]] = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        self.pending = 0

    def submit(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do ``work``; its result, or the OSError or ValueError that it raised, goes to ``done``."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        self.pending += 1
        self._todo.put((work, done))

    def take(self) -> None:
        """Hand over what is finished."""
        while not self._done.empty():
            done, result = self._done.get()
            self.pending -= 1
            done(result)

    def _work(self) -> None:
        if LINUX:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            work, done = self._todo.get()
            try:
                result = work()
            except (OSError, ValueError) as error:
                result = error
            self._done.put((done, result))
            self._wake()


class FolderWatch:
    """Names that were renamed into watched folders, from inotify; silent where the system has none."""

    MOVED_TO = 0x80

    def __init__(self) -> None:
        self.descriptor = -1
        self._folders: Dict[int, str] = {}
        if LINUX:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self.descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, folder: str) -> None:
        """Watch a folder; again when it was replaced by another."""
        if self.descriptor >= 0:
            number = self._libc.inotify_add_watch(self.descriptor, os.fsencode(folder), self.MOVED_TO)
            if number >= 0:
                self._folders[number] = folder

    def arrivals(self) -> List[Tuple[str, str]]:
        """(folder, name) of what arrived since the last call."""
        found = []
        try:
            events = os.read(self.descriptor, 1 << 16)
        except OSError:
            return []
        while events:
            number, _, _, length = struct.unpack_from("iIII", events)
            name = events[16 : 16 + length].rstrip(b"\0")
            events = events[16 + length :]
            if name and number in self._folders:
                found.append((self._folders[number], os.fsdecode(name)))
        return found


# --- what is kept and told -----------------------------------------------------------------------


class Log:
    """The job's output in segments of exactly ``segment_bytes``, each named by the offset of its first byte.

    Offsets count from the first byte of the attempt and stay true when old segments are dropped, so a reader
    knows from an offset alone which file holds it. A full disk loses output, never the job: what was lost is
    counted and said as soon as there is room.
    """

    def __init__(self, folder: str, segment_bytes: int, total_bytes: int) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._keep = max(2, total_bytes // segment_bytes)
        self._descriptor = -1
        self._lost = 0
        self._echo = True
        os.makedirs(folder, exist_ok=True)
        self._starts = sorted(
            int(name[:-4]) for name in os.listdir(folder) if re.fullmatch(r"\d+\.log", name)
        )
        self.end = self._starts[-1] + os.path.getsize(self._path(self._starts[-1])) if self._starts else 0
        try:
            os.set_blocking(1, False)
        except OSError:
            self._echo = False

    @property
    def start(self) -> int:
        """The oldest offset that is still there."""
        return self._starts[0] if self._starts else self.end

    def say(self, text: str) -> None:
        """A line of the watchdog's own."""
        self.write(("[launch] %s\n" % text).encode("utf-8", "replace"))

    def write(self, data: bytes) -> None:
        """Append to the segments, and show it in the pane as far as the pane keeps up."""
        self._show(data)
        try:
            if self._lost:
                lost, self._lost = self._lost, 0
                notice = "\n[launch] %d bytes of output are missing here: the disk was full\n" % lost
                self._append(notice.encode(), on_failure=lost)
            self._append(data, on_failure=len(data))
        except OSError:
            pass

    def _append(self, data: bytes, on_failure: int) -> None:
        written = 0
        try:
            while written < len(data):
                room = self._segment_bytes - self.end % self._segment_bytes
                if self._descriptor < 0 or room == self._segment_bytes:
                    self._open_segment()
                count = os.write(self._descriptor, data[written : written + room])
                self.end += count
                written += count
        except OSError:
            self._lost += max(0, on_failure - written)
            raise

    def _open_segment(self) -> None:
        start = self.end - self.end % self._segment_bytes
        descriptor = os.open(self._path(start), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        if start not in self._starts:
            self._starts.append(start)
        while len(self._starts) > self._keep:
            remove(self._path(self._starts.pop(0)))

    def _show(self, data: bytes) -> None:
        """Never wait for the pane: somebody may have stopped it with Ctrl-S."""
        if self._echo:
            try:
                os.write(1, data)
            except BlockingIOError:
                pass
            except OSError:
                self._echo = False

    def _path(self, start: int) -> str:
        return os.path.join(self._folder, "%015d.log" % start)


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


class Metrics:
    """Follows ``metrics.jsonl``: the newest value of every number, the step, and steps per second."""

    READ_BYTES = 1 << 20
    WINDOW_S = 120.0
    MOST_NAMES = 200

    def __init__(self, path: str) -> None:
        self._path = path
        self._rest = b""
        self._steps: Deque[Tuple[float, float]] = collections.deque()
        self.values: Dict[str, float] = {}
        self.bytes = self._end_last_line()

    def _end_last_line(self) -> int:
        """A program that was killed in the middle of a line must not spoil the first line of the next."""
        try:
            with open(self._path, "ab+") as file:
                size = file.tell()
                if size:
                    file.seek(size - 1)
                    if file.read(1) != b"\n":
                        size += file.write(b"\n")
                return size
        except OSError:
            return 0

    def read(self) -> bool:
        """Take in what was appended; True when there was something."""
        try:
            size = os.stat(self._path).st_size
            if size < self.bytes:  # the program began the file anew
                self.bytes, self._rest = 0, b""
            if size == self.bytes:
                return False
            with open(self._path, "rb") as file:
                file.seek(self.bytes)
                data = file.read(self.READ_BYTES)
        except OSError:
            return False
        self.bytes += len(data)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._take(line)
        self._note_step()
        return True

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(record, dict):
            return
        for name, value in record.items():
            known = name in self.values or len(self.values) < self.MOST_NAMES
            if known and isinstance(value, (int, float)) and not isinstance(value, bool):
                self.values[name] = value

    def _note_step(self) -> None:
        step = self.values.get("step")
        if step is None or step != step:
            return
        now = time.monotonic()
        if self._steps and step < self._steps[-1][1]:
            self._steps.clear()
        self._steps.append((now, step))
        while len(self._steps) > 2 and now - self._steps[0][0] > self.WINDOW_S:
            self._steps.popleft()

    def summary(self) -> Dict[str, Any]:
        """For ``status.json``; numbers that JSON does not have are given as text."""
        first, last = (self._steps[0], self._steps[-1]) if self._steps else ((0.0, 0.0), (0.0, 0.0))
        rate = (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else None
        finite = float("-inf"), float("inf")
        plain = {
            name: value if finite[0] < value < finite[1] else str(float(value))
            for name, value in self.values.items()
        }
        return {
            "bytes": self.bytes,
            "step": plain.get("step"),
            "total": plain.get("total"),
            "steps_per_s": rate,
            "values": plain,
        }


# --- checkpoints -----------------------------------------------------------------------------------


def files_of(entry: str) -> List[Tuple[str, os.stat_result]]:
    """(path relative to the entry's own folder, stat) of the regular files of a checkpoint, sorted."""
    info = os.lstat(entry)
    base = os.path.dirname(entry)
    if stat.S_ISREG(info.st_mode):
        return [(os.path.basename(entry), info)]
    found = []
    for folder, _, names in os.walk(entry):
        for name in names:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode):
                found.append((os.path.relpath(path, base), info))
    return sorted(found, key=lambda item: os.fsencode(item[0]))


def signature_of(files: List[Tuple[str, os.stat_result]]) -> Tuple[Any, ...]:
    """Changes whenever a file of the checkpoint does."""
    return tuple((name, info.st_size, info.st_mtime_ns, info.st_ino) for name, info in files)


def sha256_of(path: str) -> str:
    """Digest of a file's bytes, as hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def digest_lines(entry: str, files: List[Tuple[str, os.stat_result]]) -> bytes:
    """The text of ``<entry>.sha256`` in the format of sha256sum; names are relative to the checkpoint folder."""
    base = os.path.dirname(entry)
    lines = []
    for name, _ in files:
        digest = sha256_of(os.path.join(base, name))
        raw = os.fsencode(name)
        escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        lines.append((b"\\" if escaped != raw else b"") + digest.encode() + b"  " + escaped + b"\n")
    return b"".join(lines)


ESCAPES = {b"n": b"\n", b"r": b"\r", b"\\": b"\\"}


def read_digests(path: str) -> Dict[str, str]:
    """name -> digest from a file in the format of sha256sum; empty when it is not one."""
    found = {}
    with open(path, "rb") as file:
        for line in file.read().split(b"\n"):
            match = re.fullmatch(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)", line)
            if match:
                name = match.group(3)
                if match.group(1):
                    name = re.sub(rb"\\([nr\\])", lambda escape: ESCAPES[escape.group(1)], name)
                found[os.fsdecode(name)] = match.group(2).decode().lower()
    return found


def fault_of(entry: str) -> Optional[str]:
    """Why a checkpoint is not what its digest says; None when it is."""
    name = os.path.basename(entry)
    try:
        digests = read_digests(entry + DIGEST_SUFFIX)
        files = [relative for relative, _ in files_of(entry)]
        if os.path.isfile(entry):
            written = [digest for path, digest in digests.items() if os.path.basename(path) == name]
            digests = {name: written[0]} if written else {}
        if not digests:
            return "its digest file names no file of it"
        for relative, digest in sorted(digests.items()):
            relative = os.path.normpath(relative)
            if relative not in files:
                return "%s is missing" % relative
            if sha256_of(os.path.join(os.path.dirname(entry), relative)) != digest:
                return "%s does not match its digest" % relative
    except OSError as error:
        return str(error)
    return None


class Checkpoint(NamedTuple):
    """A complete one."""

    name: str
    size_bytes: int
    modified: float


class Checkpoints:
    """Knows which entries of the checkpoint folder are complete, and gives each a digest.

    Complete is what arrived by rename, or did not change between two scans, or was left by a program that ended
    well. What lay there at the start without a good digest may be the half of a file whose writer was killed:
    it is not touched and not used until it changes.
    """

    def __init__(self, folder: str, worker: Worker, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._worker = worker
        self._say = say
        self._seen: Dict[str, Tuple[Any, ...]] = {}
        self._refused: Dict[str, Tuple[Any, ...]] = {}
        self._hashing: Set[str] = set()
        self._renamed: Set[str] = set()
        self._complete: Dict[str, Tuple[Tuple[Any, ...], Checkpoint]] = {}

    def newest_good(self, done: Callable[[Optional[str]], None]) -> None:
        """Look at what is there before the job starts; ``done`` gets the path of the newest one that verifies."""
        for name, files in self._entries():
            if self._has_digest(name, files):
                self._complete[name] = (signature_of(files), self._describe(name, files))
            else:
                self._refused[name] = signature_of(files)
                self._say("checkpoint %s has no digest: it may be half of one, so it is not used" % name)
        candidates = [checkpoint.name for checkpoint in reversed(self.complete())]
        self._worker.submit(lambda: self._verify(candidates), lambda result: self._verified(result, done))

    def _verify(self, names: List[str]) -> Tuple[Optional[str], Dict[str, str]]:
        faults: Dict[str, str] = {}
        for name in names:
            fault = fault_of(os.path.join(self._folder, name))
            if fault is None:
                return name, faults
            faults[name] = fault
        return None, faults

    def _verified(self, result: Any, done: Callable[[Optional[str]], None]) -> None:
        name, faults = result
        for broken, fault in faults.items():
            self._refused[broken] = self._complete.pop(broken)[0]
            instead = (
                "going back to %s" % name
                if name
                else "and there is no older one: starting from the beginning"
            )
            self._say("CHECKPOINT %s IS BROKEN (%s): %s" % (broken, fault, instead))
        done(name)

    def renamed(self, name: str) -> None:
        """An entry arrived by rename: it is complete."""
        if is_checkpoint_name(name):
            self._renamed.add(name)

    def scan(self, accept_all: bool = False) -> None:
        """Look for entries that are complete now; ``accept_all`` when nobody is left who could be writing."""
        present = set()
        for name, files in self._entries():
            present.add(name)
            signature = signature_of(files)
            if self._refused.get(name) == signature or name in self._hashing:
                continue
            if name in self._complete and self._complete[name][0] == signature:
                continue
            settled = accept_all or name in self._renamed or self._seen.get(name) == signature
            self._seen[name] = signature
            if settled:
                self._settle(name, files)
        for name in set(self._complete) - present:
            del self._complete[name]

    def complete(self) -> List[Checkpoint]:
        """Oldest first."""
        found = (checkpoint for _, checkpoint in self._complete.values())
        return sorted(found, key=lambda checkpoint: (checkpoint.modified, natural(checkpoint.name)))

    def busy(self) -> bool:
        """Digests are being made."""
        return bool(self._hashing)

    def _entries(self) -> Iterable[Tuple[str, List[Tuple[str, os.stat_result]]]]:
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:
            return
        for name in names:
            if is_checkpoint_name(name):
                try:
                    files = [] if os.path.islink(self._path(name)) else files_of(self._path(name))
                except OSError:
                    continue
                if any(info.st_size for _, info in files):
                    yield name, files

    def _settle(self, name: str, files: List[Tuple[str, os.stat_result]]) -> None:
        if self._has_digest(name, files):
            self._accept(name, files)
            return
        self._hashing.add(name)
        entry = self._path(name)
        self._worker.submit(
            lambda: digest_lines(entry, files), lambda lines: self._hashed(name, files, lines)
        )

    def _hashed(self, name: str, files: List[Tuple[str, os.stat_result]], lines: Any) -> None:
        self._hashing.discard(name)
        try:
            unchanged = signature_of(files_of(self._path(name))) == signature_of(files)
            if isinstance(lines, bytes) and unchanged:
                if not self._has_digest(name, files):
                    replace_file(self._path(name) + DIGEST_SUFFIX, lines, durable=True)
                self._accept(name, files)
        except OSError as error:
            self._say("no digest for checkpoint %s: %s" % (name, error))

    def _accept(self, name: str, files: List[Tuple[str, os.stat_result]]) -> None:
        self._renamed.discard(name)
        self._complete[name] = (signature_of(files), self._describe(name, files))

    def _has_digest(self, name: str, files: List[Tuple[str, os.stat_result]]) -> bool:
        """A digest that is older than the entry belongs to what had this name before."""
        try:
            written_ns = os.stat(self._path(name) + DIGEST_SUFFIX).st_mtime_ns
        except OSError:
            return False
        return all(info.st_mtime_ns <= written_ns for _, info in files)

    def _describe(self, name: str, files: List[Tuple[str, os.stat_result]]) -> Checkpoint:
        size = sum(info.st_size for _, info in files)
        return Checkpoint(name, size, max(info.st_mtime for _, info in files))

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)


def is_checkpoint_name(name: str) -> bool:
    """Digests, hidden names and the usual names of files in the making are none."""
    return not name.startswith(".") and not name.endswith((DIGEST_SUFFIX, ".tmp", ".part", ".partial", "~"))


def natural(name: str) -> List[Tuple[int, str]]:
    """Sorts step_9 before step_10."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


# --- the machine -----------------------------------------------------------------------------------


class Helper:
    """A short command that runs beside the job: it ends within ``timeout_s`` and its output is small."""

    def __init__(self, argv: List[str], timeout_s: float, done: Callable[[int, str], None]) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._done = done
        self.pid = self._process.pid
        self.due = time.monotonic() + timeout_s

    def ended(self, code: int) -> None:
        """It was reaped: read what it said."""
        self._process.returncode = code
        assert self._process.stdout is not None
        with self._process.stdout as output:
            os.set_blocking(output.fileno(), False)
            self._done(code, (output.read() or b"").decode("utf-8", "replace"))


class Gpu(NamedTuple):
    """All GPUs of the machine together; None for what cannot be read."""

    percent: Optional[float]
    memory_used_gib: Optional[float] = None
    memory_total_gib: Optional[float] = None
    power_w: Optional[float] = None
    temperature_c: Optional[float] = None


NVIDIA_QUERY = "utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu"


def gpu_command() -> Optional[List[str]]:
    """The command that reports GPU use here, if there is one."""
    if shutil.which("nvidia-smi"):
        return ["nvidia-smi", "--query-gpu=" + NVIDIA_QUERY, "--format=csv,noheader,nounits"]
    if shutil.which("rocm-smi"):
        return ["rocm-smi", "--showuse", "--showmeminfo", "vram", "--json"]
    return None


def parse_nvidia(text: str) -> Optional[Gpu]:
    """Mean use, summed memory and power, highest temperature; None when there is no GPU in the answer."""
    rows = [[number(part) for part in line.split(",")] for line in text.splitlines() if line.count(",") == 4]
    if not rows:
        return None
    column = [[row[at] for row in rows if row[at] is not None] for at in range(5)]
    values: List[List[float]] = [[value for value in part if value is not None] for part in column]
    use, used, total, power, heat = values
    mib = 1024.0
    return Gpu(
        sum(use) / len(use) if use else None,
        sum(used) / mib if used else None,
        sum(total) / mib if total else None,
        sum(power) if power else None,
        max(heat) if heat else None,
    )


def parse_rocm(text: str) -> Optional[Gpu]:
    """The same from ``rocm-smi --json``, whose keys differ between versions."""
    try:
        cards = [card for card in json.loads(text).values() if isinstance(card, dict)]
    except (ValueError, AttributeError):
        return None

    def values(wanted: str) -> List[float]:
        found = [number(str(value)) for card in cards for key, value in card.items() if wanted in key.lower()]
        return [value for value in found if value is not None]

    use = values("gpu use")
    used, total = values("total used memory"), values("total memory")
    gib = float(1 << 30)
    return Gpu(
        sum(use) / len(use) if use else None,
        sum(used) / gib if used else None,
        sum(total) / gib if total else None,
    )


def number(text: str) -> Optional[float]:
    """A number, or None for ``[N/A]`` and the like."""
    try:
        return float(text.strip())
    except ValueError:
        return None


class HostMetrics:
    """Appends a row to ``system.csv`` every few seconds; each column is empty where it cannot be read."""

    HEADER = (
        "time,cpu_percent,memory_used_gib,memory_total_gib,disk_used_gib,disk_free_gib,"
        "gpu_percent,gpu_memory_used_gib,gpu_memory_total_gib,gpu_power_w,gpu_temperature_c\n"
    )

    def __init__(self, path: str, folder: str) -> None:
        self._path = path
        self._folder = folder
        self._cpu = self._cpu_times()

    def write_row(self, gpu: Optional[Gpu]) -> None:
        """Sample and append; a full disk costs the row."""
        columns = [self._cpu_percent(), *self._memory(), *self._disk(), *(gpu or Gpu(None))]
        row = ",".join([utc()] + ["" if value is None else "%.2f" % value for value in columns]) + "\n"
        try:
            with open(self._path, "a") as file:
                file.write(row if file.tell() else self.HEADER + row)
        except OSError:
            pass

    def _cpu_times(self) -> Tuple[float, float]:
        first = read_text("/proc/stat").partition("\n")[0].split()
        if len(first) < 6:
            return 0.0, 0.0
        times = [float(part) for part in first[1:9]]
        idle = times[3] + times[4]
        return sum(times) - idle, sum(times)

    def _cpu_percent(self) -> Optional[float]:
        before, self._cpu = self._cpu, self._cpu_times()
        whole = self._cpu[1] - before[1]
        return 100.0 * (self._cpu[0] - before[0]) / whole if whole > 0 else None

    def _memory(self) -> Tuple[Optional[float], Optional[float]]:
        kib = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+)", read_text("/proc/meminfo"), re.MULTILINE))
        if len(kib) < 2:
            return None, None
        total = int(kib["MemTotal"]) / (1 << 20)
        return total - int(kib["MemAvailable"]) / (1 << 20), total

    def _disk(self) -> Tuple[Optional[float], Optional[float]]:
        try:
            info = os.statvfs(self._folder)
        except OSError:
            return None, None
        block = info.f_frsize / (1 << 30)
        return (info.f_blocks - info.f_bfree) * block, info.f_bavail * block


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed since boot because memory ran out."""
    found = re.search(r"^oom_kill (\d+)$", read_text("/proc/vmstat"), re.MULTILINE)
    return int(found.group(1)) if found else 0


# --- the provider's words, as data -------------------------------------------------------------------


def http(request: Dict[str, Any], timeout_s: float) -> Tuple[int, str]:
    """Send a request, past any proxy: metadata services are on the machine's own link. (status, text)."""
    import urllib.error
    import urllib.request

    body = request.get("body")
    prepared = urllib.request.Request(
        request["url"],
        data=None if body is None else body.encode(),
        headers=dict(request.get("headers") or {}),
        method=request.get("method", "GET"),
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(prepared, timeout=timeout_s) as answer:
            return answer.status, answer.read(1 << 16).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


class NoticeProbe:
    """Asks whether the machine is about to be taken away, as `run.json` says how."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        self._spec = spec
        self._match = re.compile(spec["match"])
        self.interval_s = float(spec["interval_s"])

    @property
    def is_file(self) -> bool:
        """Looking at a file needs no thread."""
        return str(self._spec["url"]).startswith("file:")

    def ask(self) -> Optional[str]:
        """The notice's text, or None when there is none; an unreachable service is no notice."""
        text = self._file() if self.is_file else self._http()
        return text.strip() or "notice" if text is not None and self._match.search(text) else None

    def _file(self) -> Optional[str]:
        from urllib.parse import unquote, urlsplit

        path = unquote(urlsplit(self._spec["url"]).path)
        return read_text(path) if os.path.exists(path) else None

    def _http(self) -> Optional[str]:
        timeout_s = max(1.0, min(self.interval_s, 5.0))
        headers = dict(self._spec.get("headers") or {})
        if self._spec.get("token_request"):
            code, token = http(self._spec["token_request"], timeout_s)
            if code == 200:
                headers[self._spec["token_header"]] = token.strip()
        code, text = http({"method": "GET", "url": self._spec["url"], "headers": headers}, timeout_s)
        return text if code == 200 else None


# --- the watchdog ----------------------------------------------------------------------------------


class Timer:
    """Something to do every ``interval_s``."""

    def __init__(self, interval_s: float, act: Callable[[], None]) -> None:
        self.interval_s = interval_s
        self.act = act
        self.due = time.monotonic() + interval_s

    def run_if_due(self, now: float) -> None:
        """Do it, and set the next time."""
        if now >= self.due:
            self.due = now + self.interval_s
            self.act()


class Watchdog:
    """One start of one stage, from the first step to the last descendant's end."""

    def __init__(self, config: Dict[str, Any], log: Log, status: Status) -> None:
        self.config = config
        self.paths: Dict[str, str] = config["paths"]
        self.log = log
        self.status = status
        self.steps: Deque[Dict[str, Any]] = collections.deque(config["steps"])
        self.step: Optional[Dict[str, Any]] = None
        self.job: Optional[subprocess.Popen[bytes]] = None
        self.helpers: Dict[int, Helper] = {}
        self.asked: Set[Tuple[int, str]] = set()
        self.leaving = False
        self.kill_at: Optional[float] = None
        self.finishing = False
        self.final_scan = False
        self.over = False
        self.step_began = self.setup_began = time.monotonic()
        self.oom_kills = out_of_memory_kills()
        self.soft_deadline = epoch(config["soft_deadline"])
        self.hard_deadline = epoch(config["hard_deadline"])
        self.wake_read, self.wake_write = os.pipe()
        self.output_read, self.output_write = os.pipe()
        for descriptor in (self.wake_read, self.wake_write, self.output_read):
            os.set_blocking(descriptor, False)
        self.hasher = Worker(self.wake)
        self.network = Worker(self.wake)
        self.metrics = Metrics(self.paths["metrics"])
        self.checkpoints = Checkpoints(self.paths["checkpoints"], self.hasher, self.log.say)
        self.watch = FolderWatch()
        self.host = HostMetrics(self.paths["system"], self.paths["run"])
        self.gpu_command = gpu_command()
        self.gpu_busy_at: Optional[float] = None
        self.cpu_seen: Deque[Tuple[float, Dict[int, int]]] = collections.deque()
        self.probe = NoticeProbe(config["notice"]) if config["notice"] else None
        self.timers = self._timers()

    def _timers(self) -> List[Timer]:
        every = self.config["intervals"]
        timers = [
            Timer(every["tick_s"], self._tick),
            Timer(every["heartbeat_s"], self.status.write),
            Timer(every["scan_s"], self._scan),
            Timer(every["sample_s"], self._sample),
        ]
        if self.probe:
            timers.append(Timer(self.probe.interval_s, self._ask_for_notice))
        return timers

    # The loop: everything below is called from here, in one thread.

    def run(self) -> None:
        """Run the steps; returns when every descendant is gone and the last word is written."""
        self._catch_signals()
        with selectors.DefaultSelector() as selector:
            selector.register(self.wake_read, selectors.EVENT_READ, self._woken)
            selector.register(self.output_read, selectors.EVENT_READ, self._copy_output)
            if self.watch.descriptor >= 0:
                selector.register(self.watch.descriptor, selectors.EVENT_READ, self._arrived)
                self.watch.add(self.paths["control"])
                self.watch.add(self.paths["checkpoints"])
            self._sample()
            self.checkpoints.newest_good(self._begin)
            self._look_for_signals()
            while not self.over:
                wait = max(0.0, min(timer.due for timer in self.timers) - time.monotonic())
                for key, _ in selector.select(wait):
                    key.data()
                now = time.monotonic()
                for timer in self.timers:
                    timer.run_if_due(now)

    def wake(self) -> None:
        """Called by threads: have the loop look at their results."""
        with contextlib.suppress(BlockingIOError):  # full: it is about to wake up anyway
            os.write(self.wake_write, b"\0")

    def _catch_signals(self) -> None:
        # Functions and not SIG_IGN: what is ignored would be ignored by the job's processes too.
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def _woken(self) -> None:
        try:
            numbers = os.read(self.wake_read, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in numbers:
            self.ask_to_leave("notice", "the watchdog was told to end: the machine is shutting down")
        if signal.SIGINT in numbers:
            self.log.say("Ctrl-C does nothing here; `launch stop %s` saves and ends" % self.config["run_id"])
        self._reap()
        self.hasher.take()
        self.network.take()
        self._maybe_finish()

    def _copy_output(self) -> bool:
        try:
            data = os.read(self.output_read, 1 << 16)
        except BlockingIOError:
            return False
        self.log.write(data)
        return bool(data)

    def _arrived(self) -> None:
        renamed = False
        for folder, name in self.watch.arrivals():
            if folder == self.paths["checkpoints"]:
                self.checkpoints.renamed(name)
                renamed = True
        self._look_for_signals()
        if renamed:
            self.checkpoints.scan()

    def _tick(self) -> None:
        """Once a second: the wall clock, which may have jumped, and whatever no event announces."""
        now = time.time()
        if self.hard_deadline is not None and now >= self.hard_deadline:
            self.kill("deadline", "the hard deadline has passed")
        elif self.soft_deadline is not None and now >= self.soft_deadline:
            self.ask_to_leave("deadline", "the deadline has come")
        if self.kill_at is not None and time.monotonic() >= self.kill_at:
            self._kill_all()
        for helper in list(self.helpers.values()):
            if time.monotonic() >= helper.due:
                send(helper.pid, signal.SIGKILL)
        self._look_for_signals()
        self._reap()
        if self.metrics.read() or self.status.fields["log"]["bytes"] != self.log.end:
            self._update()
            self.status.write()
        self._maybe_finish()

    def _update(self) -> None:
        self.status.fields["log"] = {"start": self.log.start, "bytes": self.log.end}
        self.status.fields["metrics"] = self.metrics.summary()
        self.status.fields["checkpoints"] = [
            {"name": one.name, "size_bytes": one.size_bytes, "modified_at": utc(one.modified)}
            for one in self.checkpoints.complete()
        ]

    def _scan(self) -> None:
        self.watch.add(self.paths["checkpoints"])
        before = self.status.fields["checkpoints"]
        self.checkpoints.scan()
        self._update()
        if self.status.fields["checkpoints"] != before:
            self.status.write()

    # Steps.

    def _begin(self, resume_from: Optional[str]) -> None:
        path = os.path.join(self.paths["checkpoints"], resume_from) if resume_from else ""
        self.environ = job_environ(self.config, path)
        self.status.change(resumed_from=resume_from)
        if resume_from:
            self.log.say("resuming from checkpoint %s" % resume_from)
        self._next_step()

    def _next_step(self) -> None:
        if self.leaving:
            self._finish(EXIT_INTERRUPTED, self.status.fields["reason"])
            return
        while self.steps:
            step = self.steps.popleft()
            if step["once"] and os.path.exists(self._done_mark(step)):
                continue
            self._start(step)
            return
        self._finish(0, "the job ended with exit code 0")

    def _start(self, step: Dict[str, Any]) -> None:
        self.step = step
        self.step_began = time.monotonic()
        try:
            self.job = subprocess.Popen(
                step["argv"],
                stdin=subprocess.DEVNULL,
                stdout=self.output_write,
                stderr=self.output_write,
                cwd=self.paths["workdir"],
                env=self.environ,
                start_new_session=True,
            )
        except OSError as error:
            self.log.say("%s cannot be started: %s" % (step["name"], error))
            self._finish(127, "%s cannot be started: %s" % (step["name"], error))
            return
        prefer_as_victim(self.job.pid)
        process = look_at(self.job.pid)
        if step["name"] == "run":
            self.gpu_busy_at = time.monotonic()
            if self.status.fields["setup_s"] is None:
                self.status.fields["setup_s"] = round(time.monotonic() - self.setup_began, 3)
        self.status.change(
            phase="running" if step["name"] == "run" else "setup",
            step=step["name"],
            job={"pid": self.job.pid, "started": process.started if process else ""},
        )

    def _step_ended(self, code: int) -> None:
        step, self.step, self.job = self.step, None, None
        assert step is not None
        while self._copy_output():
            pass
        if code == 0 and step["once"]:
            replace_file(self._done_mark(step), b"")
        if code == 0 and self.steps:
            self._next_step()
            return
        self._finish(code, self._describe_end(step, code))

    def _describe_end(self, step: Dict[str, Any], code: int) -> str:
        what = "the job" if step["name"] == "run" else step["name"]
        if code > 128:
            text = "%s was ended by signal %d" % (what, code - 128)
            if code == 137 and out_of_memory_kills() > self.oom_kills:
                text += ": the machine ran out of memory"
        else:
            text = "%s ended with exit code %d" % (what, code)
        reason = self.status.fields["reason"]
        return "%s; %s" % (reason, text) if reason else text

    def _done_mark(self, step: Dict[str, Any]) -> str:
        return os.path.join(self.paths["stage_control"], "%s-%s.done" % (step["name"], step["once"]))

    # Children.

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            if pid in self.helpers:
                self.helpers.pop(pid).ended(code)
            elif self.job is not None and pid == self.job.pid:
                self.job.returncode = code
                self._step_ended(code)
            if self.leaving:
                self._ask_programs()

    def _living(self) -> List[Process]:
        found = descendants(process_table(), os.getpid())
        return [process for process in found if process.pid not in self.helpers]

    def ask_to_leave(self, cause: str, reason: str) -> None:
        """SIGTERM to the job, SIGKILL after the grace period. The first cause counts, and it is written first."""
        if self.leaving or self.finishing:
            return
        self.leaving = True
        grace_s = self.config["grace_s"]
        self.kill_at = time.monotonic() + grace_s
        self.status.change(cause=cause, reason=reason, phase="leaving")
        self.log.say("%s (%s): SIGTERM, and SIGKILL after %g s" % (reason, cause, grace_s))
        self._ask_programs()

    def _ask_programs(self) -> None:
        """SIGTERM to the programs, and to what they leave behind when they end; to each once."""
        table = process_table()
        children = [process for process in table.values() if process.parent == os.getpid()]
        roots = [child for child in children if child.pid not in self.helpers and not child.zombie]
        for process in programs_to_ask(table, roots):
            if (process.pid, process.started) not in self.asked:
                self.asked.add((process.pid, process.started))
                send(process.pid, signal.SIGTERM)
                send(process.pid, signal.SIGCONT)

    def kill(self, cause: str, reason: str) -> None:
        """SIGKILL at once."""
        if self.over:
            return
        if not self.leaving and not self.finishing:
            self.status.change(cause=cause, reason=reason, phase="leaving")
            self.log.say("%s (%s): SIGKILL" % (reason, cause))
        self.leaving = True
        self.kill_at = time.monotonic()
        self._kill_all()

    def _kill_all(self) -> None:
        living = self._living()
        if living and "was killed" not in self.status.fields["reason"]:
            late = "it had not left in time and was killed"
            self.status.fields["reason"] = "; ".join(filter(None, (self.status.fields["reason"], late)))
            self.log.say("killing %s" % name_them(living))
        for process in living:
            send(process.pid, signal.SIGKILL)

    # The end.

    def _finish(self, code: int, reason: str) -> None:
        """The steps are over; what they left running is waited for, or asked to leave after a failure."""
        self.finishing = True
        self.status.change(exit_code=code, reason=reason)
        self.log.say(reason)
        living = self._living()
        if living:
            self.log.say("waiting for what it left running: %s" % name_them(living))
        if living and (code != 0 or self.leaving):
            self._end_rest()
        self._maybe_finish()

    def _end_rest(self) -> None:
        self.leaving = True
        if self.kill_at is None:
            self.kill_at = time.monotonic() + self.config["grace_s"]
        self._ask_programs()

    def _maybe_finish(self) -> None:
        if not self.finishing or self.over:
            return
        if self._has_children():
            if not self.leaving:
                self._end_idle_rest()
            return
        while self._copy_output():
            pass
        if not self.final_scan:
            self.final_scan = True
            self._arrived()
            self.checkpoints.scan(accept_all=self.status.fields["exit_code"] in (0, EXIT_INTERRUPTED))
        killed = self.kill_at is not None and time.monotonic() >= self.kill_at
        if self.checkpoints.busy() and not killed:
            return
        self.over = True
        while self.metrics.read():
            pass
        self._update()
        self.status.finish(phase="ended", ended_at=utc())

    def _has_children(self) -> bool:
        try:
            return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None or bool(
                self._living() or self.helpers
            )
        except ChildProcessError:
            return False

    def _end_idle_rest(self) -> None:
        """A server that the job forgot would keep a rented machine for ever: end what does nothing."""
        now = time.monotonic()
        ticks = {process.pid: process.cpu_ticks for process in self._living()}
        if self.cpu_seen and self.cpu_seen[-1][1].keys() != ticks.keys():
            self.cpu_seen.clear()
        self.cpu_seen.append((now, ticks))
        window_s = now - self.cpu_seen[0][0]
        if not LINUX or window_s < self.config["leftover_idle_s"]:
            return
        first = self.cpu_seen.popleft()[1]
        busy_s = (sum(ticks.values()) - sum(first.values())) / os.sysconf("SC_CLK_TCK")
        if busy_s < 0.05 * window_s:
            self.log.say("what it left running is idle and ends now")
            self._end_rest()

    # What comes from outside.

    def _look_for_signals(self) -> None:
        """The launcher's wishes are files: they stay true however often they are written or read."""
        for name, act in (("kill", self.kill), ("save", self.ask_to_leave)):
            wish = read_json(os.path.join(self.paths["control"], name + ".json"))
            if wish is not None and self.status.fields["signal"] not in (name, "kill"):
                self.status.fields["signal"] = name
                act(str(wish.get("cause", "stop")), str(wish.get("reason") or "asked by launch"))

    def _ask_for_notice(self) -> None:
        assert self.probe is not None
        if self.leaving or self.finishing or self.network.pending:
            return
        if self.probe.is_file:
            self._noticed(self.probe.ask())
        else:
            self.network.submit(self.probe.ask, self._noticed)

    def _noticed(self, text: Any) -> None:
        if isinstance(text, str):
            self.ask_to_leave("notice", "the machine is about to be taken away: %s" % text[:200])

    def _sample(self) -> None:
        if self.gpu_command is None or self.finishing:
            self.host.write_row(None)
            return
        if not self.helpers:
            try:
                helper = Helper(self.gpu_command, 10.0, self._sampled)
            except OSError:
                self.gpu_command = None
                return
            self.helpers[helper.pid] = helper

    def _sampled(self, code: int, text: str) -> None:
        assert self.gpu_command is not None
        parse = parse_nvidia if self.gpu_command[0] == "nvidia-smi" else parse_rocm
        gpu = parse(text) if code == 0 else None
        self.host.write_row(gpu)
        idle_stop_s = self.config["idle_stop_s"]
        if gpu is None or gpu.percent is None or gpu.percent >= 5.0:
            self.gpu_busy_at = time.monotonic() if self.gpu_busy_at is not None else None
        elif idle_stop_s is not None and self.gpu_busy_at is not None:
            idle_s = time.monotonic() - self.gpu_busy_at
            if idle_s >= idle_stop_s:
                self.ask_to_leave("idle", "the GPU has done nothing for %d min" % (idle_s // 60))


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


def job_environ(config: Dict[str, Any], resume_from: str) -> Dict[str, str]:
    """The environment of every step; secrets are read from their private file, which is then deleted."""
    environ = {name: value for name, value in os.environ.items() if name not in INHERITED_NO_LONGER}
    environ.setdefault("PYTHONUNBUFFERED", "1")
    environ.update(config["environ"])
    path = [*config["path_prefix"], environ.get("PATH", os.defpath)]
    environ.update(PATH=os.pathsep.join(path), LAUNCH_RESUME_FROM=resume_from)
    secrets = os.path.join(config["paths"]["control"], "secrets.json")
    environ.update(read_json(secrets) or {})
    remove(secrets)
    return environ


# --- a start, from outside -----------------------------------------------------------------------------


def take_lock(path: str, wait_s: float, give_up: Callable[[], bool]) -> Optional[int]:
    """An exclusive lock that ends with this process; None when it could not be had or is no longer wanted."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while not give_up():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if time.monotonic() >= deadline:
                break
            time.sleep(0.05)
    os.close(descriptor)
    return None


def first_status(config: Dict[str, Any]) -> Dict[str, Any]:
    """All fields of ``status.json``, before anything has happened."""
    me = look_at(os.getpid())
    given = {name: config[name] for name in ("run_id", "attempt", "stage", "start")}
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
        "metrics": {"bytes": 0, "step": None, "total": None, "steps_per_s": None, "values": {}},
        "checkpoints": [],
        "resumed_from": None,
        "setup_s": None,
    }


def earlier_sessions(stage_control: str) -> Dict[int, str]:
    """Sessions of jobs that earlier starts of this stage recorded during this boot."""
    found = {}
    boot = boot_id()
    for name in os.listdir(stage_control):
        status = read_json(os.path.join(stage_control, name, "status.json"))
        if isinstance(status, dict) and status.get("boot_id") == boot and status.get("job"):
            found[int(status["job"]["pid"])] = str(status["job"]["started"])
    return found


def leftovers_of(config: Dict[str, Any]) -> List[Process]:
    """What earlier starts of this stage left running."""
    paths = config["paths"]
    return leftovers(paths["run"], config["stage"], earlier_sessions(paths["stage_control"]))


def start(runfile: str) -> int:
    """Run the start that ``run.json`` describes, unless that was done before."""
    config = read_config(runfile)
    paths = config["paths"]
    status_path = os.path.join(paths["control"], "status.json")

    def begun_before() -> bool:
        return os.path.exists(status_path)

    lock = take_lock(os.path.join(paths["stage_control"], "lock"), config["lock_wait_s"], begun_before)
    if begun_before():
        return 0
    status = Status(status_path, first_status(config))
    if lock is None:
        reason = "another start of this stage still runs"
        status.finish(phase="ended", exit_code=1, reason=reason, ended_at=utc())
        return 1
    arm_guard(config)
    adopt_orphans()
    status.change()
    log = Log(paths["segments"], config["log"]["segment_bytes"], config["log"]["total_bytes"])
    left = end_leftovers(lambda: leftovers_of(config), config["grace_s"])
    if left:
        log.say("an earlier watchdog had been killed; ended what it left running: %s" % name_them(left))
    Watchdog(config, log, status).run()
    return 0


def sweep(runfile: str) -> int:
    """Kill the watchdog of this start and everything of its stage that still runs."""
    config = read_config(runfile)
    status = read_json(os.path.join(config["paths"]["control"], "status.json")) or {}
    recorded = status.get("watchdog") or {"pid": 0, "started": ""}
    watchdog = look_at(recorded["pid"]) if status.get("boot_id") == boot_id() else None
    if watchdog is not None and watchdog.started == recorded["started"]:
        send(watchdog.pid, signal.SIGKILL)
    end_leftovers(lambda: leftovers_of(config), 0.0)
    remove(os.path.join(config["paths"]["control"], "secrets.json"))
    return 0


def read_config(path: str) -> Dict[str, Any]:
    """``run.json``; ends the program with words when it is missing or of another version."""
    config: Any = read_json(path)
    if not isinstance(config, dict) or config.get("schema") != SCHEMA:
        found = config.get("schema") if isinstance(config, dict) else None
        sys.exit("%s: expected a run file of schema %d, found %r" % (path, SCHEMA, found))
    return config


# --- the guard of the hard deadline --------------------------------------------------------------------


def arm_guard(config: Dict[str, Any]) -> None:
    """Have a process of its own destroy the machine at the hard deadline, also when this one is long dead.

    It is started before this process adopts orphans, so that nobody waits for it.
    """
    path = os.path.join(config["paths"]["run"], "control", "deadline.json")
    if not (config["hard_deadline"] and config["self_destroy"]):
        remove(path)
        return
    told = {name: config[name] for name in ("hard_deadline", "self_destroy")}
    replace_file(path, json.dumps({"schema": SCHEMA, **told}).encode(), mode=0o600, durable=True)
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-I", "-S", os.path.abspath(__file__), "guard", path]
    subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, check=False)


def guard(path: str, interval_s: float = 1.0, retry_s: float = 10.0) -> int:
    """Wait for the hard deadline and destroy the machine, again and again until that has worked.

    One per run folder. It follows changes of the file, and ends when the file is removed.
    """
    lock = take_lock(path + ".lock", 0.0, lambda: False)
    if lock is None or os.fork():
        return 0
    while True:
        told = read_json(path)
        if told is None:
            return 0
        if time.time() < (epoch(told["hard_deadline"]) or 0.0):
            time.sleep(interval_s)
            continue
        time.sleep(6 * retry_s if destroy(told["self_destroy"]) else retry_s)


def destroy(how: Dict[str, Any]) -> bool:
    """Send the request or run the command that ends this machine; False when it was refused."""
    try:
        if "argv" in how:
            command = subprocess.run(how["argv"], stdin=subprocess.DEVNULL, timeout=120.0, check=False)
            return command.returncode == 0
        return 200 <= http(how, 30.0)[0] < 300
    except (OSError, ValueError, subprocess.SubprocessError):
        return False


def main(arguments: List[str]) -> int:
    """See the top of this file."""
    modes: Dict[str, Callable[[str], int]] = {"sweep": sweep, "guard": guard}
    if len(arguments) == 2 and arguments[0] in modes:
        return modes[arguments[0]](arguments[1])
    if len(arguments) != 1:
        sys.exit("usage: watchdog.py [sweep|guard] FILE")
    return start(arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
