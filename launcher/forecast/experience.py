"""What the accounts of earlier runs teach the next estimate: boot, setup, links, sizes, and how often spot is taken. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from launcher.forecast.account import Account
from launcher.forecast.conditions import Conditions, Sizes
from launcher.forecast.ranges import Range
from provisioning import Offer

__all__ = ["ENOUGH_INTERRUPTIONS", "Calibration", "Experience", "StageRun", "calibration_of"]

ENOUGH_INTERRUPTIONS = 5
"""So many recorded ones replace the published rate."""
_ONE = (0.6, 1.6)
_SEVERAL = (0.8, 1.25)
_NEWEST = 20
_LEAST_MIRRORED = 0.1
"""Of what an interval lets expect: a run that moved less may have had nothing new to save, and another one has."""

_Shown = TypeVar("_Shown", Account, "StageRun")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """What one stage of an earlier run showed beside its time."""

    run_id: str
    provider: str
    stays: bool
    """It went on where the stage before it had ended."""
    setup_s: float | None
    checkpoint_bytes: int | None
    output_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """Accounts of earlier runs, newest first: of this job on any provider, and of this computer's other runs."""

    digest: str = ""
    accounts: tuple[Account, ...] = ()
    stage_runs: tuple[StageRun, ...] = ()
    """Of the stage that is priced, where it is one of several, newest first."""

    def conditions(self, offer: Offer, assumed: Conditions, *, is_there: bool = False) -> Conditions:
        """Return the conditions with what was measured in place of what was assumed.

        ``is_there``: the stage goes on where the one before it has ended.
        """
        there = [item for item in self.accounts if item.provider == offer.provider]
        alike = [item for item in there if item.instance_type == offer.instance_type] or there
        mine = [item for item in there if item.job_digest == self.digest]
        found = assumed
        if (boot := _seen(alike, lambda item: item.boot_s)) is not None:
            found = replace(found, boot_s=boot[0], boot_from=f"measured by {boot[1]}")
        if (setup := self._setup(offer, mine, is_there=is_there)) is not None:
            found = replace(found, setup_s=setup[0], setup_from=f"measured by {setup[1]}")
        for runs in (mine, self._mine()):
            if not found.start_from and (start := _seen(runs, lambda item: item.start_s)) is not None:
                found = replace(found, start_s=start[0], start_from=start[1])
        if (place := _seen(there, lambda item: item.place_s)) is not None:
            found = replace(found, place_s=place[0])
        if (leave := _seen(mine or there, lambda item: item.leave_s)) is not None:
            found = replace(found, leave_s=leave[0])
        if (pull := self._pull(offer, mine)) is not None:
            found = replace(found, pull_s=pull[0], pull_from=pull[1])
        if (mirror := _seen(mine, _mirrored)) is not None:
            found = replace(found, mirror_ratio=mirror[0])
        if assumed.up_from == "assumed" and (up := _seen(there, lambda item: item.sent_bytes_per_s)):
            found = replace(found, up=up[0], up_from=f"measured by {up[1]}")
        if assumed.down_from == "assumed" and (down := _seen(there, lambda item: item.pulled_bytes_per_s)):
            found = replace(found, down=down[0], down_from=f"measured by {down[1]}")
        return self._with_rate(offer, found)

    def _mine(self) -> list[Account]:
        """Those of the job itself, wherever it ran."""
        return [item for item in self.accounts if item.job_digest == self.digest]

    def _setup(self, offer: Offer, mine: Sequence[Account], *, is_there: bool) -> tuple[Range, str] | None:
        """Of the stage itself, where it has run in the same way: on a machine that was new to it, or not."""
        own = [item for item in self.stage_runs if (item.provider, item.stays) == (offer.provider, is_there)]
        found = _seen(own, lambda item: item.setup_s)
        return found if found is not None or is_there else _seen(mine, lambda item: item.setup_s)

    def _pull(self, offer: Offer, mine: Sequence[Account]) -> tuple[Range, str] | None:
        """By machines of the same type alone; one that says how fast its own link is, is like no other."""
        if self.stage_runs or offer.link_up_bytes_per_s:
            return None
        same = [item for item in mine if item.instance_type == offer.instance_type]
        return _seen(same, lambda item: item.pull_s)

    def _with_rate(self, offer: Offer, conditions: Conditions) -> Conditions:
        """Own interruptions count once there are enough: of this type, else of this GPU with this provider."""
        spot = [item for item in self.accounts if item.provider == offer.provider and item.spot_hours > 0.0]
        for same in (
            [item for item in spot if item.instance_type == offer.instance_type],
            [item for item in spot if item.gpu_name == offer.gpu_name],
        ):
            times = sum(item.interruptions for item in same)
            if offer.spot and times >= ENOUGH_INTERRUPTIONS:
                hours = math.fsum(item.spot_hours for item in same)
                words = f"{times} in {hours:.3g} h of your own"
                return replace(conditions, interruptions_per_hour=times / hours, interruptions_from=words)
        return conditions

    def sizes(self, assumed: Sizes) -> Sizes:
        """Return the sizes with those of the newest run of this job, or stage, that showed them."""
        return _with_sizes(assumed, self.stage_runs) if self.stage_runs else self.sizes_of_all(assumed)

    def sizes_of_all(self, assumed: Sizes) -> Sizes:
        """Return the sizes of all stages together: what a disk has to hold."""
        return _with_sizes(assumed, self._mine())


def _with_sizes(assumed: Sizes, mine: Sequence[Account] | Sequence[StageRun]) -> Sizes:
    checkpoint = next((item for item in mine if item.checkpoint_bytes is not None), None)
    output = next((item for item in mine if item.output_bytes is not None), None)
    shown = checkpoint or output
    if shown is None:
        return assumed
    return replace(
        assumed,
        checkpoint_bytes=assumed.checkpoint_bytes if checkpoint is None else checkpoint.checkpoint_bytes,
        output_bytes=assumed.output_bytes if output is None else output.output_bytes,
        seen_in=f"run {shown.run_id}",
    )


def _seen(earlier: Sequence[_Shown], value: Callable[[_Shown], float | None]) -> tuple[Range, str] | None:
    """Return the range that the newest runs show of one value, and their words; None where they show nothing."""
    shown = [(item, seen) for item in earlier if (seen := value(item)) is not None and seen >= 0.0][:_NEWEST]
    if not shown:
        return None
    values = [seen for _, seen in shown]
    spread = _ONE if len(values) == 1 else _SEVERAL
    runs = f"run {shown[0][0].run_id}" if len(shown) == 1 else f"{len(shown)} earlier runs"
    return Range.seen(values).spread(*spread), runs


def _mirrored(account: Account) -> float | None:
    return None if account.mirror_ratio is None else max(account.mirror_ratio, _LEAST_MIRRORED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How good estimates have been: of the runs that did all their work."""

    runs: int
    inside: int
    """How many came out within low and high."""
    median_error: float | None
    """Of the size of the error against the likely value, as a share."""
    by_source: dict[str, tuple[int, int]]
    """How the time was known → (runs, inside)."""


def calibration_of(accounts: Sequence[Account]) -> Calibration:
    """Count how often the real cost fell into the range that was told."""
    done = [item for item in accounts if item.finished]
    errors = [abs(item.error) for item in done if item.error is not None]
    by_source: dict[str, tuple[int, int]] = {}
    for item in done:
        runs, inside = by_source.get(item.source, (0, 0))
        by_source[item.source] = (runs + 1, inside + item.is_inside)
    return Calibration(
        runs=len(done),
        inside=sum(item.is_inside for item in done),
        median_error=Range.seen(errors).likely if errors else None,
        by_source=by_source,
    )
