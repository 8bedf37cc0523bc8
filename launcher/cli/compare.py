"""`launch compare`: what several runs came to, side by side."""

from __future__ import annotations

import click

from launcher.cli.arguments import complete_run, example
from launcher.cli.options import refuse_two_forms
from launcher.cli.screen import Screen, with_screen

__all__ = ["compare"]


@click.command(
    "compare",
    short_help="Metrics, settings and dollars of several runs.",
    epilog=example("launch compare first second", "launch compare b2t-k3f9 b2t-x4k2 --csv > runs.csv"),
)
@click.argument("runs", metavar="RUN…", nargs=-1, required=True, shell_complete=complete_run)
@click.option("--csv", "as_csv", is_flag=True, help="CSV on stdout, a row per run.")
@with_screen
def compare(screen: Screen, runs: tuple[str, ...], as_csv: bool) -> int:
    """Lay runs side by side: state, verdict, every metric, what they cost, and the settings in which they differ.

    Settings that all of them share are left out; of scripts, the lines that they share. Reads the record alone.
    """
    refuse_two_forms({"as_json": screen.json, "as_csv": as_csv})
    from launcher import compare_runs
    from launcher.render.comparison import comparison_document, comparison_rows

    found = compare_runs(runs)
    if as_csv:
        from launcher.render.rows import as_csv as written

        screen.raw(written(comparison_rows(found)))
        return 0
    if screen.json:
        screen.document(comparison_document(found))
        return 0
    from launcher.render.comparison import comparison_view

    screen.show(comparison_view(found))
    return 0
