"""The background process: who holds the lock of a home supervises it, and any command starts a missing one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import LaunchError
from launcher.store import Store
from launcher.supervise.awake import Awake
from launcher.supervise.supervisor import WORKERS, Supervisor
from launcher.supervise.workers import Workers
from provisioning.processes import MARK

if TYPE_CHECKING:
    from launcher.events import Event
    from launcher.home import Home

__all__ = ["ensure_supervisor", "hold_lock", "supervise", "supervisor_pid"]


def ensure_supervisor(
    home: Home, environ: Mapping[str, str] | None = None, *, timeout_s: float = 15.0
) -> None:
    """Make sure that a supervisor follows the runs of ``home``; starts one in the background when none does.

    It gets ``environ`` (default: that of this process), with the credentials in it.

    Raises:
        LaunchError: it would not start; the message carries its last words.
    """
    if _is_held(home.supervisor_lock):
        return
    process = _start_supervisor(home, os.environ if environ is None else environ)
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        if _is_held(home.supervisor_lock):
            return
        if process.returncode == 0:  # it found that nothing is live, or was too late: that is an answer too
            return
        if process.returncode is not None:
            break
        time.sleep(0.01)
    raise LaunchError(
        f"the supervisor did not start: {_last_line(home.supervisor_log)}",
        left_behind="the run is recorded and nobody follows it",
        hint=f"see {home.supervisor_log}; `launch watch` follows all runs in the foreground",
    )


def _start_supervisor(home: Home, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start it in a session of its own; whoever ends first, nothing is left of the other."""
    env = {name: value for name, value in environ.items() if name != MARK}
    try:
        with home.supervisor_log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "launcher.supervise"],
                cwd=home.root,
                env={**env, "LAUNCH_HOME": str(home.root), "PYTHONPATH": _python_path(environ)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    except OSError as err:
        raise LaunchError(
            f"the supervisor did not start: {err}",
            left_behind="the run is recorded and nobody follows it",
            hint="`launch watch` follows all runs in the foreground",
        ) from err
    threading.Thread(target=process.wait, daemon=True).start()  # a long-lived caller keeps no zombie
    return process


def supervisor_pid(home: Home) -> int | None:
    """Return the pid of the supervisor of this home, or None when none lives."""
    if not _is_held(home.supervisor_lock):
        return None
    text = home.supervisor_lock.read_text().strip()
    return int(text) if text.isdigit() else None


@contextlib.contextmanager
def hold_lock(home: Home, *, patience_s: float = 1.0) -> Iterator[bool]:
    """Hold the supervisor's lock for the block; gives False when another supervisor holds it.

    Commands look at the lock by sharing it for an instant (`_is_held`): a little patience tells them from a holder.
    """
    descriptor = os.open(home.supervisor_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + patience_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up_at:
                    yield False
                    return
                time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield True
    finally:
        os.close(descriptor)


def supervise(home: Home, *, sinks: tuple[Callable[[Event], None], ...] = ()) -> bool:
    """Follow all live runs of ``home`` in this process until none is live; False when another one does already.

    ``sinks`` hear every event that is appended here, from several threads.
    """
    from launcher.orchestrate.orchestrator import Orchestrator  # the orchestrator imports half the product
    from launcher.supervise.notify import Notifier

    store = Store(home.database)
    notifier = Notifier(store, home)
    while True:
        with contextlib.ExitStack() as held:
            if not held.enter_context(hold_lock(home)):
                return False
            orchestrator = Orchestrator(home, store, sinks=(*sinks, notifier))
            awake = Awake()
            held.callback(awake.release)
            supervisor = Supervisor(store, orchestrator.advance, awake=awake)
            orchestrator.live = supervisor.live
            workers = Workers(WORKERS, "run")
            try:
                supervisor.run_until_idle(workers)
            except (
                BaseException
            ):  # Ctrl-C: the steps under way go on as long as this process, and so does the lock
                _release_later(held.pop_all(), workers)
                raise
        # A run that was recorded before the lock was free again relied on us: look once more.
        if not store.live_intents():
            notifier.finish()  # without the lock: whoever starts a run meanwhile gets a supervisor of its own
            return True


def _release_later(held: contextlib.ExitStack, workers: Workers) -> None:
    def release() -> None:
        workers.join()
        held.close()

    threading.Thread(target=release, daemon=True).start()


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _python_path(environ: Mapping[str, str]) -> str:
    """Make this very installation importable in the child, also when it runs from a checkout."""
    ours = str(Path(__file__).resolve().parents[2])
    inherited = environ.get("PYTHONPATH")
    return f"{ours}{os.pathsep}{inherited}" if inherited else ours


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
