"""The job's processes, all of them: started here, adopted here, asked to leave, killed, and waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Callable, Dict, List, Optional, Set, Tuple

from .asking import programs_to_ask
from .processes import Process, descendants, look_at, process_table, send


class Helper:
    """A short command beside the job: it ends within ``timeout_s`` and its output is small."""

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


class Children:
    """What lives below this process. Since it adopts orphans, "no child left" means "no descendant left"."""

    def __init__(self, output: int, step_ended: Callable[[int], None]) -> None:
        """``output``: the descriptor that steps write to; ``step_ended`` gets the exit code of a step's own process."""
        self._output = output
        self._step_ended = step_ended
        self._step: Optional[subprocess.Popen[bytes]] = None
        self._helpers: Dict[int, Helper] = {}
        self._asked: Set[Tuple[int, str]] = set()
        self.any_left = False
        """Whether the last `reap` found that a descendant is left."""

    def start_step(self, argv: List[str], cwd: str, environ: Dict[str, str]) -> Tuple[int, str]:
        """Start a step in a session of its own; (pid, when it started)."""
        self._step = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            cwd=cwd,
            env=environ,
            start_new_session=True,
        )
        prefer_as_victim(self._step.pid)
        process = look_at(self._step.pid)
        return self._step.pid, process.started if process else ""

    def start_helper(self, argv: List[str], timeout_s: float, done: Callable[[int, str], None]) -> None:
        """Start a helper unless one is at work; ``done`` gets its exit code and output. OSError: it cannot start."""
        if not self._helpers:
            helper = Helper(argv, timeout_s, done)
            self._helpers[helper.pid] = helper

    def end_helpers(self, late_ones_only: bool) -> None:
        """Kill helpers that hang, or all of them."""
        for helper in self._helpers.values():
            if not late_ones_only or time.monotonic() >= helper.due:
                send(helper.pid, signal.SIGKILL)

    def reap(self) -> bool:
        """Take note of every child that has ended; True when there was one."""
        any_ended = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.any_left = False
                return any_ended
            if pid == 0:
                self.any_left = True
                return any_ended
            any_ended = True
            code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            if pid in self._helpers:
                self._helpers.pop(pid).ended(code)
            elif self._step is not None and pid == self._step.pid:
                self._step.returncode = code
                self._step = None
                self._step_ended(code)

    def living(self) -> List[Process]:
        """The job's processes, without helpers."""
        found = descendants(process_table(), os.getpid())
        return [process for process in found if process.pid not in self._helpers]

    def ask(self) -> None:
        """SIGTERM to the programs, and to what they left behind when they ended; to each once."""
        table = process_table()
        children = [process for process in table.values() if process.parent == os.getpid()]
        roots = [child for child in children if child.pid not in self._helpers and not child.zombie]
        for process in programs_to_ask(table, roots):
            if (process.pid, process.started) not in self._asked:
                self._asked.add((process.pid, process.started))
                send(process.pid, signal.SIGTERM)
                send(process.pid, signal.SIGCONT)  # a stopped one could not hear it

    def kill(self) -> List[Process]:
        """SIGKILL to all; returns whom."""
        living = self.living()
        for process in living:
            send(process.pid, signal.SIGKILL)
        return living


def prefer_as_victim(pid: int) -> None:
    """When memory ends, the kernel should take the job and not the one that can tell about it."""
    with contextlib.suppress(OSError), open("/proc/%d/oom_score_adj" % pid, "w") as file:
        file.write("500")
