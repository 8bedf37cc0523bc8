"""The main form: job, preflight, plan and bill, one question, and then following the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.failures import EXIT_DECLINED, Detached, Failure, failure_of, nothing_rented
from launcher.cli.options import COMMAND, api_options
from launcher.cli.screen import Screen
from launcher.errors import LaunchError, UsageError
from launcher.render.facts import small_run_words

if TYPE_CHECKING:
    from launcher import Prepared, Run, RunResult
    from launcher.job import Job

__all__ = ["agreed", "job_of", "start"]

OFFER = "There is no job file here. Take the built-in Brain-to-Text '25 pipeline, with its data in ./data?"


def start(ctx: click.Context, **given: Any) -> int:
    """Carry out ``launch [JOB.yaml] [options]``; everything before the question is free of charge."""
    screen = Screen(json=given["as_json"], debug=given["debug"])
    with nothing_rented():
        job = job_of(ctx, screen, given)
        if given["smoke"] and given["detach"]:
            raise UsageError(
                "--smoke waits for its small run, and --detach does not wait", hint="leave one of the two out"
            )
        with screen.busy("Checking, and asking for prices"):
            prepared, small = _prepare(job, given)
        if not given["dry_run"]:
            _refuse(screen, prepared)
        _show_plan(screen, prepared, as_document=given["dry_run"])
        if small is not None:
            screen.notice(small_run_words(small))
        if given["dry_run"]:
            refusal = _refusal(prepared)
            if refusal is None:
                return 0
            screen.notice(refusal.text())
            return refusal.exit_code
        if not given["yes"]:
            if not agreed(screen, prepared):
                return EXIT_DECLINED
            prepared = replace(prepared, accepts_client_deadline=True)
        prepared.require_consent()
    return _launch(screen, prepared, small, detach=given["detach"])


def job_of(ctx: click.Context, screen: Screen, given: Any) -> Job:
    """Return the job that the command line names, changed as it says; where there is none, offer the built-in one."""
    from launcher.cli.app import COMMANDS
    from launcher.cli.job_choice import NoJob, changed, choose_job

    settings, envs = dict(given["settings"]), dict(given["envs"])
    try:
        return choose_job(
            ctx.args,
            ctx.meta.get(COMMAND),
            settings=settings,
            envs=envs,
            commands=list(COMMANDS),
            cwd=Path.cwd(),
        )
    except NoJob:
        if given.get("yes") or not screen.can_ask:
            raise
    if not screen.confirm(OFFER, default=False, otherwise="nothing was started"):
        raise click.exceptions.Exit(EXIT_DECLINED)
    from launcher.job.built_in import built_in_job

    return changed(built_in_job(Path.cwd()), settings, envs)


def _prepare(job: Job, given: Any) -> tuple[Prepared, Prepared | None]:
    """The run, and with ``--smoke`` the small one before it."""
    from launcher import prepare, prepare_with_smoke

    if not given["smoke"]:
        return prepare(job, **api_options(given)), None
    both = prepare_with_smoke(job, **api_options(given))
    return both.long, both.small


def _refuse(screen: Screen, prepared: Prepared) -> None:
    """Raise the first error of the preflight, after the others were said: no plan for what cannot be started."""
    for finding in prepared.errors[1:]:
        screen.notice(f"error: {finding.message}" + (f"\nwhat to do: {finding.fix}" if finding.fix else ""))
    prepared.require_ok()


def _refusal(prepared: Prepared) -> Failure | None:
    """What keeps a plan from being carried out; a dry run says it in the plan's own document."""
    try:
        with nothing_rented():
            prepared.require_ok()
    except LaunchError as err:
        return failure_of(err)
    return None


def _show_plan(screen: Screen, prepared: Prepared, *, as_document: bool) -> None:
    if screen.json and as_document:
        from launcher.render.documents import plan_document

        refusal = _refusal(prepared)
        screen.document({**plan_document(prepared), **(refusal.document() if refusal else {})})
    from launcher.render.plan import plan_view

    screen.show(plan_view(prepared))


def agreed(screen: Screen, prepared: Prepared) -> bool:
    """Ask the one question; what is asked for depends on what could go wrong."""
    if prepared.plan.needs_client_deadline and not prepared.accepts_client_deadline:
        question = (
            "Nothing but this computer ends that machine: if this computer dies, billing goes on. Rent?"
        )
        return screen.confirm(question, default=False, otherwise="nothing was rented")
    if prepared.plan.bills:
        return screen.confirm("Rent?", default=False, otherwise="nothing was rented")
    return screen.confirm("Start?", default=True, otherwise="nothing was started")


def _launch(screen: Screen, prepared: Prepared, small: Prepared | None, *, detach: bool) -> int:
    from launcher import SmokeFailed, WithSmoke, launch, launch_after_smoke
    from launcher.cli.closing import exit_code, handed_over

    try:
        if small is None:
            run = launch(prepared)
        else:
            both = WithSmoke(
                small=replace(small, accepts_client_deadline=prepared.accepts_client_deadline), long=prepared
            )
            run = launch_after_smoke(both, wait=lambda run: _follow(screen, run))
    except KeyboardInterrupt:
        raise Detached(_what_goes_on(prepared.name, *([small.name] if small else []))) from None
    except SmokeFailed as err:
        screen.notice("the small run did not succeed: the long run was not started")
        return exit_code(err.result)
    if detach:
        return handed_over(screen, run)
    return exit_code(_follow(screen, run))


def _follow(screen: Screen, run: Run) -> RunResult:
    from launcher.cli.closing import close
    from launcher.cli.follow import follow

    result = follow(screen, run)
    close(screen, run, result)
    return result


def _what_goes_on(*names: str) -> str:
    """Say what Ctrl-C at the moment of starting has left: a run that is recorded is carried out."""
    from launcher import list_runs
    from launcher.render.facts import after_detaching

    live = [status for status in list_runs() if status.is_live and status.name in names]
    return after_detaching(live[0]) if live else "nothing was started"
