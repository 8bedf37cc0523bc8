"""The processes of a machine that is really this computer: found by a mark in their environment, and ended.

Every process that is started on such a machine carries ``LAUNCH_MACHINE=<id>``. Its descendants belong to
it too, also when they cleaned their environment, unless they carry the mark of another machine.
"""

from __future__ import annotations

import enum
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.errors import CloudError
from provisioning.models import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


__all__ = [
    "MARK",
    "Process",
    "belonging",
    "end_all",
    "module_command",
    "parse_ps",
    "running",
    "start_detached",
]

MARK = "LAUNCH_MACHINE"
"""The environment variable whose value is the id of the machine that a process runs on."""

_NO_HANDLE = -1
_PS_LINE = re.compile(r"\s*(\d+)\s+(\d+)\s+(.*)")
_PS_MARK = re.compile(rf"(?:^|\s){MARK}=(\S+)")

LOOKS_AT_NEWBORN = 25
LOOKS_AT_EXEC = 1000
"""At a program that shows neither environment nor arguments: on a busy computer an ``exec`` may take long."""
NEWBORN_S = 0.002
"""Between two of them. Programs that really have no environment cost all of the first, together once."""


@dataclass(frozen=True, slots=True)
class Process:
    """A live process that we may look into."""

    pid: int
    parent: int
    machine: str | None
    """The value of its mark; None without one."""


def running(machine: str) -> list[int]:
    """Return the pids of one machine's processes, without the calling one."""
    return sorted(belonging(_processes(), machine) - {os.getpid()})


def belonging(processes: Iterable[Process], machine: str) -> set[int]:
    """Return the pids that carry ``machine``'s mark, or descend from one that does and carry no other mark."""
    found = {process.pid: process for process in processes}
    ours = {pid for pid, process in found.items() if process.machine == machine}
    while True:
        more = {
            pid
            for pid, process in found.items()
            if pid not in ours and process.machine is None and process.parent in ours
        }
        if not more:
            return ours
        ours |= more


def end_all(
    machine: str,
    *,
    deadline_s: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Kill (SIGKILL) every process of one machine except the calling one, and see them gone.

    Looks again until nothing is left, so that a process that was born meanwhile does not escape.

    Raises:
        CloudError: some would not die in ``deadline_s``; names them.
    """
    give_up_at = clock() + deadline_s
    while pids := running(machine):
        if clock() >= give_up_at:
            listed = ", ".join(map(str, pids))
            raise CloudError(
                f"processes of {machine} did not end within {deadline_s:g} s",
                left_behind=f"processes {listed} on this computer",
                hint=f"look at them with: ps -fp {','.join(map(str, pids))}",
            )
        _kill(pids, machine)
        sleep(0.005)


def module_command(module: str, *arguments: str) -> Command:
    """Return the command that runs a module of this product from any folder, installed or not."""
    root = str(Path(__file__).resolve().parent.parent)
    return Command(argv=("env", f"PYTHONPATH={root}", sys.executable, "-m", module, *arguments))


def start_detached(command: Command) -> None:
    """Start a process that outlives this one, in a session of its own, without a mark."""
    # The shell leaves at once, so that the process is nobody's child here and never a zombie of ours.
    subprocess.run(
        ["sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", *command.argv],
        start_new_session=True,
        cwd="/",
        env={name: value for name, value in os.environ.items() if name != MARK},
        check=True,
    )


def _kill(pids: Iterable[int], machine: str) -> None:
    """Kill processes, but none whose pid has meanwhile passed to a stranger (where the kernel can tell).

    All are stopped before the first is killed: as when power fails, no parent sees its child die and goes on.
    """
    handles: dict[int, int] = {}
    try:
        for pid in pids:
            with suppress(OSError):
                handles[pid] = _handle(pid)
        ours = belonging(_processes(), machine) & handles.keys()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in ours:
                with suppress(OSError):
                    _send(pid, handles[pid], number)
    finally:
        for handle in handles.values():
            if handle != _NO_HANDLE:
                os.close(handle)


def _handle(pid: int) -> int:
    """Hold a pid, which then cannot change hands unnoticed; systems other than Linux have no such handle."""
    return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else _NO_HANDLE


def _send(pid: int, handle: int, number: signal.Signals) -> None:
    if handle != _NO_HANDLE and hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(handle, number)
    else:
        os.kill(pid, number)


def _processes() -> list[Process]:
    if Path("/proc/self/environ").exists():
        return _from_all_of_proc()
    listing = subprocess.run(
        ["ps", "axeww", "-o", "pid=,ppid=,command="],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return parse_ps(listing.stdout)


def _from_all_of_proc() -> list[Process]:
    """Read ``/proc``. In the moment of its ``exec`` a program shows no environment: whoever shows none is read again."""
    found: list[Process] = []
    left = list(Path("/proc").iterdir())
    for look in range(LOOKS_AT_EXEC):
        if look:
            time.sleep(NEWBORN_S)
        unclear = []
        for entry in left:
            process, shown = _from_proc(entry)
            if shown.value > look + 1:
                unclear.append(entry)
            elif process is not None:
                found.append(process)
        left = unclear
        if not left:
            break
    return found


class _Shown(enum.Enum):
    """What a process shows of itself; the value says how many looks it takes to believe that."""

    ENOUGH = 1
    NO_ENVIRONMENT = LOOKS_AT_NEWBORN
    NO_ARGUMENTS_EITHER = LOOKS_AT_EXEC


def _from_proc(entry: Path) -> tuple[Process | None, _Shown]:
    """Read one folder of ``/proc``: None for what ended meanwhile, is a zombie, or belongs to somebody else."""
    if not entry.name.isdigit():
        return None, _Shown.ENOUGH
    try:
        state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
        environ = (entry / "environ").read_bytes()
    except (OSError, ValueError):
        return None, _Shown.ENOUGH
    if state in (b"Z", b"X"):
        return None, _Shown.ENOUGH
    prefix = f"{MARK}=".encode()
    marks = [variable[len(prefix) :] for variable in environ.split(b"\0") if variable.startswith(prefix)]
    machine = os.fsdecode(marks[0]) if marks and marks[0] else None
    shown = _Shown.ENOUGH if environ else _beside_environ(entry)
    return Process(int(entry.name), int(parent), machine), shown


def _beside_environ(entry: Path) -> _Shown:
    """Tell a program in its ``exec`` from one that was given no environment, and both from the kernel's threads."""
    if not _is_program(entry):
        return _Shown.ENOUGH
    try:
        arguments = (entry / "cmdline").read_bytes()
    except OSError:
        return _Shown.NO_ENVIRONMENT
    return _Shown.NO_ENVIRONMENT if arguments else _Shown.NO_ARGUMENTS_EITHER


def _is_program(entry: Path) -> bool:
    try:
        return bool((entry / "exe").readlink())
    except OSError:
        return False


def parse_ps(listing: str) -> list[Process]:
    """Read the output of ``ps axeww -o pid=,ppid=,command=``, which prints the environment after the command."""
    found = []
    for line in listing.splitlines():
        if match := _PS_LINE.match(line):
            mark = _PS_MARK.search(match[3])
            found.append(Process(int(match[1]), int(match[2]), mark[1] if mark else None))
    return found
