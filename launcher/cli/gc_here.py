"""The part of `launch gc` that is about this computer: what runs have left in the state folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.cli.screen import Screen
from launcher.errors import LaunchError, UsageError
from launcher.render import words

if TYPE_CHECKING:
    from launcher.gc import Collector
    from launcher.kept_here import KeptHere

__all__ = ["chosen_here", "local_leftovers", "remove_all", "show_here"]


def local_leftovers(collector: Collector) -> list[KeptHere]:
    """Return what all runs have left here, the largest first."""
    from launcher.kept_here import survey_kept

    return survey_kept(collector.home, collector.store, collector.clock())


def chosen_here(here: Sequence[KeptHere], runs: Sequence[str]) -> list[KeptHere]:
    """Return what may be removed, of all that was found or of what was named."""
    from launcher.gc import Judgement

    by_run = {item.run_id: item for item in here}
    for run_id in runs:
        if run_id not in by_run:
            raise UsageError(
                f"{run_id}: no machine and no run with files here", hint=_whole_id(run_id, sorted(by_run))
            )
        if by_run[run_id].judgement is Judgement.LEAVE:
            raise UsageError(f"what {run_id} has left here is kept: {by_run[run_id].why}")
    named = [by_run[run_id] for run_id in dict.fromkeys(runs)] or list(here)
    return [item for item in named if item.judgement is not Judgement.LEAVE]


def _whole_id(given: str, run_ids: Sequence[str]) -> str:
    """Say which run may be meant: what is deleted is named by its whole id, never by a name that may fit others."""
    meant = [run_id for run_id in run_ids if run_id.startswith(given)]
    if not meant:
        return "`launch gc` lists them"
    return f"what is deleted takes the whole id: {' or '.join(meant[:3])}; `launch gc` lists them"


def show_here(screen: Screen, here: Sequence[KeptHere]) -> None:
    """List it, one run a line, and the sum."""
    for item in here:
        screen.say(words.plain(f"{item.run_id}  {words.size(item.size_bytes)} on this computer: {item.why}"))
    if here:
        total = sum(item.size_bytes for item in here)
        screen.say(f"{words.size(total)} on this computer in all, results aside")


def remove_all(
    screen: Screen, collector: Collector, chosen: Sequence[KeptHere], *, named: bool, yes: bool
) -> tuple[list[str], dict[str, str]]:
    """Remove what may go; return which runs' files were removed, and which were not and why."""
    from launcher.gc import Judgement
    from launcher.kept_here import remove_kept

    removed: list[str] = []
    failed: dict[str, str] = {}
    for item in chosen:
        may_go = named or item.judgement is Judgement.END
        if not may_go or (screen.json and not yes):
            continue
        question = f"Remove {words.size(item.size_bytes)} that {item.run_id} has left here? {item.why}."
        if not yes and not screen.confirm(question, default=False, otherwise="it is kept"):
            continue
        try:
            remove_kept(item, collector.home, collector.store, collector.clock())
        except LaunchError as err:
            failed[item.run_id] = str(err)
        else:
            removed.append(item.run_id)
            screen.say(f"removed {words.size(item.size_bytes)} of {item.run_id}")
    return removed, failed
