"""The one background process per home that follows all live runs.

``python -m launcher.supervise`` holds ``supervisor.lock`` for as long as it lives, advances every live run when
its next look is due, and ends when no run is live. Everything it knows is in the record, so that killing it at
any moment loses nothing: the next one, started by any command, goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.awake import Awake, needs_this_computer
from launcher.errors import LaunchError, StoreError
from launcher.events import Kind
from launcher.processes import is_alive, start_mark
from launcher.store import Intent, Store
from launcher.workers import Workers
from provisioning.models import utc_now
from provisioning.processes import MARK

if TYPE_CHECKING:
    from launcher.events import Event
    from launcher.home import Home

__all__ = ["Supervisor", "ensure_supervisor", "supervisor_pid"]

Advance = Callable[[str], "float | None"]
"""Move one run on; returns seconds until its next look, or None when the run has ended."""

WORKERS = 8
LEASE_S = 60.0
TICK_S = 0.2
RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0


@dataclass(slots=True)
class _Followed:
    """What the supervisor remembers of one live run between two looks."""

    due_at: float = 0.0
    intent: Intent = Intent.NONE
    asked_meanwhile: bool = False
    work: Future[float | None] | None = None
    leased_until: datetime | None = None
    failures: int = 0
    fault: str = ""
    """What the last failure said, so that it is said once."""
    needs_us: bool | None = None
    told_awake: bool = False


@dataclass(slots=True)
class Supervisor:
    """The loop over all live runs of one home."""

    store: Store
    advance: Advance
    clock: Callable[[], datetime] = utc_now
    awake: Awake | None = None
    """Keeps this computer from sleeping while a run needs it."""
    monotonic: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep
    complain: Callable[[str], None] = field(default=lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201
    _followed: dict[str, _Followed] = field(default_factory=dict)
    _version: int = -1
    _pid: int = field(default_factory=os.getpid)
    _started: str = field(default_factory=lambda: start_mark(os.getpid()))

    def run_until_idle(self, workers: Workers | None = None) -> None:
        """Follow all live runs until there are none. A record that cannot be read or written now is tried again.

        ``workers`` (default: some of its own) do the steps; interrupted, this returns and leaves them at it.
        """
        workers = workers or Workers(WORKERS, "run")
        failures = 0
        try:
            while True:
                try:
                    self._read_record()
                    self._collect()
                    if not self._followed:
                        return
                    self._start_due(workers)
                    self._stay_awake()
                    failures = 0
                except StoreError as err:
                    if failures == 0:
                        self.complain(f"{err}: tried again until it works")
                    failures += 1
                self.wait(TICK_S if failures == 0 else _pause_s(failures))
        finally:
            for followed in self._followed.values():
                if followed.work is not None:
                    followed.work.cancel()  # what has not begun
            workers.dismiss()

    def live(self) -> int:
        """Return how many runs are followed."""
        return max(1, len(self._followed))

    def _read_record(self) -> None:
        """Notice new runs, ended ones, and what people asked for; cheap when nothing was written."""
        version = self.store.data_version()
        if version == self._version:
            return
        live = self.store.live_intents()
        for run_id in self._followed.keys() - live.keys():
            if self._followed[run_id].work is None:
                self._let_go(run_id)
        for run_id, intent in live.items():
            followed = self._followed.setdefault(run_id, _Followed(due_at=self.monotonic()))
            if intent is not followed.intent:
                followed.intent = intent
                followed.asked_meanwhile = followed.work is not None
                followed.due_at = self.monotonic()
        self._version = version

    def _stay_awake(self) -> None:
        """Hold off sleep while one of the runs needs it, and say so in the log of each that does."""
        if self.awake is None:
            return
        for run_id, followed in self._followed.items():
            if followed.needs_us is None:
                followed.needs_us = needs_this_computer(self.store.run(run_id))
        needed = [run_id for run_id, followed in self._followed.items() if followed.needs_us]
        if not needed:
            self.awake.release()
        elif self.awake.hold():
            for run_id in needed:
                self._say_awake(run_id)

    def _say_awake(self, run_id: str) -> None:
        followed = self._followed[run_id]
        if followed.told_awake:
            return
        followed.told_awake = True
        data = {"action": "keep_awake"}
        if not any(event.data.get("action") == data["action"] for event in self.store.events(run_id)):
            words = "this computer is kept awake while the run goes on"
            self.store.append(run_id, Kind.DECISION, words, self.clock(), data)

    def _let_go(self, run_id: str) -> None:
        del self._followed[run_id]
        self._version = -1  # it may have been resumed in the same moment: look again
        self.store.drop_lease(run_id, pid=self._pid)

    def _collect(self) -> None:
        for run_id, followed in list(self._followed.items()):
            if followed.work is None or not followed.work.done():
                continue
            work, followed.work = followed.work, None
            try:
                next_look_s = work.result()
            except Exception as err:  # a fault of ours in one run must not leave the others alone
                self._put_off(run_id, followed, err)
                continue
            followed.failures, followed.fault = 0, ""
            if next_look_s is None:
                self._let_go(run_id)
            else:
                self._look_again(followed, next_look_s)

    def _look_again(self, followed: _Followed, next_look_s: float) -> None:
        """Set the next look; at once when somebody asked for something while the last one was under way."""
        followed.due_at = self.monotonic() + next_look_s
        if followed.asked_meanwhile:
            followed.asked_meanwhile = False
            followed.due_at = self.monotonic()

    def _put_off(self, run_id: str, followed: _Followed, err: Exception) -> None:
        """Look at a run again later and later while looking at it fails; its machine's own deadline still holds."""
        followed.failures += 1
        pause_s = _pause_s(followed.failures)
        followed.due_at = self.monotonic() + pause_s
        words = f"launch itself failed ({type(err).__name__}: {err}); the run is looked at again and again"
        if followed.fault == words:
            return
        followed.fault = words
        self.complain(f"{run_id}: {words}\n{''.join(traceback.format_exception(err))}")
        with contextlib.suppress(StoreError):  # the record itself may be what fails
            self.store.append(run_id, Kind.WARNING, words, self.clock(), {"error": type(err).__name__})

    def _start_due(self, workers: Workers) -> None:
        self._hold_leases()
        for run_id, followed in self._followed.items():
            if followed.work is not None or followed.due_at > self.monotonic():
                continue
            if followed.leased_until is not None:
                followed.work = workers.submit(self.advance, run_id)

    def _hold_leases(self) -> None:
        """Take leases, and renew them in good time, also while a long step of a run is under way."""
        now = self.clock()
        renew_at = now + timedelta(seconds=LEASE_S / 2)
        due = [
            (run_id, followed)
            for run_id, followed in self._followed.items()
            if followed.leased_until is None or followed.leased_until <= renew_at
        ]
        if not due:
            return
        expires_at = now + timedelta(seconds=LEASE_S)
        with self.store.together():
            for run_id, followed in due:
                holder = self.store.lease_holder(run_id)
                taken = self.store.take_lease(
                    run_id,
                    pid=self._pid,
                    pid_started=self._started,
                    now=now,
                    expires_at=expires_at,
                    holder_lives=holder is not None and is_alive(*holder),
                )
                followed.leased_until = expires_at if taken else None


def _pause_s(failures: int) -> float:
    return float(min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(failures - 1, 16)))


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
    from launcher.notify import Notifier
    from launcher.orchestrate.orchestrator import Orchestrator  # the orchestrator imports half the product

    store = Store(home.database)
    while True:
        with contextlib.ExitStack() as held:
            if not held.enter_context(hold_lock(home)):
                return False
            notifier = Notifier(store)
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
    ours = str(Path(__file__).resolve().parent.parent)
    inherited = environ.get("PYTHONPATH")
    return f"{ours}{os.pathsep}{inherited}" if inherited else ours


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def main() -> int:
    """Run as the background supervisor; 0 also when another one was faster."""
    from launcher.home import Home

    argparse.ArgumentParser(prog="launcher.supervise", description=__doc__).parse_args()
    supervise(Home.open())
    return 0


if __name__ == "__main__":
    sys.exit(main())
