"""Real processes with torch in them that start quickly, for every test that wants one."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed trials of all tests; each file has a name of its own there."""
    return tmp_path_factory.mktemp("cache")


CARRY_OUT = """
import json, os, runpy, sys

def carry_out(order, rank):
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for ours, theirs in enumerate((nothing, output, output)):
        os.dup2(theirs, ours)
    if order["count"] > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(order["count"]))
    os.environ.update(order["environment"])
    if order["folder"]:
        os.chdir(order["folder"])
        sys.path.insert(0, order["folder"])
    sys.argv = order["argv"]
    if sys.argv[0] == "trainer":
        from trainer.cli import main
        sys.exit(main(sys.argv[1:]))
    if order["code"]:
        exec(order["code"], {"__name__": "__main__"})
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
    sys.exit(0)
"""
"""Carries one order out, in a process that does nothing else."""

IMPORTS = """
import torch
torch.set_num_threads(1)
import torch._dynamo  # which optimisers import on their first step
import trainer.commands
"""

FORK = """
def start(line, order, rank, leader):
    child = os.fork()
    if not child:
        os.setpgid(0, leader)
        carry_out(order, rank)
    return child
"""
START_ANEW = """
def start(line, order, rank, leader):
    then = sys.argv[1] + "carry_out(json.loads(sys.argv[1]), int(sys.argv[2]))"
    argv = [sys.executable, "-c", then, line, str(rank)]
    return os.posix_spawn(sys.executable, argv, os.environ, setpgroup=leader)
"""
LOOP = """
for line in sys.stdin:
    order, children = json.loads(line), []
    for rank in range(order["count"]):
        children.append(start(line, order, rank, children[0] if children else 0))
        try:
            os.setpgid(children[-1], children[0])  # it does the same: whoever comes first
        except OSError:
            pass
    print("pid", children[0], flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print("end", max(codes, key=abs), flush=True)
"""
"""Takes orders, one after the other; what it starts for one of them is a process group."""

MAC = sys.platform == "darwin"
"""There a process that has torch or the network in it may not go on after a fork: its libraries end it."""
FIRST_WORD_S = 120.0


class OutOfStepError(AssertionError):
    """A forker did not answer, or not what it was asked: it is of no use any more."""


class Lines:
    """What a forker says, a tagged number a line; read as it comes, and never waited for without an end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read = b""

    def text(self, tag: str, deadline_s: float) -> str | None:
        """What the next line says after its tag; nothing when it has not come in time.

        Raises:
            OutOfStepError: it has another tag, or the forker has gone.
        """
        give_up_at = time.monotonic() + deadline_s
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while b"\n" not in self._read:
            if not poll.poll(max(0.0, give_up_at - time.monotonic()) * 1000):
                return None
            data = os.read(self._descriptor, 1 << 16)
            if not data:
                raise OutOfStepError(f"the forker has gone; it was to say {tag!r} and said {self._read!r}")
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        said, _, text = line.decode().partition(" ")
        if said != tag:
            raise OutOfStepError(f"the forker was to say {tag!r} and said {line!r}")
        return text

    def number(self, tag: str, deadline_s: float) -> int | None:
        """The same, as a number."""
        text = self.text(tag, deadline_s)
        return None if text is None else int(text)


class Forked:
    """A process, or several that belong together; the only ones of their forker's at a time."""

    def __init__(self, said: Lines, output: Path) -> None:
        self._said = said
        self._output = output
        pid = said.number("pid", FIRST_WORD_S)
        if pid is None:
            raise OutOfStepError(f"the forker started nothing in {FIRST_WORD_S:g} s")
        self.pid = pid
        self.returncode: int | None = None

    def lives(self) -> bool:
        self._look(0)
        return self.returncode is None

    def output(self) -> str:
        """What it has written so far."""
        return self._output.read_text()

    def wait(self, deadline_s: float = 120.0) -> str:
        """All that it has written, at its end."""
        self._look(deadline_s)
        assert self.returncode is not None, f"still running after {deadline_s:g} s"
        return self.output()

    def send(self, number: int) -> None:
        """To the first of them."""
        if not self.lives():
            raise ProcessLookupError(f"it has ended with {self.returncode}: {self.output()}")
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9 to all of them, and wait for the end."""
        with contextlib.suppress(OutOfStepError):
            self._look(0)
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def _look(self, deadline_s: float) -> None:
        if self.returncode is None:
            self.returncode = self._said.number("end", deadline_s)


Fork = Callable[..., Forked]


class Forker:
    """Forks programs that have their imports behind them: a start costs a tenth of a second instead of three.

    One after the other. A forker that is out of step is replaced when the next program is wanted.
    """

    def __init__(self, folder: Path, cache: Path, imports: str = IMPORTS, anew: bool = MAC) -> None:
        self._folder, self._cache = folder, cache
        self._code = CARRY_OUT + (START_ANEW if anew else imports + FORK) + LOOP
        self._process: subprocess.Popen[bytes] | None = None
        self._forked: Forked | None = None

    def start(self, order: dict[str, object], output: Path) -> Forked:
        """Have it carried out.

        Raises:
            AssertionError: what was started before still lives.
        """
        if self._process is not None and not self._is_free():
            self.close()
        if self._process is None:
            self._process = self._begin()
            assert self._process.stdout is not None
            self._said = Lines(self._process.stdout.fileno())
        assert self._process.stdin is not None
        # Until it has told of the process nobody knows where it stands, and it is not asked again.
        process, self._process = self._process, None
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            self._forked = Forked(self._said, output)
        except BaseException:
            _end(process)
            raise
        self._process = process
        return self._forked

    def end_program(self) -> None:
        """Kill what lives; a forker that does not tell of its end goes too."""
        if self._process is None or self._forked is None:
            return
        try:
            self._forked.kill()
        except AssertionError:
            self.close()

    def close(self) -> None:
        """End the forker."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _is_free(self) -> bool:
        try:
            lives = self._forked is not None and self._forked.lives()
        except OutOfStepError:
            return False
        assert not lives, "one is running: wait for its end, or kill it, before the next is started"
        return True

    def _begin(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCH_")}
        environment |= {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(REPOSITORY),
            "XDG_CACHE_HOME": str(self._cache),
        }
        return subprocess.Popen(
            [sys.executable, "-c", self._code, CARRY_OUT], cwd=self._folder, env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
        )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:
        process.kill()


@pytest.fixture(scope="session")
def forker(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Forker]:
    forker = Forker(tmp_path_factory.mktemp("forker"), cache)
    yield forker
    forker.close()


@pytest.fixture
def fork(forker: Forker, tmp_path: Path) -> Iterator[Fork]:
    """Start a real process quickly: ``trainer`` with arguments, or the path of a script with its own.

    ``count``: so many that know of each other, as ``torchrun`` starts them; the first is signalled, the worst code counts.
    ``folder``: where it stands and imports from. ``code``: what it executes, as ``python -c`` does.
    """
    started = 0

    def run(
        argv: list[str], count: int = 1, folder: Path | None = None, code: str = "", **environment: str
    ) -> Forked:
        nonlocal started
        output = tmp_path / f"output{started}.txt"
        output.touch()
        started += 1
        order = {
            "argv": argv, "count": count, "environment": environment, "output": str(output),
            "folder": str(folder or ""), "code": code,
        }  # fmt: skip
        return forker.start(order, output)

    yield run
    forker.end_program()
