"""Real processes with torch in them that start quickly, for every test that wants one."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed trials of all tests; each file has a name of its own there."""
    return tmp_path_factory.mktemp("cache")


FORKER = """
import json, os, runpy, sys
import torch
torch.set_num_threads(1)
import torch._dynamo  # which optimisers import on their first step
import trainer.commands
from trainer.cli import main

for line in sys.stdin:
    order = json.loads(line)
    children = []
    for rank in range(order["count"]):
        children.append(os.fork())
        if not children[-1]:
            output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if order["count"] > 1:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(order["count"]))
            os.environ.update(order["environment"])
            if order["folder"]:
                os.chdir(order["folder"])
                sys.path.insert(0, order["folder"])
            sys.argv = order["argv"]
            if sys.argv[0] == "trainer":
                sys.exit(main(sys.argv[1:]))
            if order["code"]:
                exec(order["code"], {"__name__": "__main__"})
            else:
                runpy.run_path(sys.argv[0], run_name="__main__")
            sys.exit(0)
    print(children[0], flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(max(codes, key=abs), flush=True)
"""
"""Forks programs that have their imports behind them: a start costs a tenth of a second instead of three."""


class Forked:
    """A process, the only one of its forker's at a time."""

    def __init__(self, forker: subprocess.Popen[str], output: Path) -> None:
        assert forker.stdout is not None
        self._forker_output = forker.stdout
        self._output = output
        self.pid = int(forker.stdout.readline())
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
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def _look(self, deadline_s: float) -> None:
        if self.returncode is None and select.select([self._forker_output], [], [], deadline_s)[0]:
            self.returncode = int(self._forker_output.readline())


Fork = Callable[..., Forked]


@pytest.fixture(scope="session")
def forker(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCH_")}
    process = subprocess.Popen(
        [sys.executable, "-c", FORKER], cwd=tmp_path_factory.mktemp("forker"), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip
    with process:
        yield process
        process.kill()


@pytest.fixture
def fork(forker: subprocess.Popen[str], tmp_path: Path) -> Iterator[Fork]:
    """Start a real process quickly: ``trainer`` with arguments, or the path of a script with its own.

    ``count``: so many that know of each other, as ``torchrun`` starts them; the first is signalled, the worst code counts.
    ``folder``: where it stands and imports from. ``code``: what it executes, as ``python -c`` does.
    """
    forked: list[Forked] = []

    def run(
        argv: list[str], count: int = 1, folder: Path | None = None, code: str = "", **environment: str
    ) -> Forked:
        output = tmp_path / f"output{len(forked)}.txt"
        output.touch()
        order = {
            "argv": argv, "count": count, "environment": environment, "output": str(output),
            "folder": str(folder or ""), "code": code,
        }  # fmt: skip
        assert forker.stdin is not None
        forker.stdin.write(json.dumps(order) + "\n")
        forker.stdin.flush()
        forked.append(Forked(forker, output))
        return forked[-1]

    yield run
    if forked and forked[-1].lives():
        forked[-1].kill()
