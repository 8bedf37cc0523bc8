"""A few minutes of a job on a kind of machine, for its pace: what the estimate of the whole run is then made from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from launcher.api import launch
from launcher.errors import RunFailed
from launcher.events import Event
from launcher.forecast.estimates import Estimate
from launcher.planning.preparation import Prepared, prepare
from launcher.run import Run

__all__ = ["LEAST_STEPS", "CalibrationResult", "calibrate", "limited"]

LEAST_STEPS = 2
POLL_S = 0.5
_MARGIN_S = 600.0
"""For renting, beside the slowest boot, transfer and setup that the estimate expects."""
_BEFORE = frozenset({"boot", "data transfer", "setup"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """What was measured, and what the whole run would take after it."""

    run_id: str
    steps_per_s: float
    cost_usd: float
    estimate: Estimate
    """Of the whole job on the same offer, from the measured pace."""


def limited(prepared: Prepared, minutes: float) -> Prepared:
    """Return the preparation with a limit on time that holds whatever becomes of this computer."""
    before_h = sum(line.hours.high for line in prepared.estimate.lines if line.item in _BEFORE)
    most_s = 3600.0 * before_h + 60.0 * minutes + _MARGIN_S
    limits = prepared.plan.limits
    plan = replace(
        prepared.plan,
        limits=replace(limits, max_duration_s=min(limits.max_duration_s, most_s), duration_is_default=False),
    )
    return replace(prepared, plan=plan)


def calibrate(
    prepared: Prepared, *, minutes: float = 3.0, on_event: Callable[[Event], None] | None = None
) -> CalibrationResult:
    """Run a job for some minutes of steps, end it, and price the whole of it; SPENDS MONEY for these minutes.

    Nothing is brought home. ``prepared`` should be `limited`. Left early, by an exception or Ctrl-C, the run is ended
    too, as far as this process can ask for it; its limit on time ends it otherwise.

    Raises:
        RunFailed: it ended before it had shown a pace, or reports no steps.
    """
    run = launch(prepared)
    try:
        _wait(run, minutes, on_event)
    finally:
        if run.status().is_live:
            run.down(discard=True)
    result = run.wait()
    status = run.status()
    if not status.steps_per_s or (status.step or 0) < LEAST_STEPS:
        raise RunFailed(
            f"{run.id} {result.state}: {result.reason}; it showed no pace",
            left_behind=f"it has cost ${result.cost_usd:.2f}",
            hint=f"the job has to append steps to LAUNCH_METRICS_FILE; `launch logs {run.id}` shows its output",
        )
    again = prepare(prepared.job, environ=prepared.environ)
    return CalibrationResult(
        run_id=run.id, steps_per_s=status.steps_per_s, cost_usd=result.cost_usd, estimate=again.estimate
    )


def _wait(run: Run, minutes: float, on_event: Callable[[Event], None] | None) -> None:
    """Until the job has taken steps for so long, or has ended."""
    after = 0
    first_step_at: float | None = None

    def tell(event: Event) -> None:
        nonlocal after
        after = event.seq
        if on_event is not None:
            on_event(event)

    while True:
        try:
            run.wait(on_event=tell, after=after, timeout_s=POLL_S)
        except TimeoutError:
            now, status = time.monotonic(), run.status()
            if first_step_at is None and status.step is not None:
                first_step_at = now
            is_long_enough = first_step_at is not None and now - first_step_at >= 60.0 * minutes
            if is_long_enough and status.steps_per_s:
                return
        else:
            return
