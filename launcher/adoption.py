"""Taking a run over from its machine, when the record at home is lost: with the user's own key, and asked for by name."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from launcher import results
from launcher.connect import runner_for
from launcher.errors import MachineUnreachable, NameTaken, RunNotFound, WrongState
from launcher.events import Kind
from launcher.gc import Collector, Leftover
from launcher.job import Job
from launcher.job.variables import resolve_variables
from launcher.orchestrate.context import RunContext
from launcher.planning.plan import Plan
from launcher.policy.states import RunState
from launcher.records import from_json, to_json
from launcher.run import Run
from launcher.runners.base import Left, Progress
from launcher.runners.machines import MachineRunner
from launcher.secrets import write_secrets
from launcher.store import AttemptRow, InstanceRow, Intent, RunRow, TryOutcome, TryRow
from launcher.supervise import ensure_supervisor
from provisioning import CloudError, Instance

__all__ = ["Adopter", "Orphan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A run that the record does not know, as it was found on its machine."""

    instance: Instance
    run: RunRow
    """As it was when its present start was submitted."""
    attempts: tuple[AttemptRow, ...]
    instances: tuple[InstanceRow, ...]
    left: Left
    progress: Progress
    """Of its newest start, now."""
    host_keys: tuple[str, ...] = ()
    """What was said of host keys that were accepted at first contact."""
    runner: MachineRunner = field(repr=False, compare=False)

    @property
    def job(self) -> Job:
        """The job as it was at launch."""
        stored = self.run.job
        return Job.from_dict(stored["fields"], base_dir=Path(stored["base_dir"]))

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``launch adopt --json`` has for each."""
        return {
            "run_id": self.run.run_id,
            "ref": str(self.instance.ref),
            "owner": self.instance.owner,
            "alive": self.progress.alive,
            "phase": self.progress.phase.value,
            "step": self.progress.step,
            "total": self.progress.total,
            "heartbeat": None if self.progress.heartbeat is None else self.progress.heartbeat.isoformat(),
            "secrets": sorted(self.job.secrets),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopter:
    """Finds runs that the record of one home does not know, and takes them over."""

    collector: Collector

    @classmethod
    def open(cls, environ: Mapping[str, str] | None = None) -> Adopter:
        """Open it for the home that ``LAUNCH_HOME`` names; raises as `Collector.open`."""
        return cls(collector=Collector.open(environ))

    def candidates(self) -> tuple[list[Leftover], Mapping[str, str]]:
        """Return machines of runs that are not on record, and the providers that could not be asked, with why."""
        found = self.collector.survey()
        store = self.collector.store
        unknown = [
            item
            for item in found.leftovers
            if item.instance.run_id is not None and not store.has_run(item.instance.run_id)
        ]
        return unknown, found.not_asked

    def find(self, text: str) -> Leftover:
        """Return the machine that ``text`` names: its address, or its run's id.

        Raises:
            RunNotFound: there is none, or several; or its run is on record.
        """
        unknown, not_asked = self.candidates()
        named = [item for item in unknown if text in (str(item.instance.ref), item.instance.run_id)]
        if len(named) == 1:
            return named[0]
        if named:
            refs = ", ".join(str(item.instance.ref) for item in named)
            raise RunNotFound(f"{text} has several machines: {refs}", hint="name one of them")
        known = self.collector.store.has_run(text)
        silent = f"; not asked: {', '.join(not_asked)}" if not_asked else ""
        raise RunNotFound(
            f"{text} is on record here: there is nothing to take over"
            if known
            else f"no machine or run {text!r} that the record does not know{silent}",
            hint=f"`launch status {text}`" if known else "`launch adopt` lists them",
        )

    def look(self, leftover: Leftover) -> Orphan:
        """Log in with the user's own key, and read what the run has left there; changes nothing on the machine.

        Raises:
            WrongState: the machine is stopped, or nothing was left on it that can be read.
            MachineError: it does not answer or does not let us in.
        """
        instance, said = leftover.instance, list[str]()

        def note(kind: Kind, message: str, **data: Any) -> None:
            said.append(message)

        folder = self.collector.home.run(instance.run_id or "").ssh
        with contextlib.suppress(CloudError):  # an address may have been missing from the list
            instance = leftover.provider.get(instance.ref)
        runner = _runner(instance, folder, self.collector.environ, note)
        left = runner.left_by(instance.run_id or "")
        if left is None:
            raise WrongState(
                f"{instance.ref} holds nothing that tells how to go on with {instance.run_id}",
                left_behind="the machine, as it was",
                hint="nothing was started on it, or an older launch started it; `launch gc` ends it",
            )
        run = from_json(RunRow, left.record["run"])
        if run.run_id != instance.run_id or left.handle.run_id != instance.run_id:
            raise WrongState(f"{instance.ref} is tagged {instance.run_id} and holds {run.run_id}")
        return Orphan(
            instance=instance,
            run=run,
            attempts=tuple(from_json(AttemptRow, row) for row in left.record["attempts"]),
            instances=tuple(from_json(InstanceRow, row) for row in left.record["instances"]),
            left=left,
            progress=runner.poll(left.handle),
            host_keys=tuple(said),
            runner=runner,
        )

    def forget(self, orphan: Orphan) -> None:
        """Leave no trace here of a run that was looked at and not taken over."""
        if not self.collector.store.has_run(orphan.run.run_id):
            shutil.rmtree(self.collector.home.run(orphan.run.run_id).root, ignore_errors=True)

    def adopt(self, orphan: Orphan, *, out: Path | None = None) -> Run:
        """Write the run into the record and have it followed from now on.

        Its secrets are taken from the environment again. Results go where they would have gone; where the job's
        folder is not on this computer, to ``out``, or to ``results`` in the present folder.

        Raises:
            NameTaken: a live run has its name.
            JobFileError: a secret of the job has no value in the environment.
            MachineError: its code could not be brought home; nothing was written.
        """
        home, store, environ = self.collector.home, self.collector.store, self.collector.environ
        job, now = orphan.job, self.collector.clock()
        variables = resolve_variables(job, environ)
        for problem in variables.missing:
            if problem.path[:1] == ("secrets",):
                raise problem
        taken = [row.run_id for row in store.live_runs() if row.name == orphan.run.name]
        if taken:
            raise NameTaken(
                f"a run named {orphan.run.name!r} is live: {taken[0]}",
                hint=f"end it with `launch stop {taken[0]}`, then adopt",
            )
        paths = home.run(orphan.run.run_id)
        paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        orphan.runner.bring_snapshot(orphan.left, paths.snapshot)
        write_secrets(paths.secrets, variables.secrets)
        run = _revived(orphan.run, job, _out(orphan.run, out), now)
        words = f"taken over from {orphan.instance.ref}: the record of this home did not know it"
        with store.together():
            store.add_run(run)
            for row in _attempts(orphan):
                store.put(row)
            for machine in orphan.instances:
                store.put(machine)
            for answered in _answered_tries(orphan, now):
                store.put(answered)
            context = RunContext(home, store, run.run_id, environ)
            context.report(Kind.DECISION, words, action="adopt", ref=str(orphan.instance.ref))
            for announcement in orphan.host_keys:
                context.report(Kind.INSTANCE, announcement, ref=str(orphan.instance.ref))
        ensure_supervisor(home, environ)
        return Run(home, store, run.run_id, environ)


def _runner(instance: Instance, folder: Path, environ: Mapping[str, str], report: Any) -> MachineRunner:
    if instance.access is None:
        raise WrongState(
            f"{instance.ref} is {instance.state.value} and cannot be looked into",
            left_behind="the machine, as it was",
            hint="start it in its provider's console, then adopt; `launch gc` ends it",
        )
    try:
        return runner_for(instance, ssh_folder=folder, environ=environ, report=report)
    except MachineUnreachable as err:
        raise MachineUnreachable(
            err.message,
            hint=err.hint or "is this computer allowed in, and is your own key at hand (ssh-add -l)?",
        ) from err


def _out(run: RunRow, out: Path | None) -> Path | None:
    """Where results go, when not to the usual place."""
    if out is not None:
        return out.expanduser().absolute()
    planned = run.plan.get("out")
    is_here = Path(planned or run.job["base_dir"]).is_dir()
    return (Path(planned) if planned else None) if is_here else Path.cwd() / "results"


def _revived(run: RunRow, job: Job, out: Path | None, now: datetime) -> RunRow:
    plan = replace(Plan.from_json(run.plan), out=out)
    return replace(
        run,
        state=RunState.RECOVERING.value,
        reason="taken over: the record was lost",
        reason_code="",
        updated_at=now,
        ended_at=None,
        plan=plan.to_json(),
        results_dir=str(results.results_dir(job, run.run_id, out=out)),
        intent=Intent.NONE,
        intent_options={},
        verdict=None,
        log_bytes=0,
        log_parts=(),
    )


def _attempts(orphan: Orphan) -> list[AttemptRow]:
    """The attempts as they were; of the newest nothing is at home any more, and its handle is the one it was given."""
    *earlier, newest = orphan.attempts
    kept = [replace(row, mirrored={}) for row in earlier]
    handle = orphan.left.handle
    return [
        *kept,
        replace(
            newest,
            starts=handle.start,
            handle=to_json(handle),
            progress=None,
            mirrored={},
            fetched=False,
            log_offset=0,
            silence={},
            trouble=None,
            not_before=None,
            ending_at=None,
            ending_code="",
            ended_at=None,
        ),
    ]


def _answered_tries(orphan: Orphan, now: datetime) -> list[TryRow]:
    """The create calls that are known by what they made: of the machines before, and of the one that is taken over."""
    newest, instance = orphan.attempts[-1], orphan.instance
    token = instance.token or f"{orphan.run.run_id}-{newest.n}-1"
    present = TryRow(
        token=token,
        run_id=orphan.run.run_id,
        stage=newest.stage,
        attempt=newest.n,
        try_number=_number(token),
        offer=newest.offer,
        spec={},
        asked_at=now,
        outcome=TryOutcome.CREATED,
        instance=str(instance.ref),
    )
    before = [
        replace(
            present,
            token=row.token,
            stage=row.stage,
            attempt=row.attempt,
            try_number=_number(row.token),
            offer=row.offer,
            asked_at=row.created_at,
            instance=row.ref,
        )
        for row in orphan.instances
        if row.token != token
    ]
    return [*before, present]


def _number(token: str) -> int:
    """Of the try that a token is of: its last part."""
    number = token.rpartition("-")[2]
    return int(number) if number.isdigit() else 1
