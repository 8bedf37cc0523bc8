"""Whom SIGTERM goes to: the programs of the job, and only they."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import signal
from typing import Dict, Iterable, List, Set

from .files import read_text
from .processes import Process

SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh"))
FILTERS = frozenset(("tee", "cat", "grep", "sed", "awk", "gawk", "mawk", "ts", "tr", "cut", "head", "tail"))


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
