"""What can be rented now, whatever the job: every provider's offers, cheapest first. Rents nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.errors import NothingToRent
from launcher.home import Home
from launcher.job import Job
from launcher.planning.nothing import nothing_to_rent
from launcher.planning.preparation import with_options
from launcher.planning.prices import Market, ask_everyone
from provisioning import Offer
from provisioning.catalog import rank

__all__ = ["Listing", "offers_now"]

FIELDS = {"gpu_memory": "resources.gpu_memory", "memory": "resources.memory", "cpus": "resources.cpus"}
"""What a machine must have beyond the options of a launch, and the field of a job that says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What matches, cheapest first."""

    offers: tuple[Offer, ...]
    market: Market
    """All that was answered, and who could not be asked."""
    nothing: NothingToRent | None
    """Where nothing matches: what excludes everything, and which wish to give up."""


def offers_now(*, offline: bool = False, environ: Mapping[str, str] | None = None, **told: Any) -> Listing:
    """Ask every provider, or the one that is named, for what matches; free of charge.

    ``told`` are the options of a launch that choose a machine (`launcher.Options`), and ``gpu_memory``, ``memory`` and
    ``cpus`` as a job file writes them. Providers that cannot be asked answer from their dated tables, as in
    `launcher.planning.comparison.compare`.
    """
    env = dict(os.environ) if environ is None else environ
    extra = {FIELDS[name]: told.pop(name) for name in FIELDS if told.get(name) is not None}
    job = Job.from_command(["true"], base_dir=Path.cwd()).with_overrides(extra)
    job = with_options(
        job, {name: value for name, value in told.items() if name in _CHOICE}, host=told.get("host")
    )
    home = Home.open(env).root
    market = ask_everyone(job, home=home, environ=env, offline=offline)
    spot = job.resources.use_spot
    found = tuple(rank(item for item in market.offers if spot in (None, item.spot)))
    nothing = None if found else nothing_to_rent(job, market.misses, home=home, environ=env)
    return Listing(offers=found, market=market, nothing=nothing)


_CHOICE = frozenset({"provider", "instance", "gpu", "region", "zone", "spot", "max_price"})
