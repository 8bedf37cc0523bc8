"""The same job priced on every provider there is: what it would take here, there and elsewhere. Rents nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from launcher.forecast.estimates import Estimate
from launcher.home import Home
from launcher.job import Job
from launcher.planning.plan import price
from launcher.planning.preflight import preflight
from launcher.planning.preparation import others_of, plan_for, wants_of, with_options
from launcher.planning.prices import Miss, ask_everyone, clouds_of
from launcher.store import Store
from provisioning.registry import capabilities_of

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a job would take, on one provider or on all."""

    estimates: tuple[Estimate, ...]
    """Of a job that names its provider: what would be rented first, then the other candidates. Else the cheapest
    whole run first."""
    misses: tuple[Miss, ...] = ()
    """Providers that were asked and have nothing, or cannot be asked, and what they lack."""
    is_open: bool = False
    """The job leaves the choice of the provider open."""


def compare(
    job: Job,
    *,
    host: str | None = None,
    max_duration_s: float | None = None,
    until: datetime | None = None,
    accept_client_deadline: bool | None = None,  # an option of a launch, and no matter of price
    environ: Mapping[str, str] | None = None,
    **told: Any,
) -> Comparison:
    """Price the whole run wherever the job may go; free of charge.

    Options are those of `launcher.prepare`. Where the job and the options name a provider, it is asked and its errors
    are raised; where they name none, every provider is asked at once and none is an error.
    """
    env = dict(os.environ) if environ is None else environ
    home = Home.open(env)
    job = with_options(job, told, host=host, max_duration_s=max_duration_s)
    manifest = preflight(job, environ=env, tools=(), home=home.root).manifest
    wants = wants_of(job, manifest, Store(home.database), until=until)
    clouds = clouds_of(job)
    if clouds is not None:
        capabilities = {
            cloud: capabilities_of(cloud, job.provider_options.get(cloud, {})) for cloud in clouds
        }
        plan = plan_for(job, wants, capabilities, home, env)
        return Comparison(estimates=(plan.estimate, *others_of(plan, wants, capabilities)))
    market = ask_everyone(job, home=home.root, environ=env)
    spot = job.resources.use_spot
    priced = [
        price(
            offer,
            wants,
            capabilities_of(offer.provider, job.provider_options.get(offer.provider, {})),
        )
        for offer in market.offers
        if spot is None or offer.spot is spot
    ]
    priced.sort(key=lambda item: (item.usd.likely, item.hours.likely, item.offer.provider))
    return Comparison(estimates=tuple(priced), misses=market.misses, is_open=True)
