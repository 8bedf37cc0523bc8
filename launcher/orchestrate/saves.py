"""Saying what a loss would cost, where the program saves less often than it is thought to."""

from __future__ import annotations

from launcher.checkpoints import Mirrored
from launcher.events import Kind
from launcher.forecast.money import burn_usd_per_hour
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.observe import Seen
from launcher.policy.loss import is_overdue, loss_of
from launcher.records import from_json
from trainer.contract import Phase

__all__ = ["warn_about_saves"]


def warn_about_saves(context: RunContext, seen: Seen) -> None:
    """Say once for each save that is overdue how old the last one is, and what losing the machine would cost."""
    progress, since = seen.situation.progress, context.working_since(seen.attempt)
    every = context.job.checkpoint.every
    if progress is None or progress.phase is not Phase.RUNNING or since is None or seen.runner is None:
        return
    offer, machine = context.offer_of(seen.attempt), seen.situation.machine
    loss = loss_of(
        progress,
        {name: from_json(Mirrored, entry) for name, entry in seen.attempt.mirrored.items()},
        now=context.now,
        working_since=since,
        usd_per_hour=burn_usd_per_hour(offer, disk_gib=context.plan.disk_gib),
        survives=machine.claimed,
    )
    said = f"{seen.attempt.n} {loss.saved}"
    if is_overdue(loss, every.total_seconds() if every is not None else None):
        if context.memory.said.get("saves") != said:
            context.memory.said["saves"] = said
            where = "" if loss.saved else ". It is looked for in $LAUNCH_CHECKPOINT_DIR alone"
            words = f"{loss.words}{where}"
            context.report(Kind.WARNING, words, usd=loss.usd, seconds=loss.seconds, saved=loss.saved)
    elif loss.saved is not None:
        context.is_well("saves")
