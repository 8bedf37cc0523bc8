"""The Python API: the same words as the command line, without a print or a prompt."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import results
from launcher.errors import NameTaken, UsageError
from launcher.events import Event, Kind
from launcher.forecast.estimates import Estimate
from launcher.home import Home, RunPaths
from launcher.job import Job, new_run_id
from launcher.job.environments import environment_at_launch
from launcher.job.stages import job_of_stage
from launcher.listing import follow_if_nobody_does
from launcher.orchestrate.context import RunContext
from launcher.planning.comparison import compare
from launcher.planning.options import Options
from launcher.planning.preparation import Prepared, prepare
from launcher.policy.states import RunState
from launcher.quantities import offer_words
from launcher.records import to_json
from launcher.run import Run
from launcher.secrets import write_secrets
from launcher.snapshot import Snapshot, kept_out, pack
from launcher.snapshot.origin import origin_of
from launcher.store import RunRow, Store
from launcher.supervise import ensure_supervisor, supervise
from provisioning.models import utc_now

if TYPE_CHECKING:
    from typing_extensions import Unpack  # in `typing` from Python 3.11 on

__all__ = ["adopt", "attach", "estimate", "launch", "watch"]


def launch(job: Job | Prepared, **options: Unpack[Options]) -> Run:
    """Start a job and return a handle on the run at once; SPENDS MONEY without asking, within the plan's limits.

    ``options`` are `launcher.Options`. The record is written before anything is rented, and a background
    supervisor follows the run from then on, whatever becomes of this process.

    Raises:
        JobFileError, UsageError (also without ``accept_client_deadline`` where it is needed), HomeError, DependencyMissing: something is wrong; nothing was rented or recorded.
        NameTaken: a live run has this name.
        NothingToRent, OverBudget: nothing fits within the limits.
    """
    if isinstance(job, Prepared) and options:
        raise UsageError(f"options are given to prepare(), not with what it returned: {', '.join(options)}")
    prepared = job if isinstance(job, Prepared) else prepare(job, **options)
    prepared.require_ok()
    prepared.require_consent()
    home = Home.open(prepared.environ)
    store = Store(home.database)
    _refuse_taken_name(store, prepared.name)
    run_id = _new_folder(home, prepared.name)
    paths = home.run(run_id)
    try:
        code = pack(
            prepared.job.workdir_path,
            paths.snapshot,
            kept_out=kept_out(prepared.job, out=prepared.plan.out, home=home.root),
        )
        write_secrets(paths.secrets, prepared.variables.secrets)
        store.add_run(_row(prepared, run_id, _origin(prepared.job, paths, code)))
    except BaseException:
        if not store.has_run(
            run_id
        ):  # a Ctrl-C may come when the run is on record already: then it is the supervisor's
            shutil.rmtree(paths.root, ignore_errors=True)
        raise
    context = RunContext(home, store, run_id, prepared.environ)
    context.report(
        Kind.PLANNED,
        f"{run_id}: {offer_words(prepared.plan.offer)}",
        estimate=prepared.plan.estimate.to_json(),
        candidates=len(prepared.plan.candidates),
    )
    ensure_supervisor(home, prepared.environ)
    return Run(home, store, run_id, prepared.environ)


def _new_folder(home: Home, name: str) -> str:
    """Draw an id that no run of this home has, and make its folder."""
    while True:
        run_id = new_run_id(name, random.Random())
        try:
            home.run(run_id).root.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return run_id


def _refuse_taken_name(store: Store, name: str) -> None:
    """Say early what `Store.add_run` would refuse after the code has been packed."""
    for run in store.live_runs():
        if run.name == name:
            raise NameTaken(
                f"a run named {name!r} is live: {run.run_id}",
                hint=f"follow it with `launch logs -f {name}`, end it with `launch stop {name}`, "
                "or choose another --name",
            )


def _origin(job: Job, paths: RunPaths, code: Snapshot) -> dict[str, Any]:
    """Where the code of a run comes from, for its record; the difference to its commit goes beside the snapshot."""
    origin, diff = origin_of(job.workdir_path, {entry.path for entry in code.manifest.entries})
    if diff:
        paths.source_diff.write_bytes(diff)
    return {**to_json(origin), "snapshot_sha256": code.sha256}


def _row(prepared: Prepared, run_id: str, code: dict[str, Any]) -> RunRow:
    job, now = prepared.job, utc_now()
    environments = {
        stage.name: to_json(environment_at_launch(job_of_stage(job, stage.name), stage.environment))
        for stage in (job.every_stage if job.stages else ())
    }
    return RunRow(
        run_id=run_id,
        name=prepared.name,
        state=RunState.QUEUED.value,
        reason="waits for the supervisor",
        created_at=now,
        updated_at=now,
        job={
            "fields": job.to_dict(),
            "base_dir": str(job.base_dir),
            "environment": to_json(environment_at_launch(job, job.environment)),
            **({"environments": environments} if environments else {}),
            "envs": dict(prepared.variables.envs),
            "code": code,
            **({"carried": to_json(prepared.carried)} if prepared.carried else {}),
        },
        plan=prepared.plan.to_json(),
        limits=to_json(prepared.plan.limits),
        workdir=str(job.workdir_path),
        results_dir=str(results.results_dir(job, run_id, out=prepared.plan.out)),
    )


def estimate(job: Job, **options: Unpack[Options]) -> tuple[Estimate, ...]:
    """Price the whole run: the choice first, then the other candidates; free of charge.

    ``options`` are `launcher.Options`, errors those of `launcher.prepare`; what only forbids starting the job is no obstacle here.
    Where no provider is named, every provider that can be asked is, and the cheapest whole run comes first.
    """
    return compare(job, **options).estimates


def attach(run: str, *, environ: Mapping[str, str] | None = None) -> Run:
    """Return the handle on a run: by id, unique prefix, or name (its newest run); `RunNotFound` when there is none."""
    env = dict(os.environ) if environ is None else environ
    home = Home.open(env)
    store = Store(home.database)
    found = store.find_run(run)
    follow_if_nobody_does(home, store, env)
    return Run(home, store, found.run_id, env)


def adopt(machine: str, *, out: Path | None = None, environ: Mapping[str, str] | None = None) -> Run:
    """Take over a run that the record here does not know, by its machine's address or its id; asks nothing.

    Logs in with the user's own key and goes on with the run from here. Must not be called while another computer
    still follows the run: both would act on it.

    Raises:
        RunNotFound: no such machine or run, or it is on record here.
        WrongState: its machine is stopped, or tells nothing about it.
        JobFileError, NameTaken, MachineError: it cannot be followed from here; nothing was changed.
    """
    from launcher.adoption import Adopter  # rarely needed, and it imports every provider's seam

    adopter = Adopter.open(environ)
    return adopter.adopt(adopter.look(adopter.find(machine)), out=out)


def watch(
    *, on_event: Callable[[Event], None] | None = None, environ: Mapping[str, str] | None = None
) -> bool:
    """Follow all live runs in this process until none is live; False when another supervisor already does."""
    home = Home.open(environ)
    return supervise(home, sinks=() if on_event is None else (on_event,))
