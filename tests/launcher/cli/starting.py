"""The command as a process of its own that starts in a hundredth of a second: forked by one that has imported it all.

A third of a second of imports for each of hundreds of commands would be the larger part of what these tests cost. What
else a start does (the interpreter's own, imports on use) is met by the tests that take `Cli.argv` and by
``tests/boundaries``. A command whose environment differs in what a start or an import reads starts anew, and so do
all where a fork is no start (`tests.forking.MAC`).
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.forking import MAC, Lines, OutOfStepError

REPOSITORY = Path(__file__).resolve().parents[3]
FORKER = """
import os
read = set()
lookup = os._Environ.__getitem__
os._Environ.__getitem__ = lambda environ, name: (read.add(name), lookup(environ, name))[1]

import gc, importlib, json, pkgutil, signal, socket, struct, sys
import launcher
from launcher.cli import main

for module in pkgutil.walk_packages(launcher.__path__, "launcher."):
    if "onboard" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in ("fake", "local", "ssh"):
    importlib.import_module(f"provisioning.{name}.provider")
os._Environ.__getitem__ = lookup
gc.collect()
gc.freeze()
asked = socket.socket(fileno=int(sys.argv[1]))
asked.sendall(b"read " + " ".join(sorted(read)).encode() + b"\\n")
while True:
    head, files, _, _ = socket.recv_fds(asked, 8, 2)
    if not head:
        os._exit(0)
    text = b""
    while len(text) < struct.unpack("q", head)[0]:
        text += asked.recv(1 << 16)
    order = json.loads(text)
    child = os.fork()
    if not child:
        asked.close()
        for ours, theirs in zip((1, 2), files):
            os.dup2(theirs, ours)
            os.close(theirs)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environ"])
        sys.path[0] = order["folder"]
        sys.argv = [importlib.util.find_spec("launcher.cli.__main__").origin, *order["args"]]
        sys.exit(main())
    for file in files:
        os.close(file)
    asked.sendall(b"pid %d\\n" % child)
    asked.sendall(b"end %d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
ANSWER_S = 120.0


def read_at_start(name: str) -> bool:
    """Whether the interpreter, or a library below it, reads this variable before any of our code does."""
    return name.startswith(("PYTHON", "LC_", "LANG", "TZ", "LD_", "DYLD_", "MALLOC_", "OPENSSL_"))


def differs_at_start(one: Mapping[str, str], other: Mapping[str, str], imports_read: Iterable[str]) -> bool:
    """Whether a process with the one environment started otherwise than one with the other."""
    names = {name for name in (*one, *other) if read_at_start(name)} | set(imports_read)
    return any(one.get(name) != other.get(name) for name in names)


class Starter:
    """Starts commands one after the other; `close` ends it. A forker that is out of step is replaced."""

    def __init__(self) -> None:
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LAUNCH_")},
            "PYTHONPATH": str(REPOSITORY),
        }
        self._forker: subprocess.Popen[bytes] | None = None

    def __call__(
        self, args: tuple[str, ...], folder: Path, environ: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """Run ``launch`` with nothing on its standard input; exit code and both outputs, once nobody holds them open.

        Raises:
            TimeoutError: it has not ended in time, and was killed; carries what it had said.
        """
        if MAC:
            return start_anew(args, folder, environ, timeout_s)
        if self._forker is None:
            self._begin()
        if differs_at_start(environ, self._environ, self._imports_read):
            return start_anew(args, folder, environ, timeout_s)
        try:
            ended = self._fork(args, folder, environ, timeout_s)
        except BaseException:
            self._end(kill=True)  # who knows what it would say next
            raise
        return ended

    def close(self) -> None:
        self._end(kill=False)

    def _begin(self) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._forker = subprocess.Popen(
                [sys.executable, "-c", FORKER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # as those of each command are
                stderr=subprocess.PIPE,
                env=self._environ,
            )
        self._said = Lines(self._ours.fileno())
        try:
            self._imports_read = self._answer("read").split()
        except BaseException:
            self._end(kill=True)
            raise

    def _end(self, *, kill: bool) -> None:
        forker, self._forker = self._forker, None
        if forker is None:
            return
        self._ours.close()
        if kill:
            forker.kill()
        forker.communicate()

    def _fork(
        self, args: tuple[str, ...], folder: Path, environ: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        pipes = [os.pipe(), os.pipe()]
        order = json.dumps({"args": args, "folder": str(folder), "environ": dict(environ)}).encode()
        try:
            try:
                socket.send_fds(self._ours, [struct.pack("q", len(order))], [there for _, there in pipes])
                self._ours.sendall(order)
            finally:
                for _, there in pipes:
                    os.close(there)
            pid = int(self._answer("pid"))
            code: int | None = None
            try:
                said = _read([here for here, _ in pipes], time.monotonic() + timeout_s)
                code = int(self._answer("end"))
            finally:
                if code is None and self._said.text("end", 0) is None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        finally:
            for here, _ in pipes:
                os.close(here)
        out, err = (text.decode() for text in said)
        return code, out, err

    def _answer(self, tag: str) -> str:
        answer = self._said.text(tag, ANSWER_S)
        if answer is None:
            raise OutOfStepError(f"the forker of commands said no {tag!r} in {ANSWER_S:g} s")
        return answer


def start_anew(
    args: tuple[str, ...], folder: Path, environ: Mapping[str, str], timeout_s: float
) -> tuple[int, str, str]:
    """The same by an interpreter of its own."""
    argv = [sys.executable, "-m", "launcher.cli", *args]
    try:
        done = subprocess.run(
            argv, cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        raise TimeoutError(late.stdout, late.stderr) from None
    return done.returncode, done.stdout, done.stderr


@functools.cache
def starter() -> Starter:
    """One for all commands of this worker."""
    return Starter()


@pytest.fixture(scope="session", autouse=True)
def starter_ends() -> Iterator[None]:
    yield
    if starter.cache_info().currsize:
        starter().close()


def _read(descriptors: list[int], give_up_at: float) -> list[bytes]:
    """Read all of them to their end."""
    said = dict.fromkeys(descriptors, b"")
    left = set(descriptors)
    while left:
        ready, _, _ = select.select(list(left), [], [], max(0.0, give_up_at - time.monotonic()))
        if not ready:
            raise TimeoutError(said)
        for descriptor in ready:
            data = os.read(descriptor, 1 << 16)
            said[descriptor] += data
            if not data:
                left.discard(descriptor)
    return list(said.values())
