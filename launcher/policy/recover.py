"""What to do after a look at a run: one pure function, `decide`, over a `launcher.policy.situation.Situation`.

The rules are asked in a fixed order and the first that has something to say wins. The order is the policy: what the
provider confirms comes before what the machine says, the cause of an end before the exit code, a person's wish and
the limits before any recovery. Nothing here reads a clock; ``docs/states.md`` tells the same story in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.policy.actions import (
    Action,
    EndMachine,
    Finish,
    Kill,
    NewAttempt,
    Proceed,
    RestartHere,
    Save,
    StartMachine,
    Wait,
)
from launcher.policy.states import Reason
from launcher.runners.base import Fault
from provisioning import InstanceState
from trainer.contract import Cause, Exit, Phase

if TYPE_CHECKING:
    from launcher.policy.situation import Situation
    from launcher.runners.base import Progress

__all__ = ["SAID_EVERY_S", "decide"]

SAID_EVERY_S = 10.0
"""How often the words about a job that does not leave change."""


def decide(situation: Situation) -> Action:
    """Return what to do next; there is an answer to every situation, and asking twice gives the same one."""
    for rule in _RULES:
        action = rule(situation)
        if action is not None:
            return action
    return Wait(words="the job is at work", next_look_s=situation.policy.look_s)


def _discarded(s: Situation) -> Action | None:
    if not s.wish.discard:
        return None
    return Finish(
        reason=Reason.STOPPED_BY_USER, words="ended on request; outputs were not wanted", pull=False
    )


def _gone(s: Situation) -> Action | None:
    """The provider confirms that nothing is left of the machine: the only moment to rent another one."""
    if s.machine.state is not InstanceState.TERMINATED:
        return None
    cause = s.progress.cause if s.progress else Cause.NONE
    if s.finished and (s.outputs_home or s.machine.reachable):  # a claimed one is there after its release too
        return Finish(reason=Reason.FINISHED, words=Reason.FINISHED.words, pull=not s.outputs_home)
    if cause in (Cause.STOP, Cause.IDLE):
        return _finish_as_asked(s, cause, pull=False)
    ended = _finish_for_person_or_limit(s, pull=False)
    if ended is not None:
        return ended
    if cause is Cause.NOTICE:
        return _next_machine(s, Reason.SPOT_NOTICE, "the machine was taken away, as announced")
    if s.finished:
        words = (
            "the job finished and the machine is gone before its outputs were home: what is missing is redone"
        )
        return _next_machine(s, Reason.INSTANCE_LOST, words)
    if s.misconfigured:
        return Finish(reason=Reason.BAD_CONFIG, words=Reason.BAD_CONFIG.words, pull=False)
    if s.machine.ending_s is not None:
        return _next_machine(
            s, s.machine.ending_reason or Reason.INSTANCE_LOST, "the old machine is confirmed gone"
        )
    return _next_machine(s, Reason.INSTANCE_LOST, "the provider says that the machine is gone")


def _being_ended(s: Situation) -> Action | None:
    if s.machine.ending_s is None or s.machine.state is InstanceState.STOPPED:
        return None
    if s.machine.ending_s < s.policy.confirm_s:
        return Wait(words="waits until the provider confirms that the machine has ended", next_look_s=5.0)
    return EndMachine(
        words=f"the provider has not confirmed the end for {_minutes(s.policy.confirm_s)}: asked again",
        fetch_first=False,
    )


def _stopped_by_provider(s: Situation) -> Action | None:
    """Compute has ended and the disk exists: at its deadline the machine parks itself, or it was outbid."""
    if s.machine.state is InstanceState.STOPPING:
        return Wait(
            reason=Reason.INSTANCE_STOPPED, words="the provider is stopping the machine", next_look_s=5.0
        )
    if s.machine.state is not InstanceState.STOPPED:
        return None
    ended = _finish_for_person_or_limit(s, pull=False, keep_disk=True)
    if ended is not None:
        return ended
    if s.machine.ending_s is not None:
        return EndMachine(words="stopped, and not terminated yet: asked again", fetch_first=False)
    if s.machine.can_start:
        return StartMachine(
            reason=Reason.INSTANCE_STOPPED,
            words="the provider stopped the machine; its disk holds the newest work",
        )
    return EndMachine(
        reason=Reason.INSTANCE_STOPPED,
        words="the provider stopped the machine and it cannot be started again: ended, then replaced",
        fetch_first=False,
    )


def _unreachable(s: Situation) -> Action | None:
    """Unreachable is not gone: wait, and after the grace end it ourselves before anything else is rented."""
    if s.machine.reachable:
        return None
    if s.machine.state is None and not s.machine.claimed:
        return Wait(
            reason=Reason.UNREACHABLE,
            words="neither the machine nor the provider answers: the network here may be down",
            next_look_s=10.0,
        )
    if not s.machine.was_reached:
        return _booting(s)
    over = s.machine.silent_s >= s.policy.unreachable_grace_s
    reason = _reason_of_person_or_limit(s)
    if s.machine.claimed and reason and (s.now >= s.deadlines.hard or over):
        words = f"{reason.words}, and the machine does not answer: the job may still run there"
        return Finish(reason=reason, words=words, pull=False)
    if not s.machine.claimed and (over or s.now >= s.deadlines.hard):
        return EndMachine(
            reason=reason or Reason.UNREACHABLE,
            words=f"no answer for {_minutes(s.machine.silent_s)}: ended, so that it cannot go on unseen",
            fetch_first=False,
        )
    return Wait(reason=Reason.UNREACHABLE, words=_silence_in_words(s), next_look_s=15.0, check_address=True)


def _booting(s: Situation) -> Action | None:
    ended = _finish_for_person_or_limit(s, pull=False)
    if ended is not None:
        return ended
    if s.machine.silent_s < s.policy.boot_s:
        return Wait(
            words=f"the machine boots ({s.machine.silent_s:.0f} s so far)",
            next_look_s=3.0,
            check_address=s.machine.silent_s > s.policy.usual_boot_s,
        )
    words = f"the machine did not come up within {_minutes(s.policy.boot_s)}"
    if s.machine.claimed:
        return Finish(reason=Reason.NO_BOOT, words=words, pull=False)
    return EndMachine(
        reason=Reason.NO_BOOT, words=f"{words}: ended, then another is tried", fetch_first=False
    )


def _silence_in_words(s: Situation) -> str:
    silent = f"no answer for {_minutes(s.machine.silent_s)}"
    if s.machine.claimed:
        return f"{silent}; the machine is not ours to end, so this waits until {s.deadlines.hard:%Y-%m-%d %H:%M} UTC"
    word = s.machine.state.value if s.machine.state else "nothing"
    left_s = s.policy.unreachable_grace_s - s.machine.silent_s
    return f"{silent}, the provider says {word}; in {_minutes(left_s)} it is ended and replaced"


def _not_submitted(s: Situation) -> Action | None:
    if s.progress is not None:
        return None
    ended = _finish_for_person_or_limit(s, pull=False)
    if ended is not None:
        return ended
    if s.trouble is None:
        return Proceed(words="the machine is up")
    if s.trouble.permanent:
        return Finish(reason=s.trouble.reason, words=s.trouble.words, pull=False)
    return _leave_machine(s, s.trouble.reason, s.trouble.words)


def _ended(s: Situation) -> Action | None:
    """Cause first, exit code second."""
    if s.progress is None or not s.has_ended:
        return None
    if s.finished:
        return Finish(reason=Reason.FINISHED, words="the job finished", keep_disk=s.wish.keep_disk)
    if s.progress.cause in (Cause.STOP, Cause.DEADLINE, Cause.IDLE):
        return _finish_as_asked(s, s.progress.cause)
    ended = _finish_for_person_or_limit(s, pull=True)
    if ended is not None:
        return ended
    if s.progress.cause is Cause.NOTICE:
        return _leave_machine(s, Reason.SPOT_NOTICE, "the provider takes the machine away")
    return _after_own_end(s, s.progress)


def _finish_as_asked(s: Situation, cause: Cause, *, pull: bool = True) -> Action:
    """The job left because it was asked to: the run ends for the reason that it was asked for."""
    reasons = {Cause.STOP: Reason.STOPPED_BY_USER, Cause.IDLE: Reason.IDLE}
    reason = reasons.get(cause, s.deadlines.reason)
    if s.hopeless and cause is Cause.STOP and not s.wish.stop:
        return Finish(reason=Reason.GAVE_UP, words=s.hopeless, pull=pull)
    return Finish(reason=reason, words=reason.words, pull=pull, keep_disk=s.wish.keep_disk)


def _after_own_end(s: Situation, seen: Progress) -> Action:
    """Nobody asked the job to leave."""
    if seen.phase is not Phase.ENDED:
        return _restart(s, Reason.WATCHDOG_LOST, "the watchdog was killed, or the machine was restarted")
    if seen.fault is Fault.ENVIRONMENT:
        return Finish(reason=Reason.SETUP_FAILED, words=seen.reason or Reason.SETUP_FAILED.words)
    if seen.fault is Fault.MACHINE:
        return _after_machine_fault(s, seen)
    if s.failed_in_setup:
        words = seen.reason or f"setup ended with {_exit_words(seen.exit_code)}"  # it may be the environment
        return _restart(s, Reason.SETUP_FAILED, words)
    if s.misconfigured:
        return Finish(reason=Reason.BAD_CONFIG, words=Reason.BAD_CONFIG.words)
    if seen.exit_code == Exit.INTERRUPTED:
        return _restart_as_wanted(s)
    if seen.out_of_memory is not None:
        return _after_out_of_memory(s, seen)
    return _restart(s, Reason.JOB_FAILED, f"the job ended with {_exit_words(seen.exit_code)}")


def _after_machine_fault(s: Situation, seen: Progress) -> Action:
    """Another machine may do; one that is claimed stays what it is."""
    words = seen.reason or Reason.MACHINE_FAULT.words
    if s.machine.claimed:
        return Finish(reason=Reason.MACHINE_FAULT, words=words)
    return _leave_machine(s, Reason.MACHINE_FAULT, words)


def _after_out_of_memory(s: Situation, seen: Progress) -> Action:
    """The same work on the same machine needs the same memory: only a job that had got further may do better."""
    if s.progressed:
        return _restart(s, Reason.OUT_OF_MEMORY, seen.reason)
    return Finish(reason=Reason.OUT_OF_MEMORY, words=seen.reason or Reason.OUT_OF_MEMORY.words)


def _restart_as_wanted(s: Situation) -> Action:
    """Exit 75 that nobody asked for: honoured as long as it leads anywhere."""
    if s.past.starts >= 2 and s.progressed is False:
        return _loop(s, "without getting any further")
    repeated = (
        s.progress is not None and s.progress.repeated and s.past.starts >= s.policy.max_repeated_starts
    )
    if s.progressed is None and repeated:
        return _loop(s, "without a step, a checkpoint, a file or a word that was not there before")
    if s.progressed is None and s.past.starts > s.policy.max_blind_restarts:
        return _loop(s, "without a step or a checkpoint that would show where it stands")
    return RestartHere(
        reason=Reason.SAVED_AND_LEFT,
        words=Reason.SAVED_AND_LEFT.words,
        count_as_error=False,
        after_s=0.0 if s.progressed else _pause(s, s.past.starts - 1),
    )


def _loop(s: Situation, words: str) -> Action:
    return Finish(
        reason=Reason.CRASH_LOOP, words=f"the job left with exit 75 after start {s.past.starts} {words}"
    )


def _pause(s: Situation, repetitions: int) -> float:
    """Before another start on the same machine, which is paid for meanwhile unless it is only claimed."""
    pause_s = s.policy.backoff(repetitions)
    return pause_s if s.machine.claimed else min(pause_s, s.policy.rented_pause_s)


def _restart(s: Situation, reason: Reason, words: str) -> Action:
    """An error: another start, as often as is allowed and only while it leads anywhere."""
    allowed = s.policy.max_restarts_on_errors
    if reason is Reason.WATCHDOG_LOST:
        allowed = max(allowed, s.policy.max_watchdog_losses)
    if s.past.errors >= allowed:
        retries = f"after {allowed} restarts" if allowed else "and max_restarts_on_errors is 0"
        return Finish(reason=reason, words=f"{words}, {retries}")
    if s.past.starts >= 2 and s.progressed is False:
        return Finish(reason=Reason.CRASH_LOOP, words=f"{words}, twice without a step of progress in between")
    return RestartHere(
        reason=reason,
        words=f"{words}; restart {s.past.errors + 1} of {allowed}",
        count_as_error=True,
        after_s=_pause(s, s.past.errors),
    )


def _leaving(s: Situation) -> Action | None:
    """The job was asked to leave and has not left."""
    seen = s.progress
    if seen is None:
        return None
    if seen.phase is not Phase.LEAVING and seen.cause is Cause.NONE and s.past.asked_s is None:
        return None
    asked_s = s.past.asked_s or 0.0
    grace_s = s.policy.down_grace_s if s.wish.down else s.policy.save_grace_s
    if s.now >= s.deadlines.hard or asked_s >= grace_s:
        return Kill(words=f"the job was asked to leave {asked_s:.0f} s ago and has not")
    said_s = asked_s - asked_s % SAID_EVERY_S
    words = "the job saves and leaves"
    if said_s:
        killed_s = min(grace_s, s.policy.watchdog_grace_s)
        words = f"the job was asked to leave {said_s:.0f} s ago; it is killed after {killed_s:.0f} s"
    return Wait(words=words, next_look_s=1.0)


def _wanted_out(s: Situation) -> Action | None:
    """The job runs; a person or a limit wants it to leave."""
    if s.progress is None:
        return None
    if s.wish.stop:
        return Save(cause=Cause.STOP, reason=Reason.STOPPED_BY_USER, words="stop was requested")
    if s.now >= s.deadlines.soft:
        return Save(cause=Cause.DEADLINE, reason=s.deadlines.reason, words=s.deadlines.reason.words)
    if s.hopeless:
        return Save(cause=Cause.STOP, reason=Reason.GAVE_UP, words=s.hopeless)
    return None


def _reason_of_person_or_limit(s: Situation) -> Reason | None:
    if s.wish.stop:
        return Reason.STOPPED_BY_USER
    asked_by_deadline = s.progress is not None and s.progress.cause is Cause.DEADLINE
    if s.past.given_up and not asked_by_deadline:
        return Reason.GAVE_UP
    return s.deadlines.reason if asked_by_deadline or s.now >= s.deadlines.soft else None


def _finish_for_person_or_limit(s: Situation, *, pull: bool, keep_disk: bool = False) -> Finish | None:
    """End the run instead of recovering it, where a person or a limit says so, or it was given up."""
    reason = _reason_of_person_or_limit(s)
    if reason is None:
        return None
    words = s.hopeless if reason is Reason.GAVE_UP and s.hopeless else reason.words
    if keep_disk and not pull:
        words = f"{words}; the disk is kept, `launch pull` reads it"
    return Finish(reason=reason, words=words, pull=pull, keep_disk=keep_disk or s.wish.keep_disk)


def _leave_machine(s: Situation, reason: Reason, words: str) -> Action:
    """Give the machine up while it still exists: end it first. One that is claimed cannot be lost."""
    if s.machine.claimed:
        return _next_machine(s, reason, words)
    return EndMachine(reason=reason, words=f"{words}: outputs first, then it is ended", fetch_first=True)


def _next_machine(s: Situation, reason: Reason, words: str) -> Action:
    fruitless = 0 if s.machine_helped else s.past.fruitless + 1
    if fruitless >= s.policy.max_fruitless:
        lost = f"{words}, the {fruitless}th in a row that led no further"
        return Finish(reason=Reason.NO_PROGRESS, words=lost, pull=s.machine.claimed)
    return NewAttempt(
        reason=reason, words=words, after_s=s.policy.backoff(fruitless - 1), avoid_place=not s.machine.claimed
    )


def _exit_words(code: int | None) -> str:
    return "an exit code that nobody saw" if code is None else f"exit {code}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


_RULES = (
    _discarded,
    _gone,
    _being_ended,
    _stopped_by_provider,
    _unreachable,
    _not_submitted,
    _ended,
    _leaving,
    _wanted_out,
)
