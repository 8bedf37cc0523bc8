"""The first minutes of a run update its estimate, and stop it where it now breaks its limit on money."""

from __future__ import annotations

import math
from dataclasses import replace

from launcher.events import Kind
from launcher.forecast.estimates import Estimate
from launcher.orchestrate.context import RunContext
from launcher.policy.calibration import Calibrated, Seen, calibrated
from launcher.policy.limits import Spent, up_to_cent
from launcher.policy.reserve import Reserve
from launcher.policy.situation import Deadlines
from launcher.policy.states import Reason, RunState
from launcher.quantities import duration, usd
from launcher.records import from_json, to_json

__all__ = ["calibrate_if_due", "with_calibration"]


def calibrate_if_due(context: RunContext, spent: Spent, reserve: Reserve) -> None:
    """Once, after some minutes of steps, write down and tell what the run is expected to come to by its own pace."""
    run, attempt = context.run, context.attempt
    if context.job.stages:  # the pace of one stage says nothing about the others
        return
    if run.calibrated or attempt is None or context.state is not RunState.RUNNING:
        return
    if run.step is None or not run.total or not run.steps_per_s or run.working_since is None:
        return
    begun_at = max(run.working_since, run.resumed_at or run.working_since)
    seen = Seen(
        working_s=(context.clock() - begun_at).total_seconds(),
        steps_done=run.step - (attempt.step_at_start or 0),
        steps_left=max(0, run.total - run.step),
        steps_per_s=run.steps_per_s,
        toll=_toll(context.plan.estimate),
    )
    found = calibrated(
        seen,
        context.offer_of(attempt),
        context.limits,
        spent,
        disk_gib=context.plan.disk_gib,
        reserve=reserve,
        now=context.clock(),
    )
    if found is None:
        return
    with context.store.together():
        context.update_run(calibrated=to_json(found))
        kind = Kind.WARNING if found.breaks_max_cost else Kind.DECISION
        context.report(kind, _words(context, found), action="calibrated", calibrated=to_json(found))


def with_calibration(context: RunContext, deadlines: Deadlines) -> Deadlines:
    """Return the deadlines of a run that its calibration may have ended: saved and brought home as at any limit."""
    if not context.run.calibrated:
        return deadlines
    found = from_json(Calibrated, context.run.calibrated)
    if not found.breaks_max_cost or found.at >= deadlines.soft:
        return deadlines
    return replace(deadlines, soft=found.at, reason=Reason.BUDGET)


def _toll(estimate: Estimate) -> float:
    """What was expected beside the steps, per hour of them."""
    hours = {line.item: line.hours.likely for line in estimate.lines}
    steps_h = hours.get("training", 0.0)
    beside_h = math.fsum(hours.get(item, 0.0) for item in ("evaluation", "interruptions"))
    return beside_h / steps_h if steps_h > 0.0 else 0.0


def _words(context: RunContext, found: Calibrated) -> str:
    pace = f"{found.steps_per_s:.3g} steps/s measured"
    time = f"{duration(3600 * found.hours.likely)} in all"
    if not found.usd:
        return f"{pace}: {time}"
    money = f"about {usd(found.usd.likely)} ({usd(found.usd.low)} to {usd(found.usd.high)})"
    if not found.breaks_max_cost:
        return f"{pace}: {time}, {money}"
    return (
        f"{pace}: the run would need {time} and {money}, and may cost {usd(context.limits.max_cost_usd or 0.0)}: "
        f"it is saved and stopped now; `launch resume {context.run_id} --max-cost "
        f"{up_to_cent(found.usd.high):.2f}` goes on"
    )
