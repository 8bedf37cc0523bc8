"""What every step of a run works with: its record, its plan, its provider, and a way to say what happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from launcher.events import Event, Kind
from launcher.home import Home, RunPaths
from launcher.job import Job
from launcher.limits import Limits
from launcher.plan import Plan
from launcher.records import from_json
from launcher.states import Reason, RunState, check_move
from launcher.store import AttemptRow, RunRow, Store
from provisioning import Offer, Provider, ProviderContext
from provisioning.models import utc_now
from provisioning.registry import provider as build_provider

__all__ = ["RunContext"]


@dataclass
class RunContext:
    """One run, for as long as one step of it takes. Reads the record afresh; remembers nothing between steps."""

    home: Home
    store: Store
    run_id: str
    environ: Mapping[str, str]
    clock: Callable[[], datetime] = utc_now
    sinks: tuple[Callable[[Event], None], ...] = field(default=())

    @cached_property
    def paths(self) -> RunPaths:
        """Where this run's things lie at home."""
        return self.home.run(self.run_id)

    @property
    def run(self) -> RunRow:
        """The run's row, as it is now."""
        return self.store.run(self.run_id)

    @cached_property
    def job(self) -> Job:
        """The job as it was at launch."""
        stored = self.run.job
        return Job.from_dict(stored["fields"], base_dir=Path(stored["base_dir"]))

    @property
    def plan(self) -> Plan:
        """What was decided before anything was rented; a resume may have replaced it."""
        return Plan.from_json(self.run.plan)

    @property
    def limits(self) -> Limits:
        """What the run may use, over all attempts; a resume may have raised it."""
        return from_json(Limits, self.run.limits)

    @property
    def attempt(self) -> AttemptRow | None:
        """The newest attempt, ended or not."""
        attempts = self.store.attempts(self.run_id)
        return attempts[-1] if attempts else None

    def offer_of(self, attempt: AttemptRow) -> Offer:
        """The offer that an attempt rents."""
        return from_json(Offer, attempt.offer)

    def provider(self, name: str) -> Provider:
        """Build the provider, with the options that the job has for it."""
        options = self.job.provider_options.get(name, {})
        return build_provider(
            name,
            ProviderContext(home=self.home.root, environ=self.environ, options=options, clock=self.clock),
        )

    def report(self, kind: Kind, message: str, **data: Any) -> None:
        """Append one event to the run's log: to the record, to its export, and to whoever listens here."""
        event = self.store.append(self.run_id, kind, message, self.clock(), data)
        line = {
            "seq": event.seq,
            "at": event.at.isoformat(),
            "kind": kind.value,
            "message": message,
            "data": data,
        }
        with self.paths.events.open("a", encoding="utf-8") as export:
            export.write(json.dumps(line, default=str) + "\n")
        for sink in self.sinks:
            sink(event)

    def move(self, state: RunState, reason: str = "", *, code: Reason = Reason.NONE, **changes: Any) -> None:
        """Move the run to another state, with the reason in words; `IllegalMove` when that cannot be."""
        run = self.run
        check_move(RunState(run.state), state)
        now = self.clock()
        if state.is_final:
            changes["ended_at"] = now
        self.store.update_run(
            self.run_id, state=state.value, reason=reason, reason_code=code.value, updated_at=now, **changes
        )
        if run.state != state.value or run.reason != reason:
            words = f"{state.value}: {reason}" if reason else state.value
            self.report(Kind.STATE, words, state=state.value, reason=reason, code=code.value)
