"""`launch gc`: what carries our tags and is owned by no live run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.arguments import example, yes_option
from launcher.cli.gc_here import chosen_here, local_leftovers, remove_all, show_here
from launcher.cli.screen import Screen, with_screen
from launcher.errors import LaunchError, UsageError
from launcher.render import words

if TYPE_CHECKING:
    from launcher.gc import Collector, Leftover, Survey

__all__ = ["gc"]

KEPT = "nothing was ended"


@click.command(
    "gc",
    short_help="Machines, disks and files that no run needs.",
    epilog=example("launch gc", "launch gc fake/us-east/fk-0a1b --yes"),
)
@click.argument("refs", metavar="[MACHINE|RUN]…", nargs=-1)
@yes_option
@with_screen
def gc(screen: Screen, refs: tuple[str, ...], yes: bool) -> int:
    """List machines and parked disks that carry our tags and that no live run owns, and end them after asking.

    What is somebody else's, or a live run's, is listed and left alone. --yes ends what nobody can miss; a machine whose
    job gives signs of life, or whose outputs never came home, is ended with --yes only where it is named. With --json
    and without --yes this is a list alone.

    What runs have left on this computer (checkpoints, code, working folders) is listed with its size: two weeks after a
    success it may go; what a run can be resumed from goes only where the RUN is named. Results are never touched.
    """
    from launcher.gc import Collector

    collector = Collector.open()
    with screen.busy("Asking every provider what there is"):
        found = collector.survey()
    here = local_leftovers(collector)
    machines = [ref for ref in refs if "/" in ref]
    runs = [ref for ref in refs if "/" not in ref]
    chosen = _chosen(found, machines) if machines or not refs else []
    files = chosen_here(here, runs) if runs or not refs else []
    if not screen.json:
        _show(screen, found)
        show_here(screen, here)
    ended, failed = _end_all(screen, collector, chosen, named=bool(refs), yes=yes)
    removed, stuck = remove_all(screen, collector, files, named=bool(refs), yes=yes)
    failed |= stuck
    if screen.json:
        document = _document(found, ended, failed)
        document["kept_here"] = [
            {**item.to_json(), "action": "removed" if item.run_id in removed else "kept"} for item in here
        ]
        screen.document(document)
    for ref, problem in failed.items():
        screen.notice(f"error: {ref}: {problem}")
    return 1 if failed else 0


def _chosen(found: Survey, refs: Sequence[str]) -> list[Leftover]:
    """Return what may be ended, of all that was found or of what was named."""
    from launcher.gc import Judgement

    by_ref = {str(item.instance.ref): item for item in found.leftovers}
    for ref in refs:
        if ref not in by_ref:
            raise UsageError(
                f"{ref}: no machine with our tags has this address", hint="`launch gc` lists them"
            )
        if by_ref[ref].judgement is Judgement.LEAVE:
            raise UsageError(
                f"{ref} is not ended: {by_ref[ref].why}",
                left_behind=KEPT,
                hint="`launch down RUN` ends a live run of yours",
            )
    named = [by_ref[ref] for ref in dict.fromkeys(refs)] or list(by_ref.values())
    return [item for item in named if item.judgement is not Judgement.LEAVE]


def _end_all(
    screen: Screen, collector: Collector, chosen: Sequence[Leftover], *, named: bool, yes: bool
) -> tuple[list[str], dict[str, str]]:
    """End what may be; return which have ended, and which have not and why."""
    from provisioning import CloudError

    ended: list[str] = []
    failed: dict[str, str] = {}
    for item in chosen:
        ref = str(item.instance.ref)
        if not _agreed(screen, item, named=named, yes=yes):
            continue
        try:
            with screen.busy(f"Ending {ref}"):
                collector.end(item)
        except (CloudError, LaunchError) as err:
            failed[ref] = str(err)
        else:
            ended.append(ref)
            screen.say(f"ended {ref}")
    return ended, failed


def _agreed(screen: Screen, item: Leftover, *, named: bool, yes: bool) -> bool:
    from launcher.gc import Judgement

    if yes:
        return named or item.judgement is Judgement.END
    if screen.json:
        return False
    question = f"End {item.instance.ref}, with all that is on it? {item.why[0].upper()}{item.why[1:]}."
    return screen.confirm(question, default=False, otherwise=f"{item.instance.ref} is kept")


def _show(screen: Screen, found: Survey) -> None:
    for item in found.leftovers:
        screen.say(_line(item))
    if not found.leftovers:
        screen.say("nothing carries our tags")
    for name, why in found.not_asked.items():
        screen.notice(f"not asked: {name}: {words.plain(why)}")


def _line(item: Leftover) -> str:
    instance = item.instance
    price = "disk alone" if item.usd_per_hour is None else words.usd_per_hour(item.usd_per_hour)
    run = instance.run_id or "no run"
    return words.plain(f"{instance.ref}  {instance.state.value}  {price}  {run}: {item.why}")


def _document(found: Survey, ended: Sequence[str], failed: dict[str, str]) -> dict[str, Any]:
    leftovers = []
    for item in found.leftovers:
        ref = str(item.instance.ref)
        action = "ended" if ref in ended else "failed" if ref in failed else "kept"
        leftovers.append({**item.to_json(), "action": action, "problem": failed.get(ref)})
    return {"leftovers": leftovers, "not_asked": dict(found.not_asked)}
