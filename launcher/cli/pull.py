"""`launch pull`: outputs home, now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.arguments import example, find_run, run_argument
from launcher.cli.screen import Screen, with_screen
from launcher.render import words

if TYPE_CHECKING:
    from launcher.runners.base import FetchReport

__all__ = ["pull"]


@click.command(
    "pull",
    short_help="Outputs home, now.",
    epilog=example("launch pull demo", "launch pull demo ~/models/demo"),
)
@run_argument
@click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path)
)
@with_screen
def pull(screen: Screen, run_text: str, directory: Path | None) -> int:
    """Bring outputs home now, verified; as often as you like, also while the run goes on.

    They go to the run's folder of results, or to a folder of the run's id in DIR; once no machine of the run is left, DIR
    gets a copy of the results. A machine that was parked is started for it, which costs a little, and parked again.
    """
    run = find_run(run_text)
    status = run.status()
    what = f"Bringing outputs of {run.id} home"
    if not status.is_live and status.instance_state == "stopped":
        what = (
            f"Starting the machine whose disk was kept, bringing outputs of {run.id} home, parking it again"
        )
    with screen.busy(what) as show:
        report = run.pull(directory, on_event=lambda event: show(words.plain(event.message)))
    dest = str(directory.absolute() / run.id if directory else run.status().results_dir)
    if screen.json:
        screen.document({"run_id": run.id, "dest": dest, **report_document(report)})
        return 0
    for file in report.files:
        if not file.was_home:
            screen.say(f"{words.size(file.size_bytes):>9}  {words.plain(words.home_path(file.path))}")
    screen.say(summary_line(report, dest))
    for name, reason in report.refused:
        screen.notice(f"warning: {words.plain(name)} was left there: {reason}")
    for pattern in report.unmatched:
        screen.notice(f"warning: nothing matches {pattern}")
    return 0


def report_document(report: FetchReport) -> dict[str, Any]:
    """Return what a fetch brought, for scripts."""
    return {
        "files": [
            {
                "path": str(file.path),
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
                "was_home": file.was_home,
            }
            for file in report.files
        ],
        "refused": [{"name": name, "reason": reason} for name, reason in report.refused],
        "unmatched": list(report.unmatched),
    }


def summary_line(report: FetchReport, dest: str) -> str:
    """Say what came, what was there already, and where it lies."""
    came = [file for file in report.files if not file.was_home]
    total = words.size(sum(file.size_bytes for file in came))
    there = len(report.files) - len(came)
    beside = f", {words.count(there, 'file')} there already" if there else ""
    return f"{words.count(len(came), 'file')} came home ({total}){beside}: {words.home_path(dest)}"
