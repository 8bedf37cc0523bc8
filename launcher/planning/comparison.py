"""The same job priced on every provider there is: what it would take here, there and elsewhere. Rents nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from launcher.errors import LaunchError, OverBudget
from launcher.forecast.estimates import Estimate
from launcher.forecast.ranges import Range
from launcher.home import Home
from launcher.job import Job
from launcher.planning.earlier import one_stage
from launcher.planning.fits import Fit, fit_of
from launcher.planning.nothing import nothing_to_rent
from launcher.planning.plan import Plan, Wants, market_words, price
from launcher.planning.preflight import preflight
from launcher.planning.preparation import market_of, others_of, plan_for, plan_whole, wants_of, with_options
from launcher.planning.prices import (
    Market,
    Miss,
    ask_everyone,
    ask_offline,
    clouds_of,
    what_is_missing,
)
from launcher.policy.limits import default_limits
from launcher.quantities import usd
from launcher.store import Store
from provisioning import BadOption, Capabilities, CloudError, DeadlineKind, MissingDependency, Offer
from provisioning.models import utc_now
from provisioning.registry import capabilities_of
from provisioning.registry import names as provider_names

if TYPE_CHECKING:
    from launcher.planning.free import FreeWay

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a job would take, on one provider or on all."""

    estimates: tuple[Estimate, ...]
    """Of a job that names its provider: what would be rented first, then the other candidates. Else the cheapest
    whole run first; where there are limits, what fits into them before what does not."""
    misses: tuple[Miss, ...] = ()
    """Providers that were asked and have nothing, or cannot be asked, and what they lack."""
    is_open: bool = False
    """The job leaves the choice of the provider open."""
    lacking: Mapping[str, str] = field(default_factory=dict)
    """Providers that are priced from their dated tables → what is missing to rent there, in a word."""
    fits: tuple[Fit | None, ...] = ()
    """Of each estimate, how it fits into the limits on money and time that were named."""
    limits: str = ""
    """Those limits, in words."""
    market: str = ""
    """Of a job that names its provider: what the first estimate would be on the other market."""
    free: tuple[FreeWay, ...] = ()
    """Of a job that leaves the choice open: hours that are given away, which nothing here can start a run on."""
    notes: tuple[str, ...] = ()
    """Of a job with stages and a time to be done by: which will hardly have theirs."""
    now: datetime = field(default_factory=utc_now)


def compare(
    job: Job,
    *,
    host: str | None = None,
    max_duration_s: float | None = None,
    until: datetime | None = None,
    accept_client_deadline: bool | None = None,  # an option of a launch, and no matter of price
    ssh_from: str | None = None,  # the same
    resolve: bool | None = None,  # the same
    stage: str | None = None,
    from_run: str | None = None,
    offline: bool = False,
    environ: Mapping[str, str] | None = None,
    **told: Any,
) -> Comparison:
    """Price the whole run wherever the job may go; free of charge.

    Options are those of `launcher.prepare`. Where the job and the options name a provider, it is asked; where they name
    none, every provider is asked at once. What cannot be asked, for want of an account, a package or the network, is
    priced from its dated table, and ``lacking`` says what is missing; without such a table its error is raised where
    it was named. ``offline``: only dated tables and this computer.

    Raises:
        NothingToRent: nobody has such a machine; says what excludes all, and which wish to give up.
    """
    env = dict(os.environ) if environ is None else environ
    home = Home.open(env)
    store = Store(home.database)
    told_job = with_options(job, told, host=host, max_duration_s=max_duration_s)
    job = one_stage(told_job, stage, from_run, store).job
    manifest = preflight(job, environ=env, tools=(), home=home.root).manifest
    wants = wants_of(job, manifest, store, until=until)
    _require_sane(wants)
    clouds, now = clouds_of(job), utc_now()
    if job.stages:
        return _in_stages(job, wants, home, env, store, offline=offline)
    if clouds is not None and not offline:
        known = {cloud: capabilities_of(cloud, job.provider_options.get(cloud, {})) for cloud in clouds}
        try:
            plan = _whatever_it_costs(lambda one, within: plan_for(one, within, known, home, env), job, wants)
        except CloudError as err:
            miss = Miss(provider=", ".join(clouds), message=err.message, hint=err.hint)
            market = ask_offline(job, clouds, lacks=what_is_missing(err), miss=miss)
            if not market.offers or isinstance(err, BadOption):
                raise
        else:
            priced = (plan.estimate, *others_of(plan, wants, known))
            fits = _fits(priced, wants, now)
            return Comparison(
                estimates=priced, fits=fits, market=plan.market, now=now, limits=_limits_words(wants)
            )
    else:
        market = ask_everyone(job, home=home.root, environ=env, offline=offline)
    found = _ranked(job, market, wants, now, is_open=clouds is None)
    if not found.estimates:
        raise nothing_to_rent(job, market.misses, home=home.root, environ=env)
    if clouds is not None:
        return found
    from launcher.planning.free import free_ways  # and its table, which who names a provider does not need

    return replace(found, free=free_ways(job, wants))


def _whatever_it_costs(plan: Callable[[Job, Wants], Plan], job: Job, wants: Wants) -> Plan:
    """Plan within the limits, and what nothing within them could do as it would be without one on money.

    A launch is refused then; how much of the work the money does is what an estimate is asked for.
    """
    try:
        return plan(job, wants)
    except OverBudget:
        return plan(replace(job, max_cost=None), replace(wants, max_cost_usd=None))


def _limits_words(wants: Wants) -> str:
    money = None if wants.max_cost_usd is None else usd(wants.max_cost_usd)
    time = None if wants.until is None else f"by {wants.until.astimezone():%Y-%m-%d %H:%M}"
    return ", ".join(word for word in (money, time) if word is not None)


def _require_sane(wants: Wants) -> None:
    """Refuse the limits that a launch would refuse, before anything is priced by them; raises `UsageError`."""
    default_limits(
        Range.zero(),
        Range.zero(),
        max_duration_s=wants.max_duration_s,
        max_cost_usd=wants.max_cost_usd,
        max_usd_per_hour=wants.max_usd_per_hour,
        until=wants.until,
    )


def _in_stages(
    job: Job, wants: Wants, home: Home, environ: Mapping[str, str], store: Store, *, offline: bool
) -> Comparison:
    """Price a job with stages where it would go; where its provider is open, all of it on each provider in turn."""
    from launcher.planning.stages import what_fits  # with all of a runner, which other jobs do not need

    clouds, now = clouds_of(job), utc_now()
    asking = _Asking(home=home, environ=environ, store=store, offline=offline)
    if clouds is not None:
        plan = _whatever_it_costs(asking.plan, job, wants)
        notes = what_fits(job, plan.estimate, wants.until, now) if wants.until is not None else ()
        return Comparison(
            estimates=(plan.estimate,),
            misses=tuple(asking.misses.values()),
            lacking=asking.lacking,
            fits=_fits((plan.estimate,), wants, now),
            limits=_limits_words(wants),
            market=plan.market,
            notes=notes,
            now=now,
        )
    found: list[Estimate] = []
    for cloud in provider_names():
        there = with_options(job, {"provider": cloud})
        try:
            found.append(_whatever_it_costs(asking.plan, there, wants).estimate)
        except (CloudError, LaunchError) as err:
            asking.misses[cloud] = Miss(provider=cloud, message=err.message, hint=err.hint)
    misses = tuple(asking.misses.values())
    if not found:
        raise nothing_to_rent(job, misses, home=home.root, environ=environ)
    pairs = sorted(zip(found, _fits(found, wants, now), strict=True), key=lambda pair: _order(*pair))
    priced = {offer.provider for item in found for offer in item.offers}
    return Comparison(
        estimates=tuple(item for item, _ in pairs),
        fits=tuple(fit for _, fit in pairs),
        limits=_limits_words(wants),
        misses=misses,
        lacking={cloud: lacks for cloud, lacks in asking.lacking.items() if cloud in priced},
        is_open=True,
        now=now,
    )


@dataclass
class _Asking:
    """Plans the stages of a job, from dated tables where a provider cannot be asked; remembers what kept us from it."""

    home: Home
    environ: Mapping[str, str]
    store: Store
    offline: bool
    misses: dict[str, Miss] = field(default_factory=dict)
    """By provider."""
    lacking: dict[str, str] = field(default_factory=dict)

    def plan(self, job: Job, wants: Wants) -> Plan:
        """Plan a whole job; raises as `launcher.prepare` does, where there is no table either."""
        known = {cloud: _capabilities(cloud, job) for cloud in clouds_of(job) or ()}
        return plan_whole(
            job, wants, known, self.home, self.environ, store=self.store, ask_for=self._market_of
        )

    def _market_of(self, one: Job) -> Market:
        if self.offline:
            market = ask_everyone(one, home=self.home.root, environ=self.environ, offline=True)
        else:
            try:
                market = market_of(one, self.home, self.environ)
            except BadOption:
                raise
            except CloudError as err:
                market = self._from_tables(one, err)
        self.misses |= {miss.provider: miss for miss in market.misses}
        self.lacking |= market.lacking
        if not market.offers:
            raise nothing_to_rent(one, market.misses, home=self.home.root, environ=self.environ)
        return market

    def _from_tables(self, one: Job, err: CloudError) -> Market:
        """What dated tables hold for a stage; raises what kept us from asking where they hold nothing."""
        clouds = clouds_of(one) or ()
        miss = Miss(provider=", ".join(clouds), message=err.message, hint=err.hint)
        market = ask_offline(one, clouds, lacks=what_is_missing(err), miss=miss)
        if not market.offers:
            raise err
        return market


def _ranked(job: Job, market: Market, wants: Wants, now: datetime, *, is_open: bool) -> Comparison:
    """Price a market: what fits first, then the cheapest whole run."""
    spot = job.resources.use_spot
    can = {name: _capabilities(name, job) for name in {offer.provider for offer in market.offers}}
    wanted = [offer for offer in market.offers if spot is None or offer.spot is spot or not is_open]
    both = _priced(wanted, wants, can)
    estimates = [item for item in both if spot is None or item.offer.spot is spot]
    pairs = list(zip(estimates, _fits(estimates, wants, now), strict=True))
    pairs.sort(key=lambda pair: _order(*pair))
    if not is_open:  # as it would be rented: on demand, unless spot was asked for
        pairs.sort(key=lambda pair: pair[0].offer.spot is not bool(spot))
    return Comparison(
        estimates=tuple(item for item, _ in pairs),
        fits=tuple(fit for _, fit in pairs),
        limits=_limits_words(wants),
        misses=market.misses,
        is_open=is_open,
        lacking=market.lacking,
        market=market_words(pairs[0][0], both) if pairs and not is_open else "",
        now=now,
    )


def _priced(offers: Sequence[Offer], wants: Wants, can: Mapping[str, Capabilities]) -> list[Estimate]:
    """Price every offer; the same machine costs the same wherever its rates are the same, and is priced once."""
    known: dict[Offer, Estimate] = {}
    found = []
    for offer in offers:
        alike = replace(offer, location="", region="", zone=None, offer_id=None)
        if alike not in known:
            known[alike] = price(offer, wants, can[offer.provider])
        found.append(replace(known[alike], offer=offer))
    return found


def _order(item: Estimate, fit: Fit | None) -> tuple[float, float, float, str]:
    missing_share = 0.0 if fit is None else 1.0 - fit.share
    return (missing_share, item.usd.likely, item.hours.likely, item.offer.provider)


def _fits(estimates: Sequence[Estimate], wants: Wants, now: datetime) -> tuple[Fit | None, ...]:
    return tuple(
        fit_of(item, max_cost_usd=wants.max_cost_usd, until=wants.until, now=now) for item in estimates
    )


def _capabilities(provider: str, job: Job) -> Capabilities:
    """What a provider can do; the usual where its package is not installed."""
    try:
        return capabilities_of(provider, job.provider_options.get(provider, {}))
    except MissingDependency:
        return Capabilities(deadline=DeadlineKind.BOOT)
