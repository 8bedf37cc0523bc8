"""Estimates and offers as flat rows, for spreadsheets and scripts. Pure, standard library only."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.forecast.estimates import Estimate, StageShare
    from launcher.planning.comparison import Comparison
    from provisioning import Offer

__all__ = [
    "OFFER_COLUMNS",
    "age_days",
    "as_csv",
    "estimate_rows",
    "missing_of",
    "offer_row",
    "oldest_age_days",
]


OFFER_COLUMNS = (
    "provider",
    "instance_type",
    "region",
    "zone",
    "spot",
    "gpu",
    "gpu_count",
    "gpu_memory_gib",
    "vcpus",
    "memory_gib",
    "usd_per_hour",
    "price_source",
    "priced_at",
    "price_age_days",
    "missing",
)


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Write rows as CSV, numbers as they are, nothing for what is not known; without rows the head of ``columns`` alone."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def age_days(offer: Offer, now: datetime) -> float:
    """Return how old a price is."""
    return max(0.0, (now - offer.priced_at).total_seconds() / 86_400.0)


def offer_row(offer: Offer, now: datetime, missing: str = "") -> dict[str, Any]:
    """Return what one offer is and costs, and what is missing to rent it."""
    return {
        "provider": offer.provider,
        "instance_type": offer.instance_type,
        "region": offer.region,
        "zone": offer.zone or "",
        "spot": offer.spot,
        "gpu": offer.gpu_name or "",
        "gpu_count": offer.gpu_count,
        "gpu_memory_gib": round(offer.gpu_memory_gib, 2),
        "vcpus": offer.vcpus,
        "memory_gib": round(offer.memory_gib, 2),
        "usd_per_hour": round(offer.usd_per_hour, 6),
        "price_source": offer.price_source,
        "priced_at": offer.priced_at.isoformat(),
        "price_age_days": round(age_days(offer, now), 2),
        "missing": missing,
    }


def estimate_rows(found: Comparison) -> Iterable[dict[str, Any]]:
    """Yield what each whole run would take, in the order of the comparison.

    Of a job with stages a row per stage, on its machine, and then one of all of them, whose ``stage`` is ``all``: of
    the machines it has what is the same for all.
    """
    for item, fit in zip(found.estimates, found.fits or (None,) * len(found.estimates), strict=True):
        fits = "" if fit is None else round(fit.share, 4)
        if not item.stages:
            yield {**_machine(found, item.offer), **_amounts(item), "fits": fits}
            continue
        machines = [_machine(found, stage.offer) for stage in item.stages]
        for stage, machine in zip(item.stages, machines, strict=True):
            yield {"stage": stage.name, **machine, **_amounts(stage), "fits": ""}
        shared = {name: _if_shared([row[name] for row in machines]) for name in machines[0]}
        yield {
            "stage": ALL_STAGES,
            **shared,
            "missing": missing_of(found, item),
            **_amounts(item),
            "fits": fits,
        }


ALL_STAGES = "all"


def missing_of(found: Comparison, item: Estimate) -> str:
    """Return what is missing to rent what a run needs; empty where nothing is."""
    return ", ".join(
        dict.fromkeys(words for offer in item.offers if (words := found.lacking.get(offer.provider)))
    )


def oldest_age_days(found: Comparison, item: Estimate) -> float:
    """Return how old the oldest price is that an estimate rests on."""
    return max(age_days(offer, found.now) for offer in item.offers)


def _machine(found: Comparison, offer: Offer) -> dict[str, Any]:
    return offer_row(offer, found.now, found.lacking.get(offer.provider, ""))


def _if_shared(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else ""


def _amounts(item: Estimate | StageShare) -> dict[str, Any]:
    return {**_ranges(item), "basis": item.source.value}


def _ranges(item: Estimate | StageShare) -> dict[str, float]:
    return {
        f"{name}_{case}": round(getattr(value, case), digits)
        for name, value, digits in (("hours", item.hours, 4), ("usd", item.usd, 4))
        for case in ("low", "likely", "high")
    }
