"""The end of a run: outputs home and verified, then the machine ended and its end confirmed, then the final state."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from launcher.actions import Finish
from launcher.errors import LaunchError, MachineError
from launcher.events import Kind
from launcher.history import speed_row
from launcher.orchestrate.budget import cost_of_attempt, deadlines_now
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.homecoming import bring_log, bring_outputs, mirror_checkpoints
from launcher.orchestrate.observe import Seen
from launcher.orchestrate.rent import end_instances
from launcher.records import from_json
from launcher.runners.base import Progress
from launcher.states import Reason, RunState
from launcher.store import AttemptRow
from provisioning import CloudError, InstanceRef, InstanceState, Offer, Parkable, Transient
from trainer.contract import Cause

__all__ = ["bring_home", "close_attempt", "decide_end", "finish"]

RETRY_S = 15.0
FETCH_TRIES = 3
"""How often broken files are fetched again before the run waits for a person, its machine kept."""


def decide_end(context: RunContext, action: Finish) -> None:
    """Write down how the run will end, before anything is done about it."""
    verdict = {
        "code": action.reason.value,
        "words": action.words,
        "pull": action.pull,
        "keep_disk": action.keep_disk,
    }
    context.store.update_run(context.run_id, verdict=verdict)
    context.report(
        Kind.DECISION,
        f"the run ends as {action.state.value}: {action.words}",
        action="finish",
        reason=action.reason.value,
    )
    state = RunState(context.run.state)
    if action.pull and state is not RunState.PULLING:
        context.move(RunState.PULLING, "outputs come home")
    elif state not in (RunState.STOPPING, RunState.PULLING):
        context.move(RunState.STOPPING, "machines are being ended")


def finish(context: RunContext, seen: Seen | None) -> float | None:
    """Bring the run one step nearer to its decided end; None when it has ended, else seconds to the next step."""
    verdict = context.run.verdict
    assert verdict is not None
    attempt = context.attempt
    discard = bool(context.run.intent_options.get("discard"))
    if attempt is not None and seen is not None and verdict["pull"] and not attempt.fetched and not discard:
        if seen.situation.machine.state is InstanceState.TERMINATED:
            context.report(
                Kind.WARNING, "the machine ended before its outputs were home; what was mirrored is kept"
            )
        elif (problem := bring_home(context, seen)) is not None:
            return _wait_for_outputs(context, problem)
        attempt = context.attempt
    if seen is not None and seen.runner is not None and seen.handle is not None:
        with suppress(MachineError):
            seen.runner.end(seen.handle)
    gone = _park(context) if verdict["keep_disk"] else _end_all(context)
    if not gone:
        return 2.0
    if attempt is not None and attempt.ended_at is None:
        close_attempt(context, attempt, verdict["code"], verdict["words"])
    _learn_speed(context)
    context.paths.secrets.unlink(missing_ok=True)
    reason = Reason(verdict["code"])
    context.move(reason.final_state, verdict["words"], code=reason)
    return None


def bring_home(context: RunContext, seen: Seen) -> str | None:
    """Bring the log, the newest checkpoint and all outputs home; return what kept it from it, or None."""
    runner, handle, attempt = seen.runner, seen.handle, seen.attempt
    if handle is None:
        return None  # nothing was ever started there
    if runner is None:
        return "the machine does not answer"
    try:
        attempt = bring_log(context, runner, handle, attempt, to_the_end=True)
        if attempt.progress is not None:
            progress = from_json(Progress, attempt.progress)
            attempt = mirror_checkpoints(context, runner, handle, attempt, progress, force=True)
        reports = bring_outputs(context, runner, handle)
    except LaunchError as err:
        return str(err)
    except OSError as err:
        return f"this computer: {err}"
    context.store.update_attempt(attempt, fetched=True)
    files = {file.path for report in reports for file in report.files}
    size = sum(file.size_bytes for report in reports for file in report.files)
    context.report(
        Kind.TRANSFER,
        f"{len(files)} files are home and verified, in {context.run.results_dir}",
        what="outputs",
        files=len(files),
        bytes=size,
    )
    return None


def _wait_for_outputs(context: RunContext, problem: str) -> float:
    """Keep the machine: nothing is ended by choice before its outputs are home. Its own deadline still ends it."""
    hard = deadlines_now(context).hard
    left = hard - context.clock()
    words = f"outputs are not home yet: {problem}; the machine is kept until {hard:%Y-%m-%d %H:%M} UTC"
    if context.run.reason != words:
        context.move(RunState(context.run.state), words)
        context.report(
            Kind.WARNING,
            f"{words}. `launch down --no-pull {context.run_id}` ends it without them",
            problem=problem,
        )
    return RETRY_S if left > timedelta(0) else 2.0


def _end_all(context: RunContext) -> bool:
    try:
        return end_instances(context)
    except CloudError as err:
        words = f"the machine could not be ended: {err}"
        if context.run.reason != words:
            context.move(RunState(context.run.state), words)
            context.report(Kind.WARNING, f"{words}. {err.hint or ''}".strip())
        return False


def _park(context: RunContext) -> bool:
    """End compute and keep the disks; where a provider cannot, end everything: the outputs are home."""
    for row in context.store.instances(context.run_id):
        if row.ended_at is not None:
            continue
        ref = InstanceRef.parse(row.ref)
        provider = context.provider(ref.provider)
        if not isinstance(provider, Parkable):
            return _end_all(context)
        try:
            provider.park(ref)
        except Transient:
            return False
    return True


def close_attempt(context: RunContext, attempt: AttemptRow, code: str, words: str) -> AttemptRow:
    """Note that an attempt is over, why, and what it cost."""
    cause = code
    if attempt.progress is not None:
        progress = from_json(Progress, attempt.progress)
        cause = code if progress.cause is Cause.NONE else progress.cause.value
    return context.store.update_attempt(
        attempt,
        ended_at=context.clock(),
        cause=cause,
        reason=words,
        usd=cost_of_attempt(context, attempt),
    )


def _learn_speed(context: RunContext) -> None:
    """Remember how fast the job really went on this kind of machine, for the next estimate."""
    attempt = context.attempt
    if attempt is None:
        return
    row = speed_row(context.run, attempt, from_json(Offer, attempt.offer), context.clock())
    if row is not None:
        context.store.put(row)
