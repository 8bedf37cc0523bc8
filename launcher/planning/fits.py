"""What fits: how much of a job can be done for so much money by such a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from launcher.forecast.estimates import Estimate

__all__ = ["Fit", "fit_of"]

_WORK = frozenset({"training", "evaluation", "interruptions"})
"""Lines that grow with the work; the others are there however little of it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether a run fits into the limits, and how much of its work does."""

    share: float
    """Of the work, by the likely values; 1 where all of it fits."""
    is_sure: bool
    """It fits even where everything takes as long, and costs as much, as the high values say."""
    bound_by: str = ""
    """``money`` or ``time``, where not all fits."""

    @property
    def fits(self) -> bool:
        """All of the work, likely."""
        return self.share >= 1.0

    @property
    def words(self) -> str:
        """For a table: ``yes``, ``likely``, ``62 %``."""
        if self.fits:
            return "yes" if self.is_sure else "likely"
        return f"{int(100 * self.share)} %"


def fit_of(
    estimate: Estimate, *, max_cost_usd: float | None, until: datetime | None, now: datetime
) -> Fit | None:
    """Return how a run fits; None where there is no limit to fit into."""
    if max_cost_usd is None and until is None:
        return None
    left_h = None if until is None else max(0.0, (until - now).total_seconds() / 3600.0)
    of_work = [line for line in estimate.lines if line.item in _WORK]
    rates = (
        (max_cost_usd, estimate.usd.likely, sum(line.usd.likely for line in of_work), "money"),
        (left_h, estimate.hours.likely, sum(line.hours.likely for line in of_work), "time"),
    )
    shares = [
        (_share(limit, needed, of_work_needed), name)
        for limit, needed, of_work_needed, name in rates
        if limit is not None
    ]
    share, name = min(shares)
    is_sure = (max_cost_usd is None or estimate.usd.high <= max_cost_usd) and (
        left_h is None or estimate.hours.high <= left_h
    )
    return Fit(share=share, is_sure=is_sure, bound_by="" if share >= 1.0 else name)


def _share(limit: float, needed: float, of_work: float) -> float:
    if needed <= limit:
        return 1.0
    fixed = needed - of_work
    return 0.0 if of_work <= 0.0 else min(max(0.0, (limit - fixed) / of_work), 0.9999)
