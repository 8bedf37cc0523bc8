"""`launch adopt`: a run whose record is lost, taken over from its machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from launcher.cli.arguments import example, yes_option
from launcher.cli.failures import EXIT_DECLINED
from launcher.cli.screen import Screen, with_screen
from launcher.render import words

if TYPE_CHECKING:
    from launcher.adoption import Adopter, Orphan

__all__ = ["adopt"]


@click.command(
    "adopt",
    short_help="Take over a run whose record is lost.",
    epilog=example("launch adopt", "launch adopt demo-0a1b"),
)
@click.argument("machine", metavar="[MACHINE|RUN]", required=False)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where results come home to.",
)
@yes_option
@with_screen
def adopt(screen: Screen, machine: str | None, out: Path | None, yes: bool) -> int:
    """Take over a run that the record here does not know: the state folder was lost, or it was on another computer.

    Logs in to its machine with your own key, reads what the run left there, and goes on with it from here: followed,
    mirrored, recovered and ended as any other run. Without an argument: lists what could be taken over.
    """
    from launcher.adoption import Adopter

    adopter = Adopter.open()
    if machine is None:
        return _list(screen, adopter)
    with screen.busy("Looking for it"):
        orphan = adopter.look(adopter.find(machine))
    if not screen.json:
        for line in (*orphan.host_keys, *_facts(orphan)):
            screen.say(words.plain(line))
    question = f"Take {orphan.run.run_id} over? If another computer still follows it, both would act on it."
    if not yes and not screen.confirm(question, default=False, otherwise="it is left as it is"):
        adopter.forget(orphan)
        return EXIT_DECLINED
    run = adopter.adopt(orphan, out=out)
    if screen.json:
        screen.document(run.status().to_json())
    else:
        screen.say(f"{run.id} is followed from here now. See: launch logs -f {run.id}")
    return 0


def _list(screen: Screen, adopter: Adopter) -> int:
    with screen.busy("Asking every provider what there is"):
        unknown, not_asked = adopter.candidates()
    if screen.json:
        screen.document(
            {
                "orphans": [
                    {
                        "ref": str(item.instance.ref),
                        "run_id": item.instance.run_id,
                        "owner": item.instance.owner,
                        "state": item.instance.state.value,
                        "why": item.why,
                    }
                    for item in unknown
                ],
                "not_asked": dict(not_asked),
            }
        )
        return 0
    for item in unknown:
        found = item.instance
        line = f"{found.ref}  {found.state.value}  {found.run_id}  of {found.owner or 'nobody'}: {item.why}"
        screen.say(words.plain(line))
    if not unknown:
        screen.say("no machine carries a run that the record here does not know")
    for name, why in not_asked.items():
        screen.notice(f"not asked: {name}: {words.plain(why)}")
    return 0


def _facts(orphan: Orphan) -> list[str]:
    progress, job = orphan.progress, orphan.job
    step = "" if progress.step is None else f", step {progress.step:,}"
    total = f" of {progress.total:,}" if progress.step is not None and progress.total else ""
    state = "at work" if progress.alive else f"{progress.phase.value}, not at work"
    lines = [f"{orphan.run.run_id} on {orphan.instance.ref}: {state}{step}{total}"]
    if job.secrets:
        lines.append(f"taken from the environment here: {', '.join(sorted(job.secrets))}")
    return lines
