"""One step of one run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from launcher.actions import Finish
from launcher.errors import MachineError
from launcher.events import Event, Kind
from launcher.home import Home
from launcher.limits import LimitWarning
from launcher.orchestrate.act import act
from launcher.orchestrate.budget import deadlines_now, warn_about_limits
from launcher.orchestrate.candidates import begin_attempt, try_next_candidate
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.finish import close_attempt, decide_end, finish
from launcher.orchestrate.homecoming import bring_log
from launcher.orchestrate.observe import Seen, observe
from launcher.orchestrate.rent import Refusal, Rented, SpecSource, Waiting, acquire, end_instances
from launcher.recover import decide
from launcher.situation import Policy
from launcher.states import Reason, RunState
from launcher.store import AttemptRow, Intent, Store
from provisioning import Instance
from provisioning.models import utc_now

__all__ = ["Orchestrator"]

LOOK_S = 1.0
LOOKS_PER_S = 10.0
"""All runs together: a hundred of them are looked at every ten seconds."""


@dataclass
class Orchestrator:
    """Advances runs. Remembers only what can be asked again: the provider's last word, and warnings said."""

    home: Home
    store: Store
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    clock: Callable[[], datetime] = utc_now
    sinks: tuple[Callable[[Event], None], ...] = ()
    _known: dict[str, Instance] = field(default_factory=dict)
    _said: dict[str, set[LimitWarning]] = field(default_factory=dict)

    def advance(self, run_id: str) -> float | None:
        """Move a run on; return seconds until its next look, or None when it has ended."""
        context = RunContext(self.home, self.store, run_id, self.environ, self.clock, self.sinks)
        state = RunState(context.run.state)
        if state.is_final:
            self._forget(run_id)
            return None
        attempt = context.attempt
        if context.run.verdict is not None:
            return finish(context, self._look(context, attempt))
        if attempt is None or attempt.ended_at is not None:
            return self._begin(context)
        if (
            attempt.not_before is not None
            and self.clock() < attempt.not_before
            and not self._is_wanted_out(context)
        ):
            return min(1.0, (attempt.not_before - self.clock()).total_seconds())
        if not self._has_machine(context, attempt):
            return self._rent(context, attempt)
        seen = self._look(context, attempt)
        if seen is None:
            return LOOK_S
        self._follow(context, seen)
        return act(context, seen, decide(seen.situation))

    def _begin(self, context: RunContext) -> float:
        if RunState(context.run.state) is not RunState.RECOVERING:
            context.move(RunState.PROVISIONING, "a machine is being rented")
        begin_attempt(context)
        return 0.0

    def _is_wanted_out(self, context: RunContext) -> bool:
        return context.run.intent is not Intent.NONE or self.clock() >= deadlines_now(context).soft

    def _has_machine(self, context: RunContext, attempt: AttemptRow) -> bool:
        rows = [row for row in self.store.instances(context.run_id) if row.attempt == attempt.n]
        if not rows:
            return False
        known = self._known.get(context.run_id)
        is_up = known is not None and str(known.ref) == rows[-1].ref and known.access is not None
        return is_up or attempt.reached_at is not None

    def _rent(self, context: RunContext, attempt: AttemptRow) -> float:
        """One step nearer to a machine; a person's wish and the limits come first."""
        if self._is_wanted_out(context):
            stop = context.run.intent is not Intent.NONE
            reason = Reason.STOPPED_BY_USER if stop else deadlines_now(context).reason
            decide_end(
                context, Finish(reason=reason, words=f"{reason.words} before the job began", pull=False)
            )
            return 0.0
        if RunState(context.run.state) in (RunState.RECOVERING, RunState.QUEUED, RunState.PLANNED):
            context.move(RunState.PROVISIONING, "a machine is being rented")
        offer = context.offer_of(attempt)
        deadline = deadlines_now(context, offer).hard
        answer = acquire(
            context, attempt, SpecSource(context, deadline, max_usd_per_hour=context.limits.max_usd_per_hour)
        )
        if isinstance(answer, Rented):
            self._known[context.run_id] = answer.instance
            return 0.0
        if isinstance(answer, Waiting):
            return answer.next_look_s
        return self._refused(context, attempt, answer)

    def _refused(self, context: RunContext, attempt: AttemptRow, refusal: Refusal) -> float:
        """The next candidate, as long as there is one; a machine that did not come up is ended first."""
        if not end_instances(context, attempt=attempt.n):
            return 2.0
        moved = try_next_candidate(context, attempt) if refusal.elsewhere else None
        if moved is not None:
            context.report(
                Kind.DECISION, f"{refusal.error}: the next candidate is tried", action="next_candidate"
            )
            return 0.0
        close_attempt(context, attempt, refusal.code.value, str(refusal.error))
        hint = f" ({refusal.error.hint})" if refusal.error.hint else ""
        decide_end(context, Finish(reason=refusal.code, words=f"{refusal.error}{hint}", pull=False))
        return 0.0

    def _look(self, context: RunContext, attempt: AttemptRow | None) -> Seen | None:
        rows = self.store.instances(context.run_id)
        if attempt is None or not any(row.attempt == attempt.n for row in rows):
            return None
        look_s = max(LOOK_S, len(self.store.live_runs()) / LOOKS_PER_S)
        policy = Policy(max_restarts_on_errors=context.job.recovery.max_restarts_on_errors, look_s=look_s)
        seen = observe(context, attempt, self._known.get(context.run_id), policy)
        if seen.instance is not None:
            self._known[context.run_id] = seen.instance
        return seen

    def _follow(self, context: RunContext, seen: Seen) -> None:
        """Bring the log home and mind the limits, whatever is decided next."""
        if seen.runner is not None and seen.handle is not None:
            try:
                bring_log(context, seen.runner, seen.handle, seen.attempt)
            except MachineError as err:
                context.report(Kind.WARNING, f"the log could not be read: {err}")
        warn_about_limits(context, self._said.setdefault(context.run_id, set()))

    def _forget(self, run_id: str) -> None:
        self._known.pop(run_id, None)
        self._said.pop(run_id, None)
