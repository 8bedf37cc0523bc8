"""How a run stands, as short labelled facts. Pure, standard library only; the drawing is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from launcher.quantities import code_words, duration, usd
from launcher.render import words

if TYPE_CHECKING:
    from launcher.planning.preparation import Prepared
    from launcher.stage_status import StageStatus
    from launcher.status import AttemptStatus, Status

__all__ = [
    "AT_A_GLANCE",
    "Fact",
    "after_detaching",
    "after_the_end",
    "attempt_seconds",
    "cost",
    "how_to_go_on",
    "machine",
    "metrics",
    "progress",
    "results",
    "saved",
    "small_run_words",
    "stage_place",
    "stage_progress",
    "status_facts",
    "time_taken",
    "verdict",
    "what_to_do",
]

Fact = tuple[str, str]
"""A label and what is to be said under it."""

SEP = " · "
PAUSE_WORTH_SAYING_S = 10.0
HOUR_S = 3600.0
OF_ITS_CODE = ("job_failed", "crash_loop", "bad_config", "setup_failed")
"""Reasons of an end that are likely to come again from the same code."""
AT_A_GLANCE = 6
"""How many of the job's numbers are shown where they are looked at in passing."""


def status_facts(status: Status, now: datetime) -> list[Fact]:
    """Return what `launch status` says about a run, in order; facts about which nothing is known are left out."""
    facts = [
        ("machine", machine(status, now)),
        ("stage", stage_place(status)),
        ("progress", progress(status)),
        ("metrics", metrics(status.metrics)),
        ("verdict", verdict(status)),
        ("saved", saved(status)),
        ("time", time_taken(status, now)),
        ("cost", cost(status)),
        ("code", code_words(status.code)),
        ("results", results(status)),
    ]
    return [(label, text) for label, text in facts if text]


def small_run_words(prepared: Prepared) -> str:
    """Say what comes before the long run."""
    limits = prepared.plan.limits
    most = f" and {usd(limits.max_cost_usd)}" if limits.max_cost_usd is not None else ""
    return (
        f"first a small run, {prepared.name}: at most {duration(limits.max_duration_s)}{most}; "
        "the long run starts when it has succeeded"
    )


def machine(status: Status, now: datetime) -> str:
    """Say where it runs and how old the last look at it is."""
    if status.instance is None:
        return "none yet" if status.is_live else ""
    parts = [status.instance]
    if status.instance_state:
        parts.append(status.instance_state)
    if status.looked_at and status.is_live:
        parts.append(f"seen {words.ago((now - status.looked_at).total_seconds())}")
    if not status.is_live and status.instance_state not in (None, "terminated"):
        price = words.usd_per_hour(status.usd_per_hour_now)
        parts.append(f"its disk is kept at {price} until: launch down {status.run_id}")
    return SEP.join(parts)


def progress(status: Status) -> str:
    """Say how far the job is, in its own words; without steps progress is by time, and said so."""
    if status.step is None:
        return f"{_by_time(status)}{_thought_left(status)}" if status.state == "running" else ""
    parts = [f"step {status.step:,}"]
    if status.total:
        parts = [f"step {status.step:,} of {status.total:,} ({words.percent(status.step, status.total)})"]
    if status.steps_per_s and status.is_live:
        parts.append(words.rate(status.steps_per_s))
    if status.seconds_left is not None and status.state == "running":
        parts.append(f"{words.duration(status.seconds_left)} left")
    return SEP.join(parts)


def _thought_left(status: Status) -> str:
    return f", {words.duration(status.seconds_left)} left by the estimate" if status.seconds_left else ""


def _by_time(status: Status) -> str:
    reading = status.log_reading
    if reading is None:
        return "by time alone: the job reports no steps"
    if reading.matched:
        return "by time alone: progress finds no step in the output"
    return f"by time alone: progress has matched none of {reading.lines:,} lines"


def verdict(status: Status) -> str:
    """Say what `expect` comes to, and the best value of the job's metric."""
    parts = []
    if status.verdict is not None and status.is_live:
        reported = [one.words for one in status.verdict.expectations if one.value is not None]
        parts += [f"so far {', '.join(reported)}"] if reported else []
    elif status.verdict is not None:
        parts.append(status.verdict.words)
    if status.best is not None:
        at = f" at step {status.best.step:,}" if status.best.step is not None else ""
        parts.append(f"best {words.number(status.best.value)}{at}")
    return SEP.join(parts)


def stage_progress(stage: StageStatus) -> str:
    """Say how far a stage is; nothing where it has said nothing."""
    if stage.step is None:
        return ""
    return words.percent(stage.step, stage.total) if stage.total else f"step {stage.step:,}"


def stage_place(status: Status) -> str:
    """Say which stage is at work, and which of how many it is; empty for a run without stages, or one that has ended."""
    if not status.stages or not status.is_live:
        return ""
    over = sum(stage.ended is not None for stage in status.stages)
    present = next((stage.name for stage in status.stages if stage.state == status.state), "")
    return f"{present} {min(over + 1, len(status.stages))}/{len(status.stages)}".strip()


def saved(status: Status) -> str:
    """Say how old the last save is and what losing the machine would cost now; nothing while the job does not run."""
    return status.loss_now.words if status.loss_now is not None else ""


def metrics(values: Mapping[str, float], *, at_most: int | None = None) -> str:
    """List the newest numbers that the job reported, but for those that `progress` says."""
    shown = [
        f"{words.plain(name)} {words.number(value)}"
        for name, value in values.items()
        if name not in ("step", "total", "steps_per_s")
    ]
    more = len(shown) - at_most if at_most is not None and len(shown) > at_most else 0
    return SEP.join([*shown[:at_most], f"{more} more"] if more else shown)


def cost(status: Status) -> str:
    """Say what it has cost, what it costs now, what was estimated and where it ends."""
    parts = [words.usd(status.cost_usd) + (" so far" if status.is_live else "")]
    if status.is_live or status.usd_per_hour_now > 0:
        parts.append(f"{words.usd_per_hour(status.usd_per_hour_now)} now")
    if estimated := status.estimate.get("usd"):
        parts.append(f"estimated {words.span(estimated, words.usd)}")
    if (forecast := status.forecast.get("usd")) and status.is_live and forecast["high"]:
        parts.append(f"by its pace {words.span(forecast, words.usd)}")
    if limit := status.limits.get("max_cost_usd"):
        parts.append(f"limit {words.usd(limit)}")
    return SEP.join(parts)


def time_taken(status: Status, now: datetime) -> str:
    """Say for how long it has had a machine, beside the estimate of just that; and since launch, where that is longer."""
    until = status.ended_at or now
    since_launch_s = (until - status.created_at).total_seconds()
    rented_s = sum(attempt_seconds(attempt, until) for attempt in status.attempts) or since_launch_s
    parts = [words.duration(rented_s) + (" so far" if status.is_live else "")]
    if estimated := status.estimate.get("hours"):
        parts.append(f"estimated {words.span(estimated, lambda hours: words.duration(3600 * hours))}")
    if since_launch_s > 1.05 * rented_s + PAUSE_WORTH_SAYING_S:
        parts.append(f"{words.duration(since_launch_s)} since launch, pauses included")
    return SEP.join(parts)


def results(status: Status) -> str:
    """Say where outputs are, and how many are home."""
    place = words.home_path(status.results_dir) if status.results_dir else ""
    if not status.outputs:
        return place
    total = sum(output.size_bytes for output in status.outputs)
    return f"{place} ({words.count(len(status.outputs), 'file')}, {words.size(total)})"


def attempt_seconds(attempt: AttemptStatus, now: datetime) -> float:
    """Return how long an attempt has lasted."""
    return ((attempt.ended or now) - attempt.started).total_seconds()


def after_detaching(status: Status) -> str:
    """Return the last line of a viewer that leaves: what burns or is about to, how to come back, how to end it."""
    if not status.is_live:
        return f"{status.run_id} has ended ({status.state}). See: launch status {status.run_id}"
    price = f"at {words.usd_per_hour(status.usd_per_hour_now)}"
    if status.usd_per_hour_planned:
        price = (
            f"and will cost {words.usd_per_hour(status.usd_per_hour_planned)} from when its machine is rented"
        )
    return (
        f"{status.run_id} goes on {price}. "
        f"Come back: launch logs -f {status.run_id} · End it: launch stop {status.run_id}"
    )


def after_the_end(status: Status) -> str:
    """Return the last line after all output of a run: how it ended, where its results are, how to go on."""
    parts = [f"{status.run_id}: {status.state}{f', {words.plain(status.reason)}' if status.reason else ''}"]
    if status.outputs:
        parts.append(f"results: {results(status)}")
    if advice := how_to_go_on(status):
        parts.append(f"go on: {advice}")
    return SEP.join(parts)


_OFTEN = (
    (
        re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'"),
        "name what has {0} in requirements.txt, and give it: --set environment.requirements=requirements.txt, or in the job file",
    ),
    (
        re.compile(r"\b(python|pip): (?:command )?not found"),
        'environment: {{python: "3.11"}} in the job file makes a Python with that name; the machine\'s own is python3',
    ),
)
"""What programs say that find no package or no Python, and what mends it."""


def what_to_do(status: Status, last_words: Sequence[str] = ()) -> str:
    """Return what mends the way in which a run ended, where that is known; empty otherwise."""
    if status.advice:
        return status.advice
    said = ((pattern.search(line), fix) for line in reversed(last_words) for pattern, fix in _OFTEN)
    return next((fix.format(*found.groups()) for found, fix in said if found is not None), "")


def how_to_go_on(status: Status) -> str | None:
    """Return what goes on with a run that has ended without success, a command first; None after a success."""
    if status.is_live or status.state == "succeeded":
        return None
    if status.reason_code == "budget":
        return f"launch resume {status.run_id} --max-cost {_enough_usd(status)}"
    if status.reason_code == "deadline" and _needs_new_duration(status.limits):
        from launcher.job.units import (
            format_duration,
        )  # its package reads job files, which nothing else here needs

        again = format_duration(timedelta(seconds=2 * status.limits.get("max_duration_s", HOUR_S)))
        return f"launch resume {status.run_id} --max-duration {again}"
    if status.reason_code in OF_ITS_CODE:
        return f"launch resume {status.run_id}, with the code as it was; what you mend now needs a new launch"
    return f"launch resume {status.run_id}"


def _needs_new_duration(limits: Mapping[str, Any]) -> bool:
    """A default limit grows by itself; one that was given does not, and a date that has passed ends the run at once."""
    return not limits.get("duration_is_default") or limits.get("until") is not None


def _enough_usd(status: Status) -> str:
    """Return the limit that the run needs by its own pace, where that is known; else so much more."""
    high, limit = status.forecast.get("usd", {}).get("high", 0.0), status.limits.get("max_cost_usd") or 0.0
    if high <= limit:
        return "+2"
    from launcher.policy.limits import up_to_cent  # with all that plans a run, which nothing else here needs

    return f"{up_to_cent(high):.2f}"
