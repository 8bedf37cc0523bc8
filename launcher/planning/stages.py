"""The plan of a job with stages: each priced on the machine that it will run on, and limits over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from launcher.errors import NothingToRent, OverBudget
from launcher.forecast.stages import PricedStage, likely_s_of, together
from launcher.forecast.throughput import Source
from launcher.job import Job
from launcher.job.parts import Stage
from launcher.job.resources import Resources
from launcher.job.stages import job_of_stage
from launcher.planning.plan import Plan, StagePlan, Wants, price
from launcher.policy.limits import Limits, default_limits
from launcher.policy.stages import StageRecord, StageState, dropped_in_time, next_stage
from launcher.quantities import usd
from provisioning import Capabilities, Offer
from provisioning.catalog import matches

__all__ = ["by_then", "in_order", "meets", "plan_stages"]

PlanOne = Callable[[Job, Wants], Plan]
"""Plans one stage as a job of its own: asks the providers that it names, and chooses."""


def in_order(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages in the order in which they run when all goes well."""
    records: dict[str, StageRecord] = {}
    ordered: list[Stage] = []
    while (stage := next_stage(stages, records)) is not None:
        ordered.append(stage)
        records[stage.name] = StageRecord(state=StageState.SUCCEEDED)
    return tuple(ordered)


def meets(offer: Offer, resources: Resources, *, image_id: str | None) -> bool:
    """Whether a machine that was rented as ``offer``, with ``image_id``, is what ``resources`` ask for: any alternative will do."""
    return any(
        wanted.cloud in (None, offer.provider)
        and wanted.image_id == image_id
        and matches(
            offer, replace(wanted.query(), disk_gib=None)
        )  # the plan's disk is that of the largest stage
        and wanted.accepts(vcpus=offer.vcpus, memory_gib=offer.memory_gib)
        for wanted in resources.alternatives()
    )


def plan_stages(
    job: Job,
    wants_of_stage: Callable[[Job], Wants],
    plan_one: PlanOne,
    capabilities: Mapping[str, Capabilities],
) -> Plan:
    """Plan each stage and put the plans together; rents nothing.

    A stage whose resources the machine of the stage before meets stays on it: nothing boots or travels again.

    Raises:
        NothingToRent, OverBudget: of one stage, or of all together.
    """
    stages = in_order(job.every_stage)
    plans: list[Plan] = []
    priced: list[PricedStage] = []
    known: dict[str, Plan] = {}
    present: tuple[Offer, str | None] | None = None
    for stage in stages:
        one = job_of_stage(job, stage.name)
        wanted = _share_of_limit(wants_of_stage(one), len(stages))
        key = repr((one.resources, wanted))
        plan = known[key] = known.get(key) or _planned(stage.name, one, wanted, plan_one)
        stays = present is not None and meets(present[0], one.resources, image_id=present[1])
        if not stays or present is None:
            present = (plan.offer, one.resources.image_id)
        offer = present[0]
        found = price(offer, wanted, capabilities[offer.provider], is_there=stays)
        plans.append(plan)
        priced.append(PricedStage(name=stage.name, estimate=found, stays=stays))
    return _together(job, plans, priced)


def by_then(plan: Plan, job: Job, until: datetime | None, now: datetime) -> Plan:
    """Return the plan with ``until`` as a limit, and a warning that says which stages will hardly have their time."""
    plan = replace(plan, limits=replace(plan.limits, until=until))
    if until is None:
        return plan
    left_s = (until - now).total_seconds()
    run, dropped = dropped_in_time(job.every_stage, likely_s_of(plan.estimate), left_s)
    if not dropped:
        return plan
    names = ", ".join(stage.name for stage in dropped)
    left = ", ".join(stage.name for stage in run) or "nothing"
    words = f"by {until.astimezone():%H:%M} there is hardly time for {names}: dropped then; {left} will run"
    return replace(plan, warnings=(*plan.warnings, words))


def _planned(name: str, one: Job, wants: Wants, plan_one: PlanOne) -> Plan:
    try:
        return plan_one(one, wants)
    except NothingToRent as err:
        raise NothingToRent(
            f"stage {name}: {err.message}", left_behind=err.left_behind, hint=err.hint
        ) from err


def _share_of_limit(wants: Wants, stages: int) -> Wants:
    """Where nothing is known of a stage but the limit on all of them, it is thought to take its part."""
    limit = wants.max_duration_s
    return replace(wants, until=None, max_duration_s=None if limit is None else limit / stages)


def _together(job: Job, plans: Sequence[Plan], priced: Sequence[PricedStage]) -> Plan:
    total, first = together(priced), plans[0]
    duration = job.max_duration
    limits = default_limits(
        total.hours,
        total.usd,
        max_duration_s=duration.total_seconds() if duration is not None else None,
        max_cost_usd=job.max_cost,
        max_usd_per_hour=_dearest([plan.limits.max_usd_per_hour for plan in plans]),
    )
    expected = total.usd.low if total.source is Source.GUESS else total.usd.likely
    if limits.max_cost_usd is not None and expected > limits.max_cost_usd:
        raise OverBudget(
            f"the {len(plans)} stages together would cost about {usd(expected)}"
            f" and the limit is {usd(limits.max_cost_usd)}",
            left_behind="nothing: nothing was rented",
            hint=f"raise --max-cost to {total.usd.high:.2f}, or give the job less to do",
        )
    rented = [plan for plan, stage in zip(plans, priced, strict=True) if not stage.stays]
    return replace(
        first,
        estimate=total,
        alternatives=(),
        limits=limits,
        disk_gib=max(plan.disk_gib for plan in plans),
        if_asleep=" · ".join(dict.fromkeys(plan.if_asleep for plan in plans)),
        market=" · ".join(dict.fromkeys("spot" if plan.offer.spot else "on demand" for plan in rented))
        if any(plan.bills for plan in plans)
        else first.market,
        needs_client_deadline=any(plan.needs_client_deadline for plan in plans),
        bills=any(plan.bills for plan in plans),
        warnings=(*_warnings(plans, limits, total.usd.high), *_while_away(plans)),
        stages=tuple(
            StagePlan(
                name=stage.name,
                candidates=plan.candidates,
                mirror_every_s=plan.mirror_every_s,
                mirror_reason=plan.mirror_reason,
                when_unattended=plan.when_unattended,
                if_asleep=plan.if_asleep,
            )
            for plan, stage in zip(plans, priced, strict=True)
        ),
    )


def _dearest(prices: Sequence[float | None]) -> float | None:
    """What may be paid per hour by any of the stages: each stage's own limit holds for what is offered to it."""
    named = [price for price in prices if price is not None]
    return max(named) if len(named) == len(prices) else None


def _warnings(plans: Sequence[Plan], limits: Limits, high_usd: float) -> list[str]:
    found = list(dict.fromkeys(words for plan in plans for words in plan.warnings))
    guesses = [words for words in found if words.startswith("the time is a guess")]
    found = [
        words for words in found if not words.startswith("it may need up to") and words not in guesses[1:]
    ]
    if limits.max_cost_usd is not None and high_usd > limits.max_cost_usd:
        found.append(f"it may need up to {usd(high_usd)} and is stopped at {usd(limits.max_cost_usd)}")
    return found


def _while_away(plans: Sequence[Plan]) -> list[str]:
    if len(plans) < 2 or not any(plan.bills for plan in plans):
        return []
    return ["a stage begins only while this computer is awake: its machine waits, rented, until then"]
