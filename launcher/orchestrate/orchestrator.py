"""One step of one run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from launcher.events import Event, Kind
from launcher.home import Home
from launcher.orchestrate.act import act, decide_on
from launcher.orchestrate.attention import GaveWay
from launcher.orchestrate.budget import deadlines_now, warn_about_limits
from launcher.orchestrate.candidates import (
    LONGEST_PAUSE_S,
    begin_attempt,
    offer_elsewhere,
    others_could_work,
    patience,
    pause_between_rounds_s,
    renew_candidates,
)
from launcher.orchestrate.context import Memory, RunContext
from launcher.orchestrate.export import EventExport
from launcher.orchestrate.finish import close_attempt, decide_end, finish
from launcher.orchestrate.homecoming import bring_log_if_possible
from launcher.orchestrate.observe import Seen, observe
from launcher.orchestrate.rent import Refused, Rented, rent
from launcher.orchestrate.saves import warn_about_saves
from launcher.orchestrate.signing import renew_if_due
from launcher.orchestrate.stage_lost import why_not_given
from launcher.orchestrate.stages import begin_next, end_without_machine, is_behind
from launcher.policy.actions import Finish
from launcher.policy.situation import Policy
from launcher.policy.stages import how_it_ends, next_stage
from launcher.policy.states import Reason, RunState
from launcher.store import AttemptRow, Intent, Store
from provisioning import BadCredentials, BadOption, CloudError, PermissionDenied, Transient
from provisioning.models import utc_now
from provisioning.registry import provider_class

__all__ = ["Orchestrator"]

LOOK_S = 1.0
LOOK_HERE_S = 0.4
"""Where a look is a read of files on this computer."""
LOOKS_PER_S = 10.0
"""All runs together: a hundred of them are looked at every ten seconds."""
ASK_AGAIN_S = 15.0
FIRST_PATIENCE = timedelta(minutes=15)
"""For how long a provider may fail before the first machine of a run is there; a person is waiting."""


@dataclass
class Orchestrator:
    """Advances runs. Remembers only what can be asked or read again."""

    home: Home
    store: Store
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    clock: Callable[[], datetime] = utc_now
    sinks: tuple[Callable[[Event], None], ...] = ()
    monotonic: Callable[[], float] = time.monotonic
    live: Callable[[], int] = lambda: 1
    """How many runs share our attention."""
    _memories: dict[str, Memory] = field(default_factory=dict)
    _exports: dict[str, EventExport] = field(default_factory=dict)

    def advance(self, run_id: str) -> float | None:
        """Move a run on; return seconds until its next look, or None when it has ended."""
        memory = self._memories.setdefault(run_id, Memory())
        context = RunContext(self.home, self.store, run_id, self.environ, self.clock, memory, self.monotonic)
        try:
            next_look_s = self._step(context)
        except (
            CloudError
        ) as err:  # the provider's trouble: said once, asked again, and no reason to give anything up
            memory.providers.clear()
            hint = f" ({err.hint})" if err.hint else ""
            context.complain("provider", f"{err}{hint}", error=type(err).__name__)
            self._end_if_hopeless(context, err)
            next_look_s = getattr(err, "retry_after_s", None) or ASK_AGAIN_S
        except GaveWay as err:
            context.report(Kind.TRANSFER, str(err))
            next_look_s = 0.0
        else:
            context.is_well("provider")
            memory.failing_since = None
        finally:
            self._export(context)
        if next_look_s is None:
            self._memories.pop(run_id, None)
            self._exports.pop(run_id, None)
        return next_look_s

    def _end_if_hopeless(self, context: RunContext, error: CloudError) -> None:
        """Before anything was rented, a provider that only fails is not asked for ever; nor for a stage that can be spared."""
        attempt = context.attempt
        if attempt is None or context.run.verdict is not None or is_behind(context, attempt):
            return
        has_machine = context.machine_of(attempt) is not None
        if context.instances and (has_machine or not others_could_work(context, attempt)):
            return
        if self.store.unanswered_tries(context.run_id):
            return  # something may have been made: the provider has to say
        memory = context.memory
        if memory.failing_since is None:
            memory.failing_since = self.monotonic()  # of these, hours asleep are none
        allowed = FIRST_PATIENCE if context.run.working_since is None else patience(context, attempt)
        if self.monotonic() - memory.failing_since >= allowed.total_seconds():
            code = Reason.NO_CAPACITY if isinstance(error, Transient) else Reason.CREDENTIALS
            if not end_without_machine(context, attempt, code, str(error)):
                decide_end(context, Finish(reason=code, words=str(error), pull=False))

    def _step(self, context: RunContext) -> float | None:
        if context.state.is_final:
            if context.run.ended_at is None:  # killed between two writes of a resume
                context.update_run(ended_at=context.run.updated_at)
            return None
        attempt = context.attempt
        if context.run.verdict is not None:
            return finish(context, self._look(context, attempt))
        if attempt is None or attempt.ended_at is not None:
            return self._begin(context)
        is_over = is_behind(context, attempt)
        if attempt.not_before is not None and not is_over and not self._is_wanted_out(context):
            pause_s = (attempt.not_before - self.clock()).total_seconds()
            if 0.0 < pause_s <= LONGEST_PAUSE_S:  # longer: the clock was set back meanwhile
                return min(LOOK_S, pause_s)
        seen = self._look(context, attempt)
        if is_over:
            return begin_next(context, attempt, seen)
        if seen is None:
            return self._rent(context, attempt)
        bring_log_if_possible(context, seen)
        renew_if_due(context, seen)
        warn_about_limits(context)
        warn_about_saves(context, seen)
        return act(context, seen, decide_on(seen.situation))

    def _begin(self, context: RunContext) -> float:
        if context.job.stages and next_stage(context.job.every_stage, context.stage_records) is None:
            reason, words = how_it_ends(context.job.every_stage, context.stage_records)
            decide_end(context, Finish(reason=reason, words=words))  # stopped behind its last stage
            return 0.0
        state = RunState.RECOVERING if context.attempts else RunState.PROVISIONING
        with self.store.together():
            if context.state is not RunState.RECOVERING:
                context.move(state, "a machine is being rented")
            begin_attempt(context)
        return 0.0

    def _is_wanted_out(self, context: RunContext) -> bool:
        return context.run.intent is not Intent.NONE or context.now >= deadlines_now(context).soft

    def _rent(self, context: RunContext, attempt: AttemptRow) -> float:
        """One step nearer to a machine; a person's wish and the limits come first."""
        if self._is_wanted_out(context):
            stop = context.run.intent is not Intent.NONE
            reason = Reason.STOPPED_BY_USER if stop else deadlines_now(context).reason
            words = f"{reason.words}, before a machine was there"
            if stop or not end_without_machine(context, attempt, reason, words):
                decide_end(context, Finish(reason=reason, words=words, pull=False))
            return 0.0
        if context.job.stages and not self.store.tries(context.run_id, attempt.n):
            lacking = why_not_given(context, attempt)
            if lacking and end_without_machine(context, attempt, Reason.INPUTS_LOST, lacking):
                return 0.0
        if context.state in (RunState.RECOVERING, RunState.QUEUED, RunState.PLANNED):
            context.move(RunState.PROVISIONING, "a machine is being rented")
        answer = rent(context, attempt)
        if isinstance(answer, Rented):
            context.memory.instance = answer.instance
            return 0.0
        if isinstance(answer, Refused):
            return self._refused(context, attempt, answer.error)
        context.note(answer.reason)
        return answer.next_look_s

    def _refused(self, context: RunContext, attempt: AttemptRow, error: CloudError) -> float:
        """The next candidate; when all have refused, a run that had begun waits, and one that had not is told.

        Of several stages, those that do not need the one that is refused go on without it where it says so.
        """
        denied = isinstance(error, (BadCredentials, PermissionDenied))
        if not denied and not isinstance(error, BadOption):
            moved = offer_elsewhere(context, attempt)
            if moved is not None:
                context.report(
                    Kind.DECISION, f"{error}: the next candidate is tried", action="next_candidate"
                )
                return 0.0
            is_first = context.memory.renewed_at is None
            if (is_first or context.run.working_since is not None) and renew_candidates(context, attempt):
                return 0.0
        words = f"{error} ({error.hint})" if error.hint else str(error)
        had_begun = context.run.working_since is not None and not isinstance(error, BadOption)
        if had_begun and self.clock() - attempt.started_at < patience(context, attempt):
            return self._wait_for_capacity(context, attempt, words)
        code = Reason.CREDENTIALS if denied else Reason.NO_CAPACITY
        with self.store.together():
            if not end_without_machine(context, attempt, code, words):
                close_attempt(context, attempt, code.value, words)
                decide_end(context, Finish(reason=code, words=words, pull=False))
        return 0.0

    def _wait_for_capacity(self, context: RunContext, attempt: AttemptRow, words: str) -> float:
        pause_s = pause_between_rounds_s(context, attempt)
        with self.store.together():
            context.update_attempt(attempt, not_before=self.clock() + timedelta(seconds=pause_s))
            context.move(RunState.QUEUED, f"{words}; asked again in {pause_s:.0f} s", code=Reason.NO_CAPACITY)
        return min(LOOK_S, pause_s)

    def _look(self, context: RunContext, attempt: AttemptRow | None) -> Seen | None:
        """Look at the machine; None while there is none."""
        if attempt is None or context.machine_of(attempt) is None:
            return None
        is_here = not provider_class(context.offer_of(attempt).provider).capabilities.bills
        look_s = max(LOOK_HERE_S if is_here else LOOK_S, self.live() / LOOKS_PER_S)
        restarts = context.job.recovery.max_restarts_on_errors
        return observe(context, attempt, Policy(max_restarts_on_errors=restarts, look_s=look_s))

    def _export(self, context: RunContext) -> None:
        export = self._exports.get(context.run_id)
        if export is None:
            path = context.paths.events
            export = self._exports[context.run_id] = EventExport(self.store, context.run_id, path, self.sinks)
        try:
            export.catch_up()
        except OSError:  # a full disk: the record holds them, and the next look writes them
            return
