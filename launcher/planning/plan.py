"""The plan: what will be rented, what comes after it, what it costs and what limits hold. Decided before any money is
spent, stored with the run, and from then on what every decision refers to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from launcher.errors import NothingToRent
from launcher.forecast.benchmarks import benchmarks
from launcher.forecast.conditions import Conditions, Sizes, default_conditions, disk_of, over_links_of
from launcher.forecast.estimates import Estimate, estimate, idle_gpus
from launcher.forecast.experience import Experience
from launcher.forecast.ranges import Range
from launcher.forecast.throughput import EarlierRun, Source, Work
from launcher.forecast.times import EarlierTime
from launcher.planning.choose import Asked, Choice, choose
from launcher.policy.limits import Limits, default_limits
from launcher.policy.unattended import (
    default_when_unattended,
    if_this_computer_sleeps,
    needs_client_deadline_accepted,
)
from launcher.quantities import duration, offer_words, usd
from launcher.records import from_json, to_json
from provisioning import Capabilities, HostKeyOrigin, Offer, WhenUnattended

__all__ = [
    "MARKETS",
    "Alternative",
    "Plan",
    "StagePlan",
    "Wants",
    "against",
    "going_on",
    "limit_warnings",
    "make_plan",
    "market_words",
    "price",
    "twin_of",
]

STALE_DAYS = 60
CHEAPER = 0.95
FASTER = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What a job and its command line ask of a plan, as plain values."""

    work: Work = field(default_factory=Work)
    sizes: Sizes = field(default_factory=Sizes)
    history: tuple[EarlierRun, ...] = ()
    """Newest first."""
    times: tuple[EarlierTime, ...] = ()
    """What earlier runs took by the clock, newest first."""
    experience: Experience = field(default_factory=Experience)
    """What accounts of earlier runs have shown."""
    gpus_used: int | None = None
    """How many GPUs the job uses; None: all that the machine has."""
    has_environment: bool = False
    has_setup: bool = False
    save_every_s: float | None = None
    has_secrets: bool = False
    mirrored: bool = True
    mirror_every_s: float | None = None
    keep_checkpoints: int = 3
    bucket_of: str | None = None
    """The provider of the bucket that is named; None when none is."""
    disk_gib: float | None = None
    when_unattended: WhenUnattended | None = None
    spot: bool = False
    listed: bool = False
    in_order: bool = False
    max_cost_usd: float | None = None
    max_usd_per_hour: float | None = None
    max_duration_s: float | None = None
    until: datetime | None = None
    up_bytes_per_s: float | None = None
    down_bytes_per_s: float | None = None
    ssh_from: str | None = None
    out: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Another way, in one line."""

    kind: str
    """``cheaper`` or ``faster``."""
    offer: Offer
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What is decided for one stage of a job that has several; its part of the bill is in ``Plan.estimate.stages``."""

    name: str
    candidates: tuple[Offer, ...]
    """What to rent for it, where the machine of the stage before does not do or has been lost."""
    mirror_every_s: float
    mirror_reason: str
    when_unattended: WhenUnattended
    if_asleep: str
    mirror_every_s_on: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that was decided before renting."""

    candidates: tuple[Offer, ...]
    """The chosen offer, then what to fall back to, in order: zone, region, other machines, other providers."""
    estimate: Estimate
    """Of the chosen offer."""
    alternatives: tuple[Alternative, ...]
    limits: Limits
    disk_gib: float
    when_unattended: WhenUnattended
    mirror_every_s: float
    """How often checkpoints leave the machine; 0 when they do not."""
    mirror_reason: str
    market: str
    """On demand or spot, and what the other would cost."""
    twin: Offer | None = None
    """The same machine on the other market, where that whole run is cheapest; None where it is not offered there."""
    if_asleep: str
    """What happens while this computer sleeps."""
    needs_client_deadline: bool
    """Nothing but this computer would end the machine of one of the candidates: to be accepted in so many words."""
    bills: bool
    """Renting costs money."""
    warnings: tuple[str, ...] = ()
    ssh_from: str | None = None
    """Who may log in instead of this computer's own address."""
    out: Path | None = None
    """Where the user wants results, when not in the usual place."""
    stages: tuple[StagePlan, ...] = ()
    """Of a job with stages, in the order in which they will run; the rest of the plan is of all of them together."""
    mirror_every_s_on: Mapping[str, float] = field(default_factory=dict)
    """The same as ``mirror_every_s`` by provider, for what the candidates of others would be like."""

    def of_stage(self, name: str) -> Plan:
        """Return the plan as it is for one stage; itself where the job has none."""
        for stage in self.stages:
            if stage.name == name:
                return replace(
                    self,
                    candidates=stage.candidates,
                    mirror_every_s=stage.mirror_every_s,
                    mirror_reason=stage.mirror_reason,
                    when_unattended=stage.when_unattended,
                    if_asleep=stage.if_asleep,
                    mirror_every_s_on=stage.mirror_every_s_on,
                )
        return self

    def with_candidates(self, stage: str, candidates: Sequence[Offer]) -> Plan:
        """Return the plan with other offers to rent for a stage; ``stage`` does not matter where the job has none."""
        if not self.stages:
            return replace(self, candidates=tuple(candidates))
        changed = tuple(
            replace(item, candidates=tuple(candidates)) if item.name == stage else item
            for item in self.stages
        )
        return replace(self, stages=changed)

    @property
    def offer(self) -> Offer:
        """The chosen offer."""
        return self.candidates[0]

    def to_json(self) -> dict[str, Any]:
        """Return the stored form, which `from_json` restores unchanged."""
        stored: dict[str, Any] = to_json(self)
        return stored

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Plan:
        """Restore a stored plan; `StoreError` for what this version cannot read."""
        return from_json(cls, stored)


def price(
    offer: Offer,
    wants: Wants,
    capabilities: Capabilities,
    *,
    is_there: bool = False,
    is_made: bool = False,
) -> Estimate:
    """Estimate the whole run on one offer.

    ``is_there``: the machine runs already, with code and data on it; ``is_made``: the environment too.
    """
    conditions = anew = _conditions(offer, wants, capabilities)
    sizes = carried = wants.experience.sizes(wants.sizes)
    if is_there:
        there = replace(wants, has_environment=wants.has_environment and not is_made)
        conditions = replace(_conditions(offer, there, capabilities, is_there=True), boot_s=Range.zero())
        sizes = replace(sizes, code_bytes=0, data_bytes=0, fetched_bytes=0)
    return estimate(
        offer,
        wants.work,
        conditions=conditions,
        sizes=sizes,
        replacement=(anew, carried) if is_there else None,
        history=wants.history,
        benchmarks=benchmarks() if wants.work.like else (),
        times=wants.times,
        max_duration_s=wants.max_duration_s,
    )


def make_plan(
    offers: Sequence[Offer],
    wants: Wants,
    *,
    capabilities: Mapping[str, Capabilities],
    now: datetime,
    others: Sequence[Offer] = (),
) -> Plan:
    """Choose among ``offers`` and decide everything that follows from the choice; rents nothing.

    ``offers`` is what the job accepts, of both markets; ``others`` may be named as alternatives and are never rented.
    ``capabilities`` is by provider.

    Raises:
        NothingToRent: nothing within the limits, with the nearest misses and why; or nothing that a secret may go to.
        OverBudget: it would cost more than ``max_cost``, with the numbers.
    """
    if wants.has_secrets:
        offers, others = (
            _for_secrets(offers, capabilities),
            _for_secrets(others, capabilities, required=False),
        )
    estimates = [price(offer, wants, capabilities[offer.provider]) for offer in offers]
    asked = Asked(
        now=now,
        spot=wants.spot,
        max_cost_usd=wants.max_cost_usd,
        max_usd_per_hour=wants.max_usd_per_hour,
        until=wants.until,
        listed=wants.listed,
        in_order=wants.in_order,
    )
    choice = choose(estimates, asked)
    known = [*estimates, *(price(offer, wants, capabilities[offer.provider]) for offer in others)]
    plan = _plan_for(choice, known, wants, capabilities[choice.chosen.offer.provider], now)
    asks = any(needs_client_deadline_accepted(capabilities[offer.provider]) for offer in plan.candidates)
    return replace(plan, needs_client_deadline=asks)


def going_on(plan: Plan, found: Estimate, wants: Wants, capabilities: Capabilities, now: datetime) -> Plan:
    """Return the plan of a stage as it is on a machine that is there already, which ``found`` is the estimate on.

    What to rent where that machine is lost stays as it was planned.
    """
    choice = Choice(chosen=found, candidates=plan.candidates, rejected=())
    there = _plan_for(choice, [found], wants, capabilities, now)
    return replace(
        there,
        mirror_every_s_on={**plan.mirror_every_s_on, found.offer.provider: there.mirror_every_s},
        disk_gib=max(there.disk_gib, plan.disk_gib),
        needs_client_deadline=there.needs_client_deadline or plan.needs_client_deadline,
    )


def _for_secrets(
    offers: Sequence[Offer], capabilities: Mapping[str, Capabilities], *, required: bool = True
) -> Sequence[Offer]:
    """The offers of machines of which it is known who they are."""
    known = [offer for offer in offers if not _is_unknown_at_first(capabilities[offer.provider])]
    if required and offers and not known:
        names = ", ".join(sorted({offer.provider for offer in offers}))
        raise NothingToRent(
            f"the job has secrets, and a machine of {names} cannot prove that it is the one that was rented: "
            "its host key is only known from the first contact",
            left_behind="nothing was rented",
            hint="another --provider, or a job without secrets",
        )
    return known


def _is_unknown_at_first(capabilities: Capabilities) -> bool:
    return capabilities.host_keys is HostKeyOrigin.FIRST_CONTACT


def _plan_for(
    choice: Choice, known: Sequence[Estimate], wants: Wants, capabilities: Capabilities, now: datetime
) -> Plan:
    chosen = choice.chosen
    conditions = _conditions(chosen.offer, wants, capabilities)
    when_unattended = _when_unattended(wants, capabilities)
    limits = default_limits(
        chosen.hours,
        chosen.usd,
        max_duration_s=wants.max_duration_s,
        max_cost_usd=wants.max_cost_usd,
        max_usd_per_hour=wants.max_usd_per_hour,
        until=wants.until,
    )
    twin = twin_of(chosen, known)
    return Plan(
        candidates=choice.candidates,
        estimate=chosen,
        alternatives=_alternatives(chosen, known),
        limits=limits,
        disk_gib=conditions.disk_gib,
        when_unattended=when_unattended,
        mirror_every_s=_mirror_every_s(chosen),
        mirror_every_s_on=_mirror_every_s_on(choice.candidates, known),
        mirror_reason=chosen.mirror.reason
        if chosen.mirror
        else "checkpoints stay on the machine until the end",
        market=market_words(chosen, known),
        twin=twin.offer if twin is not None else None,
        if_asleep=if_this_computer_sleeps(
            chosen.offer,
            capabilities,
            when_unattended,
            disk_gib=conditions.disk_gib,
            on_this_computer=conditions.on_this_computer,
        ),
        needs_client_deadline=needs_client_deadline_accepted(capabilities),
        bills=capabilities.bills,
        warnings=(
            *_warnings(chosen, limits, now, wants.gpus_used),
            *_about_access(chosen.offer, capabilities),
        ),
        out=wants.out,
        ssh_from=wants.ssh_from,
    )


def _mirror_every_s(found: Estimate) -> float:
    return found.mirror.every_s if found.mirror else 0.0


def _mirror_every_s_on(candidates: Sequence[Offer], known: Sequence[Estimate]) -> dict[str, float]:
    """Return it for the first of each provider's candidates."""
    found: dict[str, float] = {}
    for offer in candidates:
        estimates = [item for item in known if item.offer == offer]
        if estimates:
            found.setdefault(offer.provider, _mirror_every_s(estimates[0]))
    return found


def _when_unattended(wants: Wants, capabilities: Capabilities) -> WhenUnattended:
    return wants.when_unattended or default_when_unattended(
        capabilities, bucket_named=wants.bucket_of is not None
    )


def _conditions(
    offer: Offer, wants: Wants, capabilities: Capabilities, *, is_there: bool = False
) -> Conditions:
    base = default_conditions(
        offer.provider,
        has_environment=wants.has_environment,
        has_setup=wants.has_setup,
        up_bytes_per_s=wants.up_bytes_per_s,
        down_bytes_per_s=wants.down_bytes_per_s,
    )
    disk = disk_of(
        wants.experience.sizes_of_all(wants.sizes),
        rented=not capabilities.claimed and not base.on_this_computer,
        keep_checkpoints=wants.keep_checkpoints,
        linked=base.on_this_computer,
    )
    known = over_links_of(offer, wants.experience.conditions(offer, base, is_there=is_there))
    return replace(
        known,
        save_every_s=wants.save_every_s or 0.0,
        mirrored=wants.mirrored,
        mirrored_to_bucket=wants.bucket_of is not None,
        bucket_is_near=wants.bucket_of == offer.provider,
        mirror_every_s=wants.mirror_every_s,
        disk_outlives=_disk_outlives(wants, capabilities),
        disk_gib=wants.disk_gib or disk.gib,
        disk_words="as the job says" if wants.disk_gib else disk.words,
        gpus_used=wants.gpus_used,
        rented=not capabilities.claimed,
    )


def _disk_outlives(wants: Wants, capabilities: Capabilities) -> bool:
    """Whether what a machine has saved is still there when it has been taken away."""
    parks = capabilities.park and _when_unattended(wants, capabilities) is WhenUnattended.PARK
    return parks and not capabilities.takes_unannounced


def _alternatives(chosen: Estimate, known: Sequence[Estimate]) -> tuple[Alternative, ...]:
    """At most one that is cheaper and one that is faster, each the mildest change that is worth a line."""
    cheaper = [item for item in known if item.usd.likely < CHEAPER * chosen.usd.likely]
    faster = [item for item in known if item.hours.likely < FASTER * chosen.hours.likely]
    found = []
    if cheaper:
        found.append(
            _alternative(
                "cheaper", min(cheaper, key=lambda item: (item.usd.likely, item.hours.likely)), chosen
            )
        )
    if faster:
        found.append(
            _alternative("faster", min(faster, key=lambda item: (item.usd.likely, item.hours.likely)), chosen)
        )
    return tuple(found)


def _alternative(kind: str, item: Estimate, chosen: Estimate) -> Alternative:
    words = (
        f"{kind}: {offer_words(item.offer)}, about {usd(item.usd.likely)} in {duration(3600 * item.hours.likely)}"
        f" instead of {usd(chosen.usd.likely)} in {duration(3600 * chosen.hours.likely)}"
    )
    return Alternative(kind=kind, offer=item.offer, words=words)


def twin_of(chosen: Estimate, known: Sequence[Estimate]) -> Estimate | None:
    """Return the cheapest whole run on the same machine from the other market; None where it is not offered there."""
    twins = [
        item
        for item in known
        if item.offer.spot != chosen.offer.spot
        and (item.offer.provider, item.offer.instance_type)
        == (chosen.offer.provider, chosen.offer.instance_type)
    ]
    return min(twins, key=lambda item: item.usd.likely, default=None)


def market_words(chosen: Estimate, known: Sequence[Estimate]) -> str:
    """Name the market, and what the whole run would cost on the other one with its interruptions priced in."""
    twin = twin_of(chosen, known)
    if twin is None:
        return "free" if not chosen.usd else MARKETS[chosen.offer.spot]
    return against(chosen.usd.likely, twin.usd.likely, spot=chosen.offer.spot)


MARKETS = {False: "on demand", True: "spot"}
"""By whether an offer is spot."""


def against(mine_usd: float, other_usd: float, *, spot: bool) -> str:
    """Say what a run costs on its market and on the other one; ``spot``: its own is the spot market."""
    spot_usd, steady_usd = (mine_usd, other_usd) if spot else (other_usd, mine_usd)
    if spot_usd >= steady_usd:
        return f"{MARKETS[spot]}; spot is not cheaper here: {usd(spot_usd)} against {usd(steady_usd)}"
    saving = 1.0 - spot_usd / steady_usd
    verb = "saves" if spot else "would save"
    amount = f"{saving:.0%}, interruptions included"
    return f"{MARKETS[spot]} at {usd(mine_usd)}; {MARKETS[not spot]} {usd(other_usd)}: spot {verb} {amount}"


def _warnings(chosen: Estimate, limits: Limits, now: datetime, gpus_used: int | None) -> tuple[str, ...]:
    offer, found = chosen.offer, []
    if chosen.source is Source.GUESS:
        found.append(
            "the time is a guess; narrower with " + " or ".join(chosen.narrow_by or ("an earlier run",))
        )
    found += limit_warnings(chosen, limits)
    if limits.until is not None and now + timedelta(hours=chosen.hours.likely) > limits.until:
        found.append(f"it will hardly be done by {limits.until:%Y-%m-%d %H:%M %Z}")
    if idle := idle_gpus(offer, gpus_used):
        found.append(f"{idle} of {offer.gpu_count} GPUs idle: the job asks for {offer.gpu_count - idle}")
    if chosen.notice:
        found.append(chosen.notice)
    age = now - offer.priced_at
    if age > timedelta(days=STALE_DAYS):
        found.append(f"the price is {age.days} days old ({offer.price_source})")
    return (*found, *(note for note in offer.notes if not note.endswith("GPUs would idle")))


def limit_warnings(estimate: Estimate, limits: Limits) -> list[str]:
    """Say which of the limits on money and time a run may meet before it is done."""
    found = []
    if limits.max_cost_usd is not None and estimate.usd.high > limits.max_cost_usd:
        found.append(
            f"it may need up to {usd(estimate.usd.high)} and is stopped at {usd(limits.max_cost_usd)}"
        )
    if estimate.hours.likely * 3600.0 > limits.max_duration_s:
        found.append(
            f"it needs about {duration(3600 * estimate.hours.likely)} and is stopped after {duration(limits.max_duration_s)}"
        )
    return found


def _about_access(offer: Offer, capabilities: Capabilities) -> tuple[str, ...]:
    if not _is_unknown_at_first(capabilities):
        return ()
    words = (
        f"{offer.provider} can neither be given nor asked for a machine's host key: the one that it shows at first "
        "contact is accepted, and no other after it; a job with secrets is refused"
    )
    return (words,)
