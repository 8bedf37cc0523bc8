"""The plan of a job with stages: each priced on the machine that it will run on, and limits over all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from launcher.errors import NothingToRent, OverBudget
from launcher.forecast.estimates import Estimate
from launcher.forecast.stages import PricedStage, likely_s_of, together
from launcher.forecast.throughput import Source
from launcher.job import Job
from launcher.job.parts import Environment, Stage
from launcher.job.resources import Resources
from launcher.job.stages import job_of_stage
from launcher.planning.plan import (
    MARKETS,
    Plan,
    StagePlan,
    Wants,
    against,
    going_on,
    limit_warnings,
    price,
)
from launcher.policy.limits import Limits, default_limits, kept_back_s, up_to_cent
from launcher.policy.reserve import Measured, reserve_for
from launcher.policy.stages import (
    StageRecord,
    StageState,
    closing,
    dropped_in_time,
    next_stage,
    room_for_closing,
)
from launcher.quantities import duration, usd
from provisioning import Capabilities, Offer
from provisioning.catalog import matches

__all__ = ["by_then", "in_order", "markets_words", "meets", "plan_stages", "what_fits"]

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
    wants_of_stage: Callable[[str, Job], Wants],
    plan_one: PlanOne,
    capabilities: Mapping[str, Capabilities],
    now: datetime,
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
    twins: list[Estimate] = []
    present: tuple[Offer, str | None] | None = None
    twin: Offer | None = None
    made: list[Environment] = []
    for stage in stages:
        one = job_of_stage(job, stage.name)
        wanted = _share_of_limit(wants_of_stage(stage.name, one), len(stages))
        key = repr((one.resources, wanted))
        plan = known[key] = known.get(key) or _planned(job, stage.name, wanted, plan_one)
        stays = present is not None and meets(present[0], one.resources, image_id=present[1])
        if not stays or present is None:
            present, twin, made = (plan.offer, one.resources.image_id), plan.twin, []
        is_made = one.environment in made  # it is kept there, by what it is made of
        made.append(one.environment)
        offer = present[0]
        found = price(offer, wanted, capabilities[offer.provider], is_there=stays, is_made=is_made)
        if stays:  # on a machine that the stage by itself might not have chosen
            plan = going_on(plan, found, wanted, capabilities[offer.provider], now)
        plans.append(plan)
        priced.append(PricedStage(name=stage.name, estimate=found, stays=stays))
        on_twin = (
            price(twin, wanted, capabilities[twin.provider], is_there=stays, is_made=is_made)
            if twin
            else None
        )
        twins.append(on_twin or found)
    return replace(_together(job, plans, priced), market=markets_words(priced, twins))


def markets_words(priced: Sequence[PricedStage], twins: Sequence[Estimate]) -> str:
    """Name the markets that the stages are rented on, and what all of them would cost on the other one.

    ``twins``: each stage on the same machine from the other market; as it is where that is not offered.
    """
    paid = [
        (stage.name, stage.estimate, twin)
        for stage, twin in zip(priced, twins, strict=True)
        if stage.estimate.usd
    ]
    if not paid:
        return "free"
    has_one = [mine.offer.spot != twin.offer.spot for _, mine, twin in paid]
    on_spot = [mine.offer.spot for _, mine, _ in paid]
    if len(set(on_spot)) == 1:
        (spot,) = set(on_spot)
        if not any(has_one):
            return MARKETS[spot]
        words = against(
            _likely_usd(mine for _, mine, _ in paid), _likely_usd(twin for *_, twin in paid), spot=spot
        )
        only = [name for (name, *_), has in zip(paid, has_one, strict=True) if not has]
        return words + (f"; {', '.join(only)} {MARKETS[spot]} in any case" if only else "")
    names = {
        spot: ", ".join(name for name, mine, _ in paid if mine.offer.spot is spot) for spot in (True, False)
    }
    found = (
        f"{names[True]} on spot, {names[False]} on demand at {usd(_likely_usd(mine for _, mine, _ in paid))}"
    )
    for spot in (False, True):
        all_there = [twin if mine.offer.spot is not spot else mine for _, mine, twin in paid]
        if all(item.offer.spot is spot for item in all_there):
            found += f"; all {MARKETS[spot]} {usd(_likely_usd(all_there))}"
    return found


def _likely_usd(estimates: Iterable[Estimate]) -> float:
    return math.fsum(item.usd.likely for item in estimates)


def by_then(plan: Plan, job: Job, until: datetime | None, now: datetime) -> Plan:
    """Return the plan with ``until`` as a limit, and warnings that say what will become of its stages by then."""
    plan = replace(plan, limits=replace(plan.limits, until=until))
    if until is None:
        return plan
    return replace(plan, warnings=(*plan.warnings, *what_fits(job, plan.estimate, until, now)))


def what_fits(job: Job, estimate: Estimate, until: datetime, now: datetime) -> tuple[str, ...]:
    """Say which stages will hardly have their time, and of which nobody knows; nothing where all of them will run.

    It is reckoned as it will be then: what is kept back for saving and bringing home is no time for a stage.
    """
    stages, likely_s = job.every_stage, likely_s_of(estimate)
    left_s = max(0.0, (until - now).total_seconds())
    end = reserve_for(Measured())
    left_s -= kept_back_s(left_s, save_s=end.save_s, pull_s=end.pull_s)
    run, dropped = dropped_in_time(stages, likely_s, left_s)
    unknown = [stage.name for stage in run if stage.name not in likely_s]
    last = [stage.name for stage in closing(stages, {})]
    kept = _kept_words(last, likely_s, room_for_closing(stages, {}, "", likely_s, left_s))
    by, found = f"by {until.astimezone():%H:%M}", []
    if dropped:
        names = ", ".join(stage.name for stage in dropped)
        left = ", ".join(stage.name for stage in run) or "nothing"
        found.append(f"{by} there is hardly time for {names}: dropped then; {left} will run{kept}")
    if any(name not in last for name in unknown):
        those = [name for name in unknown if name not in last]
        begins, ends = ("it begins", "is") if len(those) == 1 else ("they begin", "are")
        found.append(
            f"nobody knows how long {', '.join(those)} will take: {begins} while there is time,"
            f" and {ends} saved and stopped {by}" + ("" if dropped else kept)
        )
    return tuple(found)


def _kept_words(last: Sequence[str], likely_s: Mapping[str, float], room_s: float) -> str:
    """Say how much time belongs to the stages that run in any case, and how that is known."""
    if not last:
        return ""
    unknown = [name for name in last if name not in likely_s]
    doubt = f" (nobody knows how long {', '.join(unknown)} will take)" if unknown else ""
    return f"; {duration(room_s)} are kept for {', '.join(last)}{doubt}"


def _planned(job: Job, name: str, wants: Wants, plan_one: PlanOne) -> Plan:
    try:
        return plan_one(job_of_stage(job, name), wants)
    except (NothingToRent, OverBudget) as err:
        reach = _reach_words(job, name) if isinstance(err, NothingToRent) else _ON_TOP
        hint = "; ".join(part for part in (err.hint, reach) if part)
        raise type(err)(
            f"stage {name}: {err.message}", left_behind=err.left_behind, hint=hint or None
        ) from err


_ON_TOP = "that is for this stage, and what the others cost comes on top"


def _reach_words(job: Job, name: str) -> str:
    """Say how far what is advised reaches: the advice is about one stage, and an option is for all of them."""
    owned = {stage.name: n for n, stage in enumerate(job.stages) if stage.resources is not None}
    if name not in owned:
        return "options hold for every stage"
    own = f"stages[{owned[name]}].resources"
    return (
        f"{name} has resources of its own, which --set resources=… leaves alone, and options hold for every stage: "
        f"for {name} alone --set '{own}.FIELD=VALUE', or --set '{own}=null' to give it those of the job"
    )


def _share_of_limit(wants: Wants, stages: int) -> Wants:
    """Where nothing is known of a stage but the limit on all of them, it is thought to take its part."""
    limit = wants.max_duration_s
    return replace(wants, until=None, max_duration_s=None if limit is None else limit / stages)


def _together(job: Job, plans: Sequence[Plan], priced: Sequence[PricedStage]) -> Plan:
    total, first = together(priced), plans[0]
    longest = job.max_duration
    limits = default_limits(
        total.hours,
        total.usd,
        max_duration_s=longest.total_seconds() if longest is not None else None,
        max_cost_usd=job.max_cost,
        max_usd_per_hour=_dearest([plan.limits.max_usd_per_hour for plan in plans]),
    )
    expected = total.usd.low if total.source is Source.GUESS else total.usd.likely
    if limits.max_cost_usd is not None and expected > limits.max_cost_usd:
        raise OverBudget(
            f"the {len(plans)} stages together would cost about {usd(expected)}"
            f" and the limit is {usd(limits.max_cost_usd)}",
            left_behind="nothing was rented",
            hint=f"--max-cost {up_to_cent(expected):.2f} to let it begin or {up_to_cent(total.usd.high):.2f} for the high "
            "case, or give the job less to do; `launch estimate` says how much of it fits",
        )
    return replace(
        first,
        estimate=total,
        alternatives=(),
        twin=None,
        limits=limits,
        disk_gib=max(plan.disk_gib for plan in plans),
        if_asleep=" · ".join(dict.fromkeys(plan.if_asleep for plan in plans)),
        needs_client_deadline=any(plan.needs_client_deadline for plan in plans),
        bills=any(plan.bills for plan in plans),
        warnings=(*_warnings(plans, limits, total), *_while_away(plans)),
        stages=tuple(
            StagePlan(
                name=stage.name,
                candidates=plan.candidates,
                mirror_every_s=plan.mirror_every_s,
                mirror_reason=plan.mirror_reason,
                when_unattended=plan.when_unattended,
                if_asleep=plan.if_asleep,
                mirror_every_s_on=plan.mirror_every_s_on,
            )
            for plan, stage in zip(plans, priced, strict=True)
        ),
    )


def _dearest(prices: Sequence[float | None]) -> float | None:
    """What may be paid per hour by any of the stages: each stage's own limit holds for what is offered to it."""
    named = [price for price in prices if price is not None]
    return max(named) if len(named) == len(prices) else None


_OF_LIMITS = ("it may need up to", "it needs about")
"""Begin what a plan warns of its limits: those of a stage are those of all stages together."""


def _warnings(plans: Sequence[Plan], limits: Limits, total: Estimate) -> list[str]:
    found = list(dict.fromkeys(words for plan in plans for words in plan.warnings))
    guesses = [words for words in found if words.startswith("the time is a guess")]
    found = [words for words in found if not words.startswith(_OF_LIMITS) and words not in guesses[1:]]
    return [*found, *limit_warnings(total, limits)]


def _while_away(plans: Sequence[Plan]) -> list[str]:
    if len(plans) < 2 or not any(plan.bills for plan in plans):
        return []
    return ["a stage begins only while this computer is awake: its machine waits, rented, until then"]
