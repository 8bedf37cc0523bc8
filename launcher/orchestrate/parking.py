"""Machines whose disks hold what never came home: compute ends, the disk stays, and the run goes on elsewhere."""

from __future__ import annotations

from launcher.events import Kind
from launcher.orchestrate.budget import deadlines_allowed
from launcher.orchestrate.candidates import begin_attempt
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.finish import close_attempt, decide_end
from launcher.orchestrate.observe import Seen
from launcher.policy.actions import Finish
from launcher.policy.states import Reason, RunState
from provisioning import (
    CloudError,
    InstanceRef,
    InstanceState,
    NoCapacity,
    Parkable,
    QuotaExceeded,
    Transient,
    WhenUnattended,
)

__all__ = ["leave_parked", "may_resume", "park_instead", "start_parked"]

LOOK_S = 0.5
STARTED_S = 1.0
START_AGAIN_S = 2.0
"""After a call to start a stopped machine that was not answered."""


def park_instead(context: RunContext, seen: Seen) -> float | None:
    """Park a machine that is to be ended, where that was agreed for outputs that nobody has fetched.

    Returns seconds until the next look; None where it is to be ended for good.
    """
    attempt, ref = context.attempt, InstanceRef.parse(seen.row.ref)
    provider = context.provider(ref.provider)
    if attempt is None or attempt.handle is None or attempt.fetched or may_resume(seen):
        return None
    if context.when_unattended(attempt) is not WhenUnattended.PARK or not isinstance(provider, Parkable):
        return None
    if seen.situation.machine.state is InstanceState.STOPPED:
        return leave_parked(context, seen, "the machine was ended from here and its disk is kept")
    try:
        provider.park(ref)
    except Transient:
        return LOOK_S  # asked again when the end is not confirmed in time
    except CloudError as err:  # such a machine cannot be stopped: a spot instance on some clouds
        context.complain("park", f"{ref} cannot be parked: {err}; it is ended")
        return None
    return LOOK_S


def may_resume(seen: Seen) -> bool:
    """Whether the market would start the stopped machine again beside the one that takes its place: then it ends.

    What it holds was saved without notice anyway, and the run goes on from its newest checkpoint at home.
    """
    return seen.instance is not None and seen.instance.resumes_by_itself


def leave_parked(context: RunContext, seen: Seen, words: str) -> float:
    """Go on elsewhere from the newest checkpoint at home; what is on the disk stays for `launch pull`."""
    fruitless = 0 if seen.situation.machine_helped else seen.attempt.fruitless + 1
    code = Reason(seen.attempt.ending_code) if seen.attempt.ending_code else Reason.INSTANCE_STOPPED
    attempt = context.update_attempt(seen.attempt, ending_at=None, ending_code="")
    if fruitless >= seen.situation.policy.max_fruitless:
        lost = f"{words}, the {fruitless}th in a row that led no further"
        # Also of a stage that others go on without: what they would rent beside so many disks is for a person to say.
        stage = attempt.stage if context.job.stages else ""
        end = Finish(reason=Reason.NO_PROGRESS, words=lost, pull=False, keep_disk=True, stage=stage)
        decide_end(context, end)
        return 0.0
    with context.store.together():
        if context.state not in (RunState.INTERRUPTED, RunState.RECOVERING):
            context.move(RunState.INTERRUPTED, words, code=code)
        close_attempt(context, attempt, code.value, words)
        context.report(Kind.WARNING, f"{words}: `launch pull {context.run_id}` reads it after the run")
        context.move(RunState.RECOVERING, f"{words}; another machine is rented", code=code)
        begin_attempt(context, avoid_place=True, fruitless=fruitless)
    context.memory.instance = None
    return 0.0


def start_parked(context: RunContext, seen: Seen) -> float | None:
    """Start a stopped machine, which keeps its disk; return seconds until the next look, None where it cannot be started."""
    ref = InstanceRef.parse(seen.row.ref)
    provider = context.provider(ref.provider)
    if not isinstance(provider, Parkable):
        return None
    deadline = deadlines_allowed(context).hard
    context.update_instance(
        seen.row, deadline=deadline
    )  # before it runs, whatever becomes of us and of the answer
    try:
        provider.unpark(ref, deadline)
    except Transient as err:  # it may run all the same: the next look finds out, and asks again if not
        context.complain("unpark", f"{ref} may not have been started: {err}")
        return err.retry_after_s or START_AGAIN_S
    except (NoCapacity, QuotaExceeded) as err:
        context.report(Kind.WARNING, f"it cannot be started again: {err}")
        return None
    context.is_well("unpark")
    return STARTED_S
