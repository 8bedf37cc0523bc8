"""A handle on one run: the same whether it was launched a second ago or is picked up again tomorrow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from launcher.connect import runner_for
from launcher.errors import MachineUnreachable, RunFailed, UsageError, WrongState
from launcher.events import Event, Kind, Report
from launcher.home import Home
from launcher.kept_disk import KeptDisks
from launcher.logs import LastWords, LogPiece, last_words, parts_of, ranges_of, split
from launcher.orchestrate.attention import NOBODY, Onlooker
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.export import EventExport
from launcher.orchestrate.homecoming import bring_outputs
from launcher.orchestrate.machines import look
from launcher.orchestrate.pushed import runner_for_pushed
from launcher.orchestrate.stage_copies import copy_of_results
from launcher.policy.states import RunState
from launcher.policy.verdict import Verdict
from launcher.policy.wishes import merged, why_not
from launcher.records import from_json
from launcher.remote.layout import Start
from launcher.remote.shell import Result, Stdin
from launcher.resuming import resume
from launcher.runners.base import Best, FetchReport, Handle, LogChunk
from launcher.runners.machines import MachineRunner
from launcher.status import Status, status_of
from launcher.store import InstanceRow, Intent, Store
from launcher.supervise import ensure_supervisor
from provisioning import CloudError, Instance, InstanceRef, Interruptible
from provisioning.models import utc_now

__all__ = ["Run", "RunResult"]

POLL_S = 0.1
SUPERVISOR_CHECK_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What became of a run."""

    run_id: str
    state: str
    reason: str
    reason_code: str
    """The reason as one word of a closed set, for scripts."""
    files: tuple[Path, ...]
    """Outputs that are home, verified."""
    results_dir: Path
    metrics: Mapping[str, float]
    best: Best | None
    """Of the job's ``metric``."""
    verdict: Verdict | None
    """What ``expect`` came to; None for a job that expects nothing."""
    cost_usd: float
    seconds: float
    """From launch to the end."""
    estimate: Mapping[str, Any]
    """What was said before: ``{"hours": {"low", "likely", "high"}, "usd": {...}}``."""
    exit_code: int | None

    @property
    def succeeded(self) -> bool:
        """The job finished and its outputs are home."""
        return self.state == RunState.SUCCEEDED.value


class Run:
    """One run. Looking is free and reads the record; asking for something is carried out by the supervisor."""

    def __init__(self, home: Home, store: Store, run_id: str, environ: Mapping[str, str]) -> None:
        self._home = home
        self._store = store
        self._environ = environ
        self.id = run_id
        self.name = store.run(run_id).name

    def __repr__(self) -> str:
        return f"Run({self.id!r}, {self._store.run(self.id).state})"

    # Looking

    def status(self, *, now: datetime | None = None) -> Status:
        """Return how the run stands by the record; ``looked_at`` says how old that is."""
        return status_of(
            self._store.run(self.id),
            self._store.attempts(self.id),
            self._store.instances(self.id),
            self._store.outputs(self.id),
            now or utc_now(),
        )

    def refresh(self) -> tuple[str, ...]:
        """Ask the providers anew about everything of this run that may cost money, and note their word.

        Returns what could not be asked, in words; `status` then says what was known before.
        """
        context, problems = self._context(), []
        for row in self._store.instances(self.id):
            if row.ended_at is not None:
                continue
            try:
                look(context, row)
            except CloudError as err:
                problems.append(f"{row.ref}: {err}")
            else:
                context.update_run(looked_at=utc_now())
        if not context.state.is_live:  # no supervisor writes down what this has found
            with contextlib.suppress(OSError):
                EventExport(self._store, self.id, context.paths.events).catch_up()
        return tuple(problems)

    def events(self, after: int = 0) -> list[Event]:
        """Return what happened after a position, oldest first."""
        return self._store.events(self.id, after)

    def wait(
        self,
        *,
        on_event: Callable[[Event], None] | None = None,
        after: int = 0,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Wait until the run has ended, however it ends; ``on_event`` sees every event after position ``after``.

        A supervisor that died meanwhile is started again. Interrupting the wait leaves the run as it is.

        Raises:
            TimeoutError: it has not ended within ``timeout_s``.
        """
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        check_at = 0.0
        while True:
            ended = self._store.has_ended(self.id)  # before the events: none can come after
            for event in self._store.events(self.id, after):
                after = event.seq
                if on_event is not None:
                    on_event(event)
            if ended:
                return self._result()
            now = time.monotonic()
            if now >= check_at:
                ensure_supervisor(self._home, self._environ)
                check_at = now + SUPERVISOR_CHECK_S
            if give_up_at is not None and now >= give_up_at:
                raise TimeoutError(f"{self.id} has not ended within {timeout_s:g} s")
            time.sleep(POLL_S)

    def result(self) -> RunResult:
        """Return files, metrics and cost beside the estimate.

        Raises:
            WrongState: the run has not ended.
            RunFailed: it ended without success.
        """
        run = self._store.run(self.id)
        if run.ended_at is None:
            raise WrongState(f"{self.id} is {run.state}", hint="`wait()` returns when it has ended")
        if run.state != RunState.SUCCEEDED.value:
            said = self.last_words()
            last_line = f"; its last line: {said.last_line}" if said.last_line else ""
            of_stage = f" --stage {said.stage}" if said.stage else ""
            raise RunFailed(
                f"{self.id} {run.state}: {run.reason}{last_line}",
                left_behind=f"what came home is in {run.results_dir}"
                if self._store.outputs(self.id)
                else None,
                hint=f"`launch logs {self.id}{of_stage}` shows its output; `launch resume {self.id}` goes on",
            )
        return self._result()

    def _result(self) -> RunResult:
        status = self.status()
        ended = status.ended_at or utc_now()
        return RunResult(
            run_id=self.id,
            state=status.state,
            reason=status.reason,
            reason_code=status.reason_code,
            files=tuple(Path(output.path) for output in status.outputs),
            results_dir=Path(status.results_dir),
            metrics=status.metrics,
            best=status.best,
            verdict=status.verdict,
            cost_usd=status.cost_usd,
            seconds=(ended - status.created_at).total_seconds(),
            estimate=status.estimate,
            exit_code=status.exit_code,
        )

    # The job's output

    def log_bytes(self) -> int:
        """Return how much of the job's output is home."""
        return self._store.run(self.id).log_bytes

    def read_log(self, offset: int = 0, limit: int = 1 << 20) -> LogChunk:
        """Return output of all attempts from a byte offset on, as far as it is home."""
        home = self.log_bytes()
        if offset >= home:
            return LogChunk(offset=offset, data=b"")
        with self._home.run(self.id).log.open("rb") as log:
            log.seek(offset)
            return LogChunk(offset=offset, data=log.read(min(limit, home - offset)))

    def log_pieces(
        self, offset: int = 0, *, stage: str | None = None, follow: bool = False
    ) -> Iterator[LogPiece]:
        """Yield output from a byte offset on with the stage that it is of, or that of one stage alone.

        What is home now, or with ``follow`` until the run has ended. Of a job without stages, pieces are of none.

        Raises:
            UsageError: there is no such stage.
        """
        self._require_stage(stage)
        for data in self.follow_log(offset) if follow else self._log_from(offset):
            parts = parts_of(self._store.run(self.id))
            for piece in split(offset, data, parts):
                if stage is None or (piece.part is not None and piece.part.stage == stage):
                    yield piece
            offset += len(data)

    def log_ranges(self, stage: str | None = None) -> list[tuple[int, int]]:
        """Return where the output of a stage begins and ends in the log; without one, of the whole run.

        Raises:
            UsageError: there is no such stage.
        """
        self._require_stage(stage)
        run = self._store.run(self.id)
        return ranges_of(parts_of(run), stage, run.log_bytes)

    def _require_stage(self, stage: str | None) -> None:
        fields = self._store.run(self.id).job["fields"]
        names = [str(one["name"]) for one in fields.get("stages", ())]
        if stage is not None and stage not in names:
            has = f"it has {', '.join(names)}" if names else "its job has no stages"
            raise UsageError(f"{self.id} has no stage {stage!r}", hint=has)

    def last_words(self) -> LastWords:
        """Return the last lines of what failed, in a run that has failed: of several stages, of that one."""
        return last_words(self._store.run(self.id), self._home.run(self.id).log)

    def logs(self, *, follow: bool = False) -> Iterator[bytes]:
        """Yield the run's output from its beginning: what is home now, or with ``follow`` until the run has ended."""
        yield from self.follow_log() if follow else self._log_from(0)

    def _log_from(self, offset: int) -> Iterator[bytes]:
        while data := self.read_log(offset).data:
            offset += len(data)
            yield data

    def follow_log(self, offset: int = 0) -> Iterator[bytes]:
        """Yield output as it comes home, until the run has ended and all of it is out."""
        check_at = 0.0
        while True:
            ended = self._store.has_ended(self.id)
            chunk = self.read_log(offset)
            if chunk.data:
                offset = chunk.next_offset
                yield chunk.data
                continue
            if ended:
                return
            if time.monotonic() >= check_at:
                ensure_supervisor(self._home, self._environ)
                check_at = time.monotonic() + SUPERVISOR_CHECK_S
            time.sleep(POLL_S)

    # Asking

    def stop(self, *, keep_disk: bool = False) -> None:
        """Ask for: save, bring home, end. The run can be resumed. Returns at once; `wait` until it has ended.

        With ``keep_disk`` compute ends and the disk stays, where the provider can do that. What `down` was asked for
        before is not taken back.

        Raises:
            WrongState: the run has ended, or `down` or its own end leave no disk to keep, no outputs to bring.
        """
        self._ask(Intent.STOP, keep_disk=keep_disk)

    def down(self, *, discard: bool = False) -> None:
        """Ask for: bring home and end; with ``discard`` end now and bring nothing home. Returns at once.

        Of a run that has ended and whose disk was kept, this brings home what never came home, ends the disk, and
        returns when that is confirmed. Nothing is ended when outputs cannot be brought home.

        Raises:
            WrongState: the run has ended and left nothing.
            CloudError, MachineError: as `pull`; call again, or give the outputs up with ``discard``.
        """
        kept = KeptDisks(self._context())
        if not kept.rows:
            self._ask(Intent.DOWN, discard=discard)
            return
        if not discard:
            kept.pull(missing_only=True)
        kept.end()

    def _ask(self, intent: Intent, **options: bool) -> None:
        with self._store.together():
            run = self._store.run(self.id)
            if run.ended_at is not None:
                raise WrongState(
                    f"{self.id} has ended already: {run.state}", hint=f"`launch status {self.id}`"
                )
            refused = why_not(run, intent, options)
            if refused is not None:
                raise WrongState(
                    refused, left_behind="that goes on as before", hint=f"`launch status {self.id}`"
                )
            wanted, details = merged(run, intent, options)
            self._store.ask(self.id, wanted, **details)
        ensure_supervisor(self._home, self._environ)

    def resume(
        self, *, max_cost: str | float | None = None, max_duration_s: float | None = None, **place: Any
    ) -> None:
        """Go on from the newest checkpoint; SPENDS MONEY. Returns at once.

        ``max_cost``: a new limit in USD over all attempts, or ``"+2"`` for two more than now. ``place``: where to go
        on, as in `launcher.prepare` (``provider``, ``instance``, ``gpu``, ``region``, ``zone``, ``spot``,
        ``max_price``); without it, at the candidates of the plan.

        Raises:
            WrongState: it has not ended, or it succeeded.
            OverBudget: the limits leave nothing to go on with.
            JobFileError: a secret of the job has no value in the environment.
            NameTaken: another live run has its name.
        """
        resume(self._context(), max_cost=max_cost, max_duration_s=max_duration_s, **place)
        ensure_supervisor(self._home, self._environ)

    def interrupt(self, *, notice_s: float = 30.0) -> None:
        """Have the provider announce the machine's end and take it away, as a spot market would: for rehearsals.

        Raises:
            WrongState: no machine is rented, or its provider cannot do this.
        """
        row, _ = self._live_instance()
        ref = InstanceRef.parse(row.ref)
        provider = self._context().provider(ref.provider)
        if not isinstance(provider, Interruptible):
            raise WrongState(f"{ref.provider} cannot be told to interrupt a machine")
        provider.interrupt(ref, notice_s=notice_s)

    # Reaching into the machine

    def machine_folder(self) -> PurePosixPath | None:
        """Where the run lies on its newest machine (docs/run-directory.md); None before anything was started there."""
        attempt = self._context().attempt
        if attempt is None or attempt.handle is None:
            return None
        return Start.of_handle(from_json(Handle, attempt.handle)).folder.root

    def pull(
        self, dest: Path | None = None, *, on_event: Callable[[Event], None] | None = None
    ) -> FetchReport:
        """Bring outputs home now, verified; what is home already is not copied again.

        With ``dest`` the files go to a folder of the run's id in there, and the run's own results are left alone. A
        machine that was stopped with its disk kept is started for it, which costs a little, and stopped again; what a
        machine has pushed to a bucket before it ended is read from there. Of an ended run without a machine ``dest``
        gets a copy of what is home. ``on_event`` is told every few seconds how far it is.

        Raises:
            WrongState: there is no machine, or nothing was started on it.
            MachineUnreachable, FetchError: what came so far is kept; call again.
        """
        context = self._context()
        onlooker = Onlooker(report=self._told_to(on_event)) if on_event is not None else NOBODY
        kept = KeptDisks(context)
        if kept.readable:
            return _together(kept.pull(dest, onlooker=onlooker))
        attempt = context.attempt
        if attempt is None or attempt.handle is None:
            if dest is not None and self._is_home_alone():
                return copy_of_results(context, dest, onlooker)
            raise WrongState(f"{self.id} has not started anything yet", hint=f"`launch status {self.id}`")
        handle = from_json(Handle, attempt.handle)
        machine = context.machine_of(attempt)
        if machine is not None and machine.ended_at is not None:  # released, it may be there all the same
            ref = InstanceRef.parse(machine.ref)
            instance = context.provider(ref.provider).get(ref)
            if instance.access is not None:
                runner = self._runner_on(instance)
                return _together(bring_outputs(context, runner, handle, dest=dest, onlooker=onlooker))
            pushed = runner_for_pushed(context, attempt)
            if pushed is not None:
                reports = bring_outputs(context, pushed, handle, dest=dest, onlooker=onlooker)
                pushed.end(handle)
                return _together(reports)
            if dest is not None and self._is_home_alone():
                return copy_of_results(context, dest, onlooker)
        return _together(bring_outputs(context, self._runner(), handle, dest=dest, onlooker=onlooker))

    def _is_home_alone(self) -> bool:
        """The run has ended, no machine of it is left, and something of it came home."""
        has_ended = self._store.run(self.id).ended_at is not None
        has_machine = any(row.ended_at is None for row in self._store.instances(self.id))
        return has_ended and not has_machine and bool(self._store.outputs(self.id))

    def _told_to(self, on_event: Callable[[Event], None]) -> Report:
        def report(kind: Kind, message: str, **data: Any) -> None:
            on_event(Event(kind=kind, message=message, at=utc_now(), run_id=self.id, data=data))

        return report

    def execute(self, argv: Sequence[str], *, stdin: Stdin = b"", timeout_s: float | None = None) -> Result:
        """Run a command in the job's working folder on its machine and return what it left.

        ``stdin``: all that it reads, or pieces that are taken as they come until it ends.
        """
        attempt = self._context().attempt
        if attempt is None or attempt.handle is None:
            raise WrongState(f"{self.id} has not started anything yet", hint=f"`launch status {self.id}`")
        handle = from_json(Handle, attempt.handle)
        if timeout_s is None:
            return self._runner().execute(handle, argv, stdin=stdin)
        return self._runner().execute(handle, argv, stdin=stdin, timeout_s=timeout_s)

    def attach_argv(self) -> list[str]:
        """Return the command that shows the job's tmux session on this terminal."""
        attempt = self._context().attempt
        if attempt is None or attempt.handle is None:
            raise WrongState(f"{self.id} has no session", hint=f"`launch logs {self.id}` shows its output")
        return self._runner().attach_command(from_json(Handle, attempt.handle))

    def _runner(self) -> MachineRunner:
        return self._runner_on(self._live_instance()[1])

    def _runner_on(self, instance: Instance) -> MachineRunner:
        if instance.access is None:
            raise MachineUnreachable(f"{instance.ref} is {instance.state.value} and has no address")
        context = self._context()
        return runner_for(
            instance, ssh_folder=context.paths.ssh, environ=self._environ, report=context.report
        )

    def _live_instance(self) -> tuple[InstanceRow, Instance]:
        rows = [row for row in self._store.instances(self.id) if row.ended_at is None]
        if not rows:
            copies = f"; `launch pull {self.id} DIR` copies them" if self._is_home_alone() else ""
            raise WrongState(
                f"{self.id} has no machine: its state is {self._store.run(self.id).state}",
                hint=f"its outputs are in {self._store.run(self.id).results_dir}{copies}",
            )
        ref = InstanceRef.parse(rows[-1].ref)
        return rows[-1], self._context().provider(ref.provider).get(ref)

    def _context(self) -> RunContext:
        return RunContext(self._home, self._store, self.id, self._environ)


def _together(reports: Sequence[FetchReport]) -> FetchReport:
    return FetchReport(
        files=tuple(file for report in reports for file in report.files),
        refused=tuple(item for report in reports for item in report.refused),
        unmatched=tuple(item for report in reports for item in report.unmatched),
    )
