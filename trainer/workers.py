"""``trainer train --nproc-per-node K``: the processes of one machine, started, signalled and ended together.

What ``torchrun`` does for several machines, without its rendezvous, and with the exit codes of
`trainer.contract.Exit`, which ``torchrun`` replaces by its own. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trainer.contract import Exit

__all__ = ["LIFELINE", "end_with_parent", "run_workers"]

LIFELINE = "TRAINER_LIFELINE"
"""Number of the file descriptor that ends when the process that started the workers does."""
GRACE_S = 60.0
"""How long the others get to save and leave after one has failed."""
POLL_S = 0.05
_CODE = "import sys; sys.path.pop(0); from trainer.cli import main; sys.exit(main())"


def run_workers(arguments: Sequence[str], count: int, clock: Callable[[], float] = time.monotonic) -> Exit:
    """Run ``trainer ARGUMENTS`` in `count` processes that know of each other; returns their common exit code.

    A SIGTERM or Ctrl-C asks all of them to save and leave, a second one is passed on as it is. A worker that
    dies of the request was still starting: it left before anything began. When one fails the others are asked
    to save and leave, and killed after a minute; when this process is killed they are asked to leave as well.
    Several failures count as the first one; BAD_CONFIG stays BAD_CONFIG.
    """
    port = _free_port()
    read_end, write_end = os.pipe()
    workers: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, write_end)
        stack.callback(_kill, workers)
        request = stack.enter_context(_passing_signals_on(workers))
        for rank in range(count):
            if not request.made:
                workers.append(_start(arguments, rank, count, port, read_end))
        os.close(read_end)
        if request.made:
            _send(workers, signal.SIGTERM)  # one of them may have been born just after the others heard of it
        return _wait(workers, request, clock)


def end_with_parent() -> None:
    """In a worker: ask this process to save and leave once the one that started it is gone."""
    descriptor = os.environ.pop(LIFELINE, "")
    if descriptor.isdigit():
        threading.Thread(target=_watch, args=(int(descriptor),), name="lifeline", daemon=True).start()


def _watch(descriptor: int) -> None:
    os.read(descriptor, 1)  # nothing is ever written: this returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


def _start(
    arguments: Sequence[str], rank: int, count: int, port: int, lifeline: int
) -> subprocess.Popen[bytes]:
    package = str(Path(__file__).resolve().parents[1])
    inherited = os.environ.get("PYTHONPATH")
    environment = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
        **os.environ,
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), LIFELINE: str(lifeline),
        "PYTHONPATH": package + (os.pathsep + inherited if inherited else ""),
    }  # fmt: skip
    # A session of its own: a Ctrl-C reaches a worker once, from here, and not from the terminal as well.
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, *arguments], env=environment, pass_fds=(lifeline,), start_new_session=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


class _Request:
    """Whether somebody has asked this process to leave."""

    made = False


@contextlib.contextmanager
def _passing_signals_on(workers: Sequence[subprocess.Popen[bytes]]) -> Iterator[_Request]:
    request = _Request()

    def pass_on(number: int, frame: object) -> None:
        # First always SIGTERM: on SIGINT a worker that still imports would end with Python's own traceback.
        _send(workers, number if request.made else signal.SIGTERM)
        request.made = True

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[subprocess.Popen[bytes]], request: _Request, clock: Callable[[], float]) -> Exit:
    """The common exit code, once all have left."""
    first_failure: int | None = None
    deadline = float("inf")
    while any(worker.poll() is None for worker in workers):
        if first_failure is None:
            first_failure = _failure(workers, request)
            if first_failure is not None:
                deadline = clock() + GRACE_S
                _send(workers, signal.SIGTERM)
        if clock() > deadline:
            _kill(workers)
        with contextlib.suppress(subprocess.TimeoutExpired, StopIteration):
            next(worker for worker in workers if worker.poll() is None).wait(POLL_S)
    failure = first_failure if first_failure is not None else _failure(workers, request)
    if failure is not None:
        return Exit.BAD_CONFIG if failure == Exit.BAD_CONFIG else Exit.FAILED
    codes = [worker.returncode for worker in workers]
    if codes and all(code == Exit.DONE for code in codes):
        return Exit.DONE
    if Exit.INTERRUPTED not in codes:  # none came far enough to say it
        sys.stderr.write("leaving before anything began; start me again\n")
    return Exit.INTERRUPTED


def _failure(workers: Sequence[subprocess.Popen[bytes]], request: _Request) -> int | None:
    """Exit code of a worker that failed, if any."""
    fine: set[int | None] = {None, Exit.DONE, Exit.INTERRUPTED}
    if request.made:
        fine.add(-signal.SIGTERM)  # it had no handler yet
    return next((code for code in (worker.poll() for worker in workers) if code not in fine), None)


def _send(workers: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)


def _kill(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    _send(workers, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
