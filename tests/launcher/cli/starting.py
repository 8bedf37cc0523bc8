"""The command as a process of its own that starts in a hundredth of a second: forked by one that has imported it all.

A third of a second of imports for each of hundreds of commands would be the larger part of what these tests cost. What
else a start does (the interpreter's own, imports on use) is met by the tests that take `Cli.argv` and by
``tests/boundaries``.
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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

FORKER = """
import gc, importlib, json, os, pkgutil, signal, socket, struct, sys
import launcher
from launcher.cli import main

for module in pkgutil.walk_packages(launcher.__path__, "launcher."):
    if "onboard" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in ("fake", "local", "ssh"):
    importlib.import_module(f"provisioning.{name}.provider")
gc.collect()
gc.freeze()
asked = socket.socket(fileno=int(sys.argv[1]))
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
    asked.sendall(struct.pack("q", child))
    asked.sendall(struct.pack("q", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


class Starter:
    """Starts commands one after the other; `close` ends it."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._forker = subprocess.Popen(
                [sys.executable, "-c", FORKER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # as those of each command are
                stderr=subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if not name.startswith("LAUNCH_")},
            )

    def __call__(
        self, args: tuple[str, ...], folder: Path, environ: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """Run ``launch`` with nothing on its standard input; exit code and both outputs, once nobody holds them open.

        Raises:
            TimeoutError: it has not ended in time, and was killed; carries what it had said.
        """
        pipes = [os.pipe(), os.pipe()]
        order = json.dumps({"args": args, "folder": str(folder), "environ": dict(environ)}).encode()
        try:
            socket.send_fds(self._ours, [struct.pack("q", len(order))], [there for _, there in pipes])
            self._ours.sendall(order)
        finally:
            for _, there in pipes:
                os.close(there)
        pid = self._number()
        try:
            said = _read([here for here, _ in pipes], time.monotonic() + timeout_s)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._number()
            raise
        finally:
            for here, _ in pipes:
                os.close(here)
        out, err = (text.decode() for text in said)
        return self._number(), out, err

    def close(self) -> None:
        self._ours.close()
        self._forker.communicate()

    def _number(self) -> int:
        data = self._ours.recv(8, socket.MSG_WAITALL)
        assert data, self._forker.communicate()
        number: int = struct.unpack("q", data)[0]
        return number


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
