"""What it would cost to lose the machine at this moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from launcher.quantities import duration, usd

if TYPE_CHECKING:
    from launcher.checkpoints import Mirrored
    from launcher.runners.base import CheckpointEntry, Progress

__all__ = ["Loss", "is_overdue", "loss_of"]

LONG_WITHOUT_SAVING_S = 1800.0
"""Where the job file does not say how often the program saves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What would have to be done again if the machine were gone now."""

    saved: str | None
    """The newest checkpoint of this start; None when it has saved nothing yet."""
    saved_ago_s: float
    """Since then; since the work began when nothing was saved."""
    seconds: float
    """Work that would be done again: since the newest checkpoint that would outlive the machine was saved."""
    usd: float
    """What that work costs, at the machine's rates."""
    went_on_from: str | None = None
    """The checkpoint that this start was given; None where it began at the beginning."""

    @property
    def words(self) -> str:
        """As half a sentence for people."""
        if self.saved:
            last = f"last save {duration(self.saved_ago_s)} old"
        else:
            last = f"nothing saved since {self.went_on_from}" if self.went_on_from else "nothing saved yet"
        again = f"{duration(self.seconds)} of work"
        return f"{last}: a loss now costs {f'{usd(self.usd)} and ' if self.usd else ''}{again}"


def loss_of(
    progress: Progress,
    mirrored: Mapping[str, Mirrored],
    *,
    now: datetime,
    working_since: datetime,
    usd_per_hour: float,
    survives: bool,
) -> Loss:
    """Reckon it for a job at work. ``survives``: what was saved on the machine outlives it.

    Checkpoints carry the time of the machine's clock; by how much that differs from ours, its last sign of life tells.
    """
    behind = progress.seen_at - progress.heartbeat if progress.heartbeat is not None else timedelta(0)
    began = next((one for one in progress.checkpoints if one.name == progress.resumed_from), None)
    since = max(working_since, began.modified_at + behind) if began is not None else working_since
    saved = _newest([one for one in progress.checkpoints if one != began])
    safe = saved if survives else _newest([one for one in progress.checkpoints if _is_home(one, mirrored)])
    seconds = _ago_s(safe, since, now, behind)
    return Loss(
        saved=saved.name if saved is not None else None,
        saved_ago_s=_ago_s(saved, since, now, behind),
        seconds=seconds,
        usd=usd_per_hour * seconds / 3600.0,
        went_on_from=progress.resumed_from,
    )


def is_overdue(loss: Loss, every_s: float | None) -> bool:
    """Whether the program saves less often than it is thought to; ``every_s`` is what the job file says."""
    allowed_s = LONG_WITHOUT_SAVING_S if every_s is None else 2.0 * every_s + 60.0
    return loss.saved_ago_s > allowed_s


def _newest(entries: Sequence[CheckpointEntry]) -> CheckpointEntry | None:
    return max(entries, key=lambda one: one.modified_at, default=None)


def _is_home(entry: CheckpointEntry, mirrored: Mapping[str, Mirrored]) -> bool:
    one = mirrored.get(entry.name)
    return one is not None and one.at is not None and one.modified_at >= entry.modified_at


def _ago_s(entry: CheckpointEntry | None, since: datetime, now: datetime, behind: timedelta) -> float:
    moment = since if entry is None else max(since, entry.modified_at + behind)
    return max(0.0, (now - moment).total_seconds())
