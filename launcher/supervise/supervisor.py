"""The loop over all live runs of a home: looks when they are due, leases, patience with what fails."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from launcher.errors import StoreError
from launcher.events import Kind
from launcher.store import Intent, Store
from launcher.supervise.awake import Awake, needs_this_computer
from launcher.supervise.processes import is_alive, start_mark
from launcher.supervise.workers import Workers
from provisioning.models import utc_now

if TYPE_CHECKING:
    pass

__all__ = ["WORKERS", "Supervisor"]

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
    leased_until: float | None = None
    """Monotonic; the record has it by the wall clock, for other processes."""
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
        passed_s = self.monotonic()
        due = [
            (run_id, followed)
            for run_id, followed in self._followed.items()
            if followed.leased_until is None or followed.leased_until - passed_s <= LEASE_S / 2
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
                followed.leased_until = passed_s + LEASE_S if taken else None


def _pause_s(failures: int) -> float:
    return float(min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(failures - 1, 16)))
