"""Everything that can be known and decided before money is spent: checked, priced, planned. Rents nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher import results
from launcher.buckets.sources import is_in_bucket
from launcher.buckets.stores import Stores
from launcher.errors import LaunchError, UsageError
from launcher.forecast.estimates import Estimate
from launcher.forecast.history import earlier_runs, earlier_times, experience, stage_runs
from launcher.forecast.sizes import sizes_of
from launcher.forecast.throughput import Work
from launcher.home import Home
from launcher.job import Job, format_duration
from launcher.job.variables import Variables
from launcher.planning.earlier import one_stage
from launcher.planning.nothing import nothing_to_rent
from launcher.planning.plan import Plan, Wants, make_plan, price
from launcher.planning.preflight import Finding, Level, preflight
from launcher.planning.prices import ON_THIS_COMPUTER, Market, ask, clouds_of, refuse_unknown_providers
from launcher.results import require_at_home
from launcher.snapshot import Manifest
from launcher.store import Store
from provisioning import Capabilities, CloudError, WhenUnattended
from provisioning.models import utc_now
from provisioning.registry import capabilities_of
from provisioning.registry import names as provider_names
from provisioning.storage import provider_of

if TYPE_CHECKING:
    from launcher.runners.base import Carried

__all__ = [
    "FIELDS",
    "Prepared",
    "market_of",
    "others_of",
    "plan_again",
    "plan_for",
    "plan_whole",
    "prepare",
    "wants_of",
    "with_options",
]

FIELDS = {
    "provider": "resources.cloud",
    "instance": "resources.instance_type",
    "gpu": "resources.accelerators",
    "region": "resources.region",
    "zone": "resources.zone",
    "spot": "resources.use_spot",
    "max_price": "resources.max_hourly_cost",
    "max_cost": "max_cost",
    "name": "name",
}
"""Options of a launch, and the field of the job that each replaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A job that has been checked, priced and planned; `launcher.launch` starts it as it stands."""

    job: Job
    """With the options applied."""
    plan: Plan
    findings: tuple[Finding, ...]
    manifest: Manifest | None
    """What goes up and what stays; None when there is no working folder."""
    variables: Variables = field(repr=False)
    results_base: Path
    """Outputs come home to a folder of the run's own in here."""
    others: tuple[Estimate, ...] = ()
    """The other candidates, priced."""
    environ: Mapping[str, str] = field(repr=False)
    accepts_client_deadline: bool = False
    """Somebody knows that nothing but this computer would end the machine, and wants it all the same."""
    carried: tuple[Carried, ...] = ()
    """Outputs of an earlier run that one stage is given."""

    @property
    def name(self) -> str:
        """Name of the run to be; its id begins with it."""
        return self.job.name

    @property
    def results_dir(self) -> Path:
        """Where the outputs of the run will lie, its id still open."""
        return self.results_base / f"{self.name}-…"

    @property
    def estimate(self) -> Estimate:
        """Of the chosen offer."""
        return self.plan.estimate

    @property
    def bills(self) -> bool:
        """Starting it costs money."""
        return self.plan.bills

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that forbid starting it."""
        return tuple(finding for finding in self.findings if finding.level is Level.ERROR)

    def require_ok(self) -> None:
        """Raise the first error of the preflight, if there is one."""
        for finding in self.errors:
            if finding.error is not None:
                raise finding.error

    def require_consent(self) -> None:
        """Raise `UsageError` where only this computer would end the machine and nobody has agreed to that."""
        if self.plan.needs_client_deadline and not self.accepts_client_deadline:
            raise UsageError(
                f"nothing but this computer ends a machine of {self.plan.offer.provider}: if this computer dies, "
                "billing goes on",
                left_behind="nothing was rented",
                hint="--accept-client-deadline (in Python accept_client_deadline=True) rents it all the same; "
                "`launch estimate` shows providers whose machines end themselves",
            )


def prepare(
    job: Job,
    *,
    provider: str | None = None,
    instance: str | None = None,
    gpu: str | None = None,
    region: str | None = None,
    zone: str | None = None,
    host: str | None = None,
    spot: bool | None = None,
    max_price: float | None = None,
    max_cost: float | None = None,
    max_duration_s: float | None = None,
    until: datetime | None = None,
    name: str | None = None,
    out: Path | None = None,
    ssh_from: str | None = None,
    stage: str | None = None,
    from_run: str | None = None,
    accept_client_deadline: bool | None = None,
    resolve: bool | None = None,
    environ: Mapping[str, str] | None = None,
) -> Prepared:
    """Check, price and plan a job; free of charge, changes nothing.

    Options replace the fields of the job that they name. What the preflight finds wrong is in ``findings``.

    Raises:
        UsageError, JobFileError: an option or field that cannot be.
        NothingToRent, OverBudget: nothing fits within the limits.
        CloudError: the provider does not know us, or has no such thing.
    """
    env = dict(os.environ) if environ is None else environ
    home = Home.open(env)
    told = {
        "provider": provider,
        "instance": instance,
        "gpu": gpu,
        "region": region,
        "zone": zone,
        "spot": spot,
        "max_price": max_price,
        "max_cost": max_cost,
        "name": name,
    }
    from launcher.planning.buckets import look_at_mirror, look_at_sources  # an estimate looks at neither
    from launcher.planning.trust import for_strangers

    store = Store(home.database)
    chosen = one_stage(
        with_options(job, told, host=host, max_duration_s=max_duration_s), stage, from_run, store
    )
    job = chosen.job
    clouds = clouds_of(job)
    if clouds is None:
        raise _no_provider()
    for carried in chosen.carried:
        require_at_home(carried)
    out = out.expanduser().absolute() if out is not None else None
    tools = ("tmux",) if ON_THIS_COMPUTER.intersection(clouds) else ()
    checked = preflight(job, environ=env, tools=tools, out=out, home=home.root)
    try:
        stores = Stores(home=home.root, environ=env, options=job.provider_options)
        sources, in_buckets_bytes = look_at_sources(job, stores)
        mirror = look_at_mirror(job, stores)
        wants = wants_of(
            job,
            checked.manifest,
            store,
            until=until,
            out=out,
            in_buckets_bytes=in_buckets_bytes,
            ssh_from=ssh_from,
        )
        given = replace(wants.sizes, data_bytes=wants.sizes.data_bytes + chosen.size_bytes)
        wants = replace(wants, sizes=given)
        capabilities = {
            cloud: capabilities_of(cloud, job.provider_options.get(cloud, {})) for cloud in clouds
        }
        distrusted = for_strangers(job, checked.manifest, capabilities)
        plan = plan_whole(job, wants, capabilities, home, env, store=store)
        _require_firewall(plan, capabilities)
    except (CloudError, LaunchError):
        checked.require_ok()  # what is certain comes before what somebody else answered
        raise
    # Here a machine that finds out costs nothing, unless stages have run before; anywhere else somebody waits, or pays.
    is_found_out_at_once = plan.offer.provider == "local" and len(job.stages) < 2
    asks = not is_found_out_at_once and not checked.errors and resolve is not False
    resolved: tuple[Finding, ...] = ()
    if asks:
        from launcher.planning.resolving import look_at_requirements

        resolved = tuple(look_at_requirements(job, env))
    return Prepared(
        job=job,
        plan=plan,
        findings=(*checked.findings, *chosen.findings, *sources, *mirror, *distrusted, *resolved),
        manifest=checked.manifest,
        variables=checked.variables,
        results_base=results.results_bases(job, out=out)[0],
        others=others_of(plan, wants, capabilities),
        environ=env,
        accepts_client_deadline=bool(accept_client_deadline),
        carried=chosen.carried,
    )


def _require_firewall(plan: Plan, capabilities: Mapping[str, Capabilities]) -> None:
    """Refuse to promise a closed door where there is none."""
    provider = plan.offer.provider
    if plan.ssh_from is not None and not capabilities[provider].firewall:
        raise UsageError(
            f"--ssh-from: {provider} has no firewall of ours to close to others",
            hint="leave it out; only the run's own keys can log in",
        )


def with_options(
    job: Job, told: Mapping[str, Any], *, host: str | None = None, max_duration_s: float | None = None
) -> Job:
    """Return the job with the options of a launch in place of its fields; ``told`` is by the keys of `FIELDS`.

    Raises:
        UsageError, JobFileError: an option that cannot be, or a provider that does not exist.
    """
    overrides: dict[str, Any] = {FIELDS[key]: value for key, value in told.items() if value is not None}
    if max_duration_s is not None:
        overrides["max_duration"] = _duration_text(max_duration_s)
    if host is not None:
        overrides |= _on_host(host, told.get("provider"))
    job = job.with_overrides({**overrides, **_in_stages(job, overrides)}) if overrides else job
    refuse_unknown_providers(job)
    return job


def _in_stages(job: Job, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """An option replaces what a stage says of its own too: what is typed holds for all of them."""
    said = [(name.removeprefix("resources."), value) for name, value in overrides.items()]
    return {
        f"stages[{position}].resources.{name}": value
        for position, stage in enumerate(job.stages)
        if stage.resources is not None
        for name, value in said
        if getattr(stage.resources, name, None) is not None
    }


def _duration_text(seconds: float) -> str:
    """As somebody would type it; numbers that are no duration are refused by the field that they are given to."""
    try:
        return format_duration(timedelta(seconds=seconds))
    except (OverflowError, ValueError):
        return f"{seconds:g}s"


def _on_host(host: str, provider: str | None) -> dict[str, Any]:
    """The fields that ``--host`` sets: a machine of one's own is the provider ``ssh``."""
    if provider not in (None, "ssh"):
        raise UsageError(f"--host names a machine of your own, and --provider {provider} does not rent such")
    return {"resources.cloud": "ssh", "provider_options.ssh.host": host}


def _no_provider() -> UsageError:
    known = ", ".join(provider_names())
    return UsageError(
        "no provider is named",
        hint=f"`launch estimate` prices the job on every provider; then --provider NAME, or "
        f"`resources: {{cloud: NAME}}` in the job file; there are: {known}",
    )


def plan_for(
    job: Job, wants: Wants, capabilities: Mapping[str, Capabilities], home: Home, environ: Mapping[str, str]
) -> Plan:
    """Ask the providers that the job names, and choose; raises as `prepare` does."""
    market = market_of(job, home, environ)
    return make_plan(market.offers, wants, capabilities=capabilities, now=utc_now())


def market_of(job: Job, home: Home, environ: Mapping[str, str]) -> Market:
    """Ask the providers that the job names; raises as `prepare` does, also where they have nothing."""
    market = ask(job, home=home.root, environ=environ)
    if not market.offers and market.misses:
        raise nothing_to_rent(job, market.misses, home=home.root, environ=environ, to_launch=True)
    return market


def plan_whole(
    job: Job,
    wants: Wants,
    capabilities: Mapping[str, Capabilities],
    home: Home,
    environ: Mapping[str, str],
    *,
    store: Store,
    ask_for: Callable[[Job], Market] | None = None,
) -> Plan:
    """Plan a job, stage by stage where it has several; raises as `prepare` does. ``wants`` are of the whole job.

    ``ask_for`` answers for one stage, once for all that want the same; without it the providers that it names are asked.
    """
    if not job.stages:
        return plan_for(job, wants, capabilities, home, environ)
    # With all of a runner, which other jobs do not need.
    from launcher.planning.stages import by_then, plan_stages

    def wants_of_stage(name: str, one: Job) -> Wants:
        return replace(
            _with_evidence(wants, one, name, store),
            work=_work(one),
            gpus_used=one.resources.gpus_used,
            has_environment=one.environment.is_made,
            has_setup=one.setup is not None,
            disk_gib=one.resources.disk_size.gib if one.resources.disk_size is not None else None,
            spot=bool(one.resources.use_spot),
            listed=bool(one.resources.ordered or one.resources.any_of),
            in_order=bool(one.resources.ordered),
            max_usd_per_hour=one.resources.max_hourly_cost,
        )

    markets: dict[str, Market] = {}

    def plan_one(one: Job, wanted: Wants) -> Plan:
        wish = repr(one.resources)
        if wish not in markets:
            markets[wish] = ask_for(one) if ask_for is not None else market_of(one, home, environ)
        return make_plan(markets[wish].offers, wanted, capabilities=capabilities, now=utc_now())

    now = utc_now()
    return by_then(plan_stages(job, wants_of_stage, plan_one, capabilities, now), job, wants.until, now)


def plan_again(job: Job, *, store: Store, home: Home, environ: Mapping[str, str], stage: str = "") -> Plan:
    """Plan a job that is on record already, with what its providers have now; raises as `prepare` does.

    ``stage``: that it is one of several, by its name.
    """
    clouds = clouds_of(job) or ()
    capabilities = {cloud: capabilities_of(cloud, job.provider_options.get(cloud, {})) for cloud in clouds}
    wants = wants_of(job, None, store)
    if stage:
        wants = _with_evidence(wants, job, stage, store)
    return plan_for(job, wants, capabilities, home, environ)


def _with_evidence(wants: Wants, one: Job, stage: str, store: Store) -> Wants:
    """What earlier runs have shown of one of several stages, in place of what they have of the whole job."""
    fields = one.to_dict()
    return replace(
        wants,
        history=earlier_runs(store, fields, stage),
        times=earlier_times(store, fields, stage),
        experience=replace(wants.experience, stage_runs=stage_runs(store, fields, stage)),
    )


def wants_of(
    job: Job,
    manifest: Manifest | None,
    store: Store,
    *,
    until: datetime | None = None,
    out: Path | None = None,
    in_buckets_bytes: int | None = None,
    ssh_from: str | None = None,
) -> Wants:
    """Return what a job asks of a plan; ``manifest`` is what goes up, ``store`` knows earlier runs of it.

    ``in_buckets_bytes``: of what the machine fetches from object stores; None when nobody has looked.
    """
    checkpoint = job.checkpoint
    duration = job.max_duration
    return Wants(
        work=_work(job),
        sizes=sizes_of(job, manifest, in_buckets_bytes=in_buckets_bytes),
        history=earlier_runs(store, job.to_dict()),
        times=earlier_times(store, job.to_dict()),
        experience=experience(store, job.to_dict()),
        gpus_used=job.resources.gpus_used,
        has_environment=job.environment.is_made,
        has_setup=job.setup is not None,
        save_every_s=checkpoint.every.total_seconds() if checkpoint.every else None,
        has_secrets=bool(job.secrets),
        mirrored=checkpoint.mirror != "none",
        mirror_every_s=checkpoint.mirror_every.total_seconds() if checkpoint.mirror_every else None,
        keep_checkpoints=checkpoint.keep,
        bucket_of=provider_of(checkpoint.mirror.partition("://")[0])
        if is_in_bucket(checkpoint.mirror)
        else None,
        disk_gib=job.resources.disk_size.gib if job.resources.disk_size is not None else None,
        when_unattended=WhenUnattended(job.when_unattended) if job.when_unattended is not None else None,
        spot=bool(job.resources.use_spot),
        listed=bool(job.resources.ordered or job.resources.any_of),
        in_order=bool(job.resources.ordered),
        max_cost_usd=job.max_cost,
        max_usd_per_hour=job.resources.max_hourly_cost,
        max_duration_s=duration.total_seconds() if duration is not None else None,
        until=until,
        out=out,
        ssh_from=ssh_from,
    )


def _work(job: Job) -> Work:
    work = job.work
    if work is None:
        return Work()
    return Work(
        steps=work.steps,
        like=work.like,
        hours=work.hours,
        on=work.on,
        evaluation_h=work.evaluation.total_seconds() / 3600.0 if work.evaluation else None,
    )


def others_of(plan: Plan, wants: Wants, capabilities: Mapping[str, Capabilities]) -> tuple[Estimate, ...]:
    """Price the candidates after the chosen one; none for a job with stages, each of which has its own."""
    priced = []
    for offer in plan.candidates[1:] if not plan.stages else ():
        try:
            priced.append(price(offer, wants, capabilities[offer.provider]))
        except CloudError:  # an offer that cannot be priced is no alternative
            continue
    return tuple(priced)
