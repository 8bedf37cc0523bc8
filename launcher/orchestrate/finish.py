"""The end of a run: outputs home and verified, then the machine ended and its end confirmed, then the final state."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path, PurePosixPath

from launcher.errors import LaunchError, MachineError
from launcher.events import Kind
from launcher.forecast.bookkeeping import account_of, hours_beside_steps
from launcher.forecast.history import account_row, speed_row, work_row
from launcher.judging import missing_metrics, verdict_of_run
from launcher.orchestrate.attention import LAST_CHANCE
from launcher.orchestrate.budget import cost_of_attempt, deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.homecoming import bring_everything
from launcher.orchestrate.machines import end_machines, park_machines
from launcher.orchestrate.observe import Seen
from launcher.orchestrate.pushed import forget_pushed
from launcher.orchestrate.stage_lost import lost_come_first
from launcher.orchestrate.stage_record import conclude
from launcher.policy.actions import Finish
from launcher.policy.stages import FAILURES, is_over
from launcher.policy.states import Reason, RunState
from launcher.records import from_json
from launcher.results import LOGS_DIR
from launcher.runners.base import Progress
from launcher.store import AttemptRow, Intent
from provisioning import InstanceState, WhenUnattended
from trainer.contract import Cause

__all__ = ["bring_home", "close_attempt", "close_stage", "decide_end", "finish"]

RETRY_S = 5.0
CONFIRM_S = 2.0


def decide_end(context: RunContext, action: Finish) -> None:
    """Write down how the run will end, before anything is done about it."""
    verdict = {
        "code": action.reason.value,
        "words": action.words,
        "pull": action.pull,
        "keep_disk": action.keep_disk,
        "stage": action.stage,
    }
    words = f"the run ends as {action.state.value}: {action.said}"
    with context.store.together():
        context.update_run(verdict=verdict)
        context.report(Kind.DECISION, words, action="finish", reason=action.reason.value)
        if action.pull and context.state is not RunState.PULLING:
            context.move(RunState.PULLING, "outputs come home")
        elif context.state not in (RunState.STOPPING, RunState.PULLING):
            context.move(RunState.STOPPING, "machines are being ended")


def finish(context: RunContext, seen: Seen | None) -> float | None:
    """Bring the run one step nearer to its decided end; None when it has ended, else seconds to the next step."""
    if seen is not None and _wants_outputs(context, seen):
        wait_s = _settle_outputs(context, seen)
        if wait_s is not None:
            return wait_s
    discard = bool(context.run.intent_options.get("discard"))
    if seen is not None and not discard and lost_come_first(context, seen):
        return RETRY_S
    if seen is not None and seen.runner is not None and seen.handle is not None:
        with suppress(MachineError):
            seen.runner.end(seen.handle)
    if discard and seen is not None and seen.handle is not None and not seen.attempt.fetched:
        _discard(context)
    verdict = context.run.verdict
    assert verdict is not None
    keeps = verdict["keep_disk"] and not _has_nothing_to_keep(context)
    done = park_machines(context) if keeps else end_machines(context, discard=discard)
    if not done:
        return CONFIRM_S
    _end(context, Reason(verdict["code"]), verdict["words"], verdict.get("stage", ""))
    return None


def _wants_outputs(context: RunContext, seen: Seen) -> bool:
    verdict = context.run.verdict
    assert verdict is not None
    discard = bool(context.run.intent_options.get("discard"))
    return bool(verdict["pull"]) and not seen.attempt.fetched and seen.handle is not None and not discard


def _has_nothing_to_keep(context: RunContext) -> bool:
    """`launch down` ends the disk too, also of a run that was to keep it: unless it holds what is nowhere else."""
    if context.run.intent is not Intent.DOWN:
        return False
    attempt = context.attempt
    is_home = attempt is None or attempt.handle is None or attempt.fetched
    return is_home or bool(context.run.intent_options.get("discard"))


def _discard(context: RunContext) -> None:
    """A person gave outputs up that were on their way: what ended without them is no success."""
    verdict = context.run.verdict
    if verdict is not None and verdict["pull"] and verdict["code"] == Reason.FINISHED.value:
        words = "the job finished, and its outputs were not wanted"
        verdict = {**verdict, "pull": False, "code": Reason.STOPPED_BY_USER.value, "words": words}
        context.update_run(verdict=verdict)


def _settle_outputs(context: RunContext, seen: Seen) -> float | None:
    """Bring the outputs home, or find out that nobody can; None when there is nothing left to wait for."""
    state, is_there = seen.situation.machine.state, seen.runner is not None
    if state in (InstanceState.STOPPED, InstanceState.TERMINATED) and not is_there:
        return _without_machine(context, seen)
    if state is InstanceState.STOPPING:
        return CONFIRM_S
    problem = bring_home(context, seen)
    if problem is None:
        return None
    if context.now >= deadlines_now(context).hard + LAST_CHANCE:
        words = f"outputs could not be brought home up to the deadline: {problem}; {_where(seen)}"
        _give_up(context, words, keep_disk=_parks(context, seen))
        return None
    return _wait_for_outputs(context, problem)


def _without_machine(context: RunContext, seen: Seen) -> float | None:
    """The machine went before its outputs were home."""
    if _may_be_redone(context):
        return _withdraw(context)
    if seen.situation.machine.state is InstanceState.STOPPED:
        words = "the machine stopped before its outputs were home: its disk is kept, `launch pull` reads it"
        _give_up(context, words, keep_disk=True)
    else:
        _give_up(context, f"the machine ended before its outputs were home; {_where(seen)}")
    return None


def _parks(context: RunContext, seen: Seen) -> bool:
    return context.when_unattended(seen.attempt) is WhenUnattended.PARK


def _may_be_redone(context: RunContext) -> bool:
    """The job had finished, and nobody and no limit forbids to do again what is missing."""
    run = context.run
    assert run.verdict is not None
    wanted_out = run.intent is not Intent.NONE or context.now >= deadlines_now(context).soft
    return run.verdict["code"] == Reason.FINISHED.value and not wanted_out


def _withdraw(context: RunContext) -> float:
    """Take the decision back: a run whose outputs were lost with its machine has not succeeded."""
    words = "the machine was taken away before its outputs were home"
    with context.store.together():
        context.update_run(verdict=None)
        context.move(RunState.INTERRUPTED, words, code=Reason.INSTANCE_LOST)
    return 0.0


def _where(seen: Seen) -> str:
    """What is left where outputs could not be fetched."""
    if seen.situation.machine.claimed and seen.handle is not None:  # it is never deleted
        folder = PurePosixPath(seen.handle.data.get("work_root", "")) / "launch" / seen.handle.run_id
        return f"they are still on it, in {folder}"
    return "what was mirrored and pulled before is kept"


def _give_up(context: RunContext, words: str, *, keep_disk: bool = False) -> None:
    """End the run without its outputs, and never as a success."""
    verdict = {**(context.run.verdict or {}), "pull": False}
    if verdict["code"] == Reason.FINISHED.value:
        verdict |= {"code": deadlines_now(context).reason.value, "words": f"the job finished, but {words}"}
    if keep_disk:
        verdict["keep_disk"] = True
    with context.store.together():
        context.update_run(verdict=verdict)
        context.report(Kind.WARNING, words)


def _wait_for_outputs(context: RunContext, problem: str) -> float:
    """Keep the machine: nothing is ended by choice before its outputs are home. Its own deadline still ends it."""
    hard = deadlines_now(context).hard
    words = f"outputs are not home yet: {problem}; the machine is kept until {hard:%Y-%m-%d %H:%M} UTC"
    if context.run.reason != words:
        context.move(context.state, words)
        how = f"`launch down --no-pull {context.run_id}` ends it without them"
        context.report(Kind.WARNING, f"{words}. {how}", problem=problem)
    return RETRY_S if hard > context.now else CONFIRM_S


def bring_home(context: RunContext, seen: Seen) -> str | None:
    """Bring the newest checkpoint, all outputs and the log home; return what kept it from it, or None."""
    if seen.handle is None:
        return None  # nothing was ever started there
    if seen.runner is None:
        return "the machine does not answer"
    try:
        bring_everything(context, seen.runner, seen.handle, seen.attempt)
    except LaunchError as err:
        return str(err)
    except OSError as err:
        return f"this computer: {err}"
    return None


def close_attempt(context: RunContext, attempt: AttemptRow, code: str, words: str) -> AttemptRow:
    """Note that an attempt is over, why, and what it cost; the cause that its watchdog told comes first."""
    cause = code
    if attempt.progress is not None:
        progress = from_json(Progress, attempt.progress)
        if progress.cause is not Cause.NONE and not _says_more(code, progress.cause):
            cause = progress.cause.value
    usd = cost_of_attempt(context, attempt)
    return context.update_attempt(attempt, ended_at=context.clock(), cause=cause, reason=words, usd=usd)


def _says_more(code: str, cause: Cause) -> bool:
    """To a watchdog the limit on money is a deadline like another."""
    return cause is Cause.DEADLINE and code == Reason.BUDGET.value


def close_stage(context: RunContext, attempt: AttemptRow) -> None:
    """Note that an attempt is over, as its stage, which is over on record, has ended."""
    record = context.stage_records[attempt.stage]
    code = record.code or Reason.FINISHED.value
    close_attempt(context, attempt, code, record.words or Reason.FINISHED.words)


def _end(context: RunContext, reason: Reason, words: str, stage: str) -> None:
    """Enter the final state; ``stage``: the one that ``words`` are about, where they are about one of several."""
    attempt = context.attempt
    forget_pushed(context)
    context.paths.secrets.unlink(missing_ok=True)
    with context.store.together():
        if attempt is not None and attempt.ended_at is None:
            _close_last(context, attempt, reason, words)
            if context.job.stages and (reason in FAILURES or (reason is Reason.FINISHED and attempt.fetched)):
                conclude(context, attempt, reason, words)
        _judge(context, reason)
        _keep_difference(context)
        context.move(reason.final_state, f"stage {stage}: {words}" if stage else words, code=reason)
        _keep_books(context)


def _close_last(context: RunContext, attempt: AttemptRow, reason: Reason, words: str) -> None:
    """The last attempt ends as the run does, or as its stage did: that one may have succeeded in a run that failed."""
    if is_over(attempt.stage, context.stage_records):
        close_stage(context, attempt)
    else:
        close_attempt(context, attempt, reason.value, words)


def _judge(context: RunContext, reason: Reason) -> None:
    """Say what the numbers of the run were worth, and what was asked for and never came."""
    run, attempts = context.run, context.attempts
    told = [from_json(Progress, row.progress).log_reading for row in attempts if row.progress is not None]
    readings = [reading for reading in told if reading is not None]
    if readings and not any(reading.matched for reading in readings):
        lines = sum(reading.lines for reading in readings)
        context.report(Kind.WARNING, f"progress: none of {lines:,} lines of output matched")
    if reason in (Reason.FINISHED, Reason.GAVE_UP) and (missing := missing_metrics(run)):
        context.report(Kind.WARNING, missing)
    verdict = verdict_of_run(run, attempts)
    if verdict is not None and reason is Reason.FINISHED:
        context.report(Kind.DECISION, f"expect: {verdict.words}", met=verdict.met)


def _keep_difference(context: RunContext) -> None:
    """Lay the difference of the code to its commit beside what came home. It never leaves this computer."""
    logs = Path(context.run.results_dir, LOGS_DIR)
    if logs.is_dir() and context.paths.source_diff.is_file():
        with suppress(OSError):  # no reason not to end a run
            shutil.copyfile(context.paths.source_diff, logs / "source.diff")


def _keep_books(context: RunContext) -> None:
    """Remember what the run came to beside its estimate, and how fast the job went, for the next estimate."""
    attempt, run, now = context.attempt, context.run, context.clock()
    events = context.store.events(context.run_id)
    account = account_of(run, context.plan, context.attempts, context.instances, events, now)
    if account is None or attempt is None:
        return
    context.store.put(account_row(account))
    if context.job.stages:  # each of them was remembered when it was over
        return
    offer, beside_h = context.offer_of(attempt), None
    if account.finished:
        # What was done twice is not known to the step, and would pass for what comes beside the steps.
        in_one_piece = len(context.attempts) == 1 and attempt.starts == 1
        beside_h = hours_beside_steps(run, context.attempts, events, now) if in_one_piece else None
        used = context.job.resources.gpus_used
        context.store.put(work_row(run, context.attempts, run.job["fields"], offer, now, gpus_used=used))
    row = speed_row(run, attempt, offer, now, beside_h=beside_h)
    if row is not None:
        context.store.put(row)
