"""Disks that were kept when their machines stopped: reading them, and ending them, after the run has ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from launcher.connect import runner_for
from launcher.errors import MachineUnreachable, WrongState
from launcher.events import Kind
from launcher.orchestrate.attention import NOBODY, Onlooker
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.export import EventExport
from launcher.orchestrate.homecoming import bring_everything, bring_outputs
from launcher.orchestrate.machines import end_machines, look, park_machines
from launcher.orchestrate.stage_lost import bring_lost
from launcher.records import from_json
from launcher.runners.base import FetchReport, Handle
from launcher.runners.machines import MachineRunner
from launcher.store import AttemptRow, InstanceRow
from provisioning import DiskReadable, InstanceRef, InstanceState, MayStillBeRunning, Parkable, WhenUnattended

__all__ = ["KeptDisks"]

AWAKE = timedelta(hours=1)
"""The deadline of a machine that is started only to be read: it parks itself again if we die meanwhile."""
AWAKE_UNPARKED = timedelta(hours=12)
"""The same where its deadline would not park it but take the disk with it: nobody is to lose one to a slow line."""
BOOT_S = 900.0
CONFIRM_S = 300.0
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class KeptDisks:
    """What an ended run has left at its provider."""

    context: RunContext
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @property
    def rows(self) -> list[InstanceRow]:
        """Everything that has not ended, oldest first; empty while the run lives, whose supervisor sees to it."""
        if not self.context.state.is_final:
            return []
        return [row for row in self.context.instances if row.ended_at is None]

    @property
    def readable(self) -> list[tuple[InstanceRow, AttemptRow]]:
        """The machines that something was started on, with their attempts; also one that a killed pull left running."""
        attempts = {
            attempt.n: attempt for attempt in self.context.attempts
        }  # of several stages there, the last
        pairs = [(row, attempts[row.attempt]) for row in self.rows]
        return [(row, attempt) for row, attempt in pairs if attempt.handle is not None]

    def pull(
        self, dest: Path | None = None, *, missing_only: bool = False, onlooker: Onlooker = NOBODY
    ) -> tuple[FetchReport, ...]:
        """Start each machine, bring its outputs home, and park it again; SPENDS MONEY for as long as that takes.

        An attempt that the run has gone on from without its disk must not overwrite what came later: its outputs go
        to a folder of its own, ``<results>-attempt-<n>``. ``missing_only``: only what never came home.

        Raises:
            NoCapacity: a machine's place is full now; its disk is untouched.
            MachineUnreachable, FetchError, MayStillBeRunning: what came so far is kept; call again.
        """
        reports: list[FetchReport] = []
        for row, attempt in self.readable:
            if missing_only and attempt.fetched:
                continue
            assert attempt.handle is not None
            handle = from_json(Handle, attempt.handle)
            with self._started(row, handle, attempt) as runner:
                reports += self._bring(runner, handle, attempt, dest, onlooker)
        return tuple(reports)

    def end(self) -> None:
        """End everything for good, whether its outputs are home or not, and return when that is confirmed.

        Raises:
            MayStillBeRunning: it is not confirmed within five minutes.
        """
        give_up_at = self.monotonic() + CONFIRM_S
        try:
            while not end_machines(self.context, discard=True):
                self._give_up_after(give_up_at, "the end")
                self.sleep(LOOK_EVERY_S)
        finally:
            self._export()

    def settle(self) -> None:
        """Park what the record does not know to be stopped, and return when that is confirmed.

        Raises:
            MayStillBeRunning: it is not within five minutes.
        """
        if any(row.state != InstanceState.STOPPED.value for row in self.rows):
            self._park()

    def _bring(
        self,
        runner: MachineRunner,
        handle: Handle,
        attempt: AttemptRow,
        dest: Path | None,
        onlooker: Onlooker,
    ) -> tuple[FetchReport, ...]:
        newest = self.context.attempt
        if newest is not None and newest.n != attempt.n:
            results = Path(self.context.run.results_dir)
            aside = dest or results.parent
            reports = bring_outputs(
                self.context,
                runner,
                handle,
                dest=aside / f"{results.name}-attempt-{attempt.n}",
                alone=True,
                onlooker=onlooker,
            )
            self.context.update_attempt(attempt, fetched=True)
            return reports
        if dest is not None:
            return bring_outputs(self.context, runner, handle, dest=dest, onlooker=onlooker)
        reports = bring_everything(self.context, runner, handle, attempt, onlooker=onlooker)
        bring_lost(self.context, runner, handle, onlooker)
        return reports

    @contextlib.contextmanager
    def _started(self, row: InstanceRow, handle: Handle, attempt: AttemptRow) -> Iterator[MachineRunner]:
        """Start a parked machine for the block, and park it again behind it."""
        context = self.context
        parks = context.when_unattended(attempt) is WhenUnattended.PARK
        deadline = context.clock() + (AWAKE if parks else AWAKE_UNPARKED)
        words = (
            f"{row.ref} is started to bring outputs home, until {deadline:%Y-%m-%d %H:%M} UTC at the latest"
        )
        context.report(Kind.DECISION, words, action="read_disk", ref=row.ref)
        try:
            yield self._wake(row, handle, deadline)
        finally:
            self._park()
            self._export()

    def _wake(self, row: InstanceRow, handle: Handle, deadline: datetime) -> MachineRunner:
        """Start the machine and wait until it answers."""
        context, ref = self.context, InstanceRef.parse(row.ref)
        provider = context.provider(ref.provider)
        give_up_at, problem = self.monotonic() + BOOT_S, "it boots"
        while True:
            instance = look(context, row)
            row = next(item for item in context.instances if (item.ref, item.token) == (row.ref, row.token))
            if instance.state.is_gone:
                raise WrongState(f"{ref} has ended: {instance.state_reason}", left_behind="nothing of it")
            if instance.state is InstanceState.STOPPED:
                if not isinstance(provider, Parkable):
                    raise WrongState(
                        f"{ref} is stopped and cannot be started from here",
                        left_behind="its disk",
                        hint=f"start it in the console of {ref.provider}, then pull again",
                    )
                wake = provider.read_disk if isinstance(provider, DiskReadable) else provider.unpark
                wake(ref, deadline)
                context.update_instance(row, deadline=deadline)
            elif instance.state is InstanceState.RUNNING and instance.access is not None:
                try:
                    runner = runner_for(
                        instance,
                        ssh_folder=context.paths.ssh,
                        environ=context.environ,
                        report=context.report,
                    )
                    runner.poll(handle)
                except MachineUnreachable as err:
                    problem = str(err)
                else:
                    return runner
            if self.monotonic() >= give_up_at:
                raise MachineUnreachable(f"{ref} did not answer within {BOOT_S / 60:.0f} minutes: {problem}")
            self.sleep(LOOK_EVERY_S)

    def _park(self) -> None:
        """Park what was started, unless the run goes on: then its supervisor goes on with the machine."""
        give_up_at = self.monotonic() + CONFIRM_S
        while self.context.store.has_ended(self.context.run_id) and not park_machines(self.context):
            self._give_up_after(give_up_at, "parking")
            self.sleep(LOOK_EVERY_S)

    def _give_up_after(self, give_up_at: float, what: str) -> None:
        if self.monotonic() >= give_up_at:
            left = InstanceRef.parse((self.rows or self.context.instances)[0].ref)
            raise MayStillBeRunning(f"{what} of {left} was not confirmed", ref=left)

    def _export(self) -> None:
        """No supervisor follows an ended run: what happened here goes into its ``events.jsonl`` from here."""
        context = self.context
        with contextlib.suppress(OSError):  # an export: the record has it
            EventExport(context.store, context.run_id, context.paths.events).catch_up()
