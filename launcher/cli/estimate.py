"""`launch estimate`: the bill before the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.arguments import complete_job_file, example
from launcher.cli.failures import nothing_rented
from launcher.cli.options import (
    COMMAND,
    ESTIMATE_PARAMS,
    api_options,
    refuse_two_forms,
    split_at_dashes,
    write_sections,
)
from launcher.cli.screen import Screen
from launcher.cli.start import job_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from launcher.planning.comparison import Comparison

__all__ = ["EstimateCommand", "estimate"]

EXIT_NOTHING_FITS = 5


@click.pass_context
def _estimate(ctx: click.Context, /, **given: Any) -> int:
    screen = Screen(json=given["as_json"], debug=given["debug"])
    refuse_two_forms(given)
    from launcher.planning.comparison import compare

    with nothing_rented():
        job = job_of(ctx, screen, given)
        with screen.busy("Asking for prices"):
            found = compare(job, offline=given["offline"], **api_options(given))
    _show(screen, given, found, given["name"] or job.name)
    nothing_fits = found.fits and all(fit is not None and not fit.fits for fit in found.fits)
    return EXIT_NOTHING_FITS if nothing_fits else 0


def _show(screen: Screen, given: Mapping[str, Any], found: Comparison, name: str) -> None:
    if given["as_csv"]:
        from launcher.render.rows import as_csv, estimate_rows

        screen.raw(as_csv(list(estimate_rows(found))))
    elif screen.json:
        from launcher.render.documents import estimates_document

        screen.document(estimates_document(found))
    else:
        from launcher.render.bill import estimates_view
        from launcher.render.ranking import comparison_view, misses_view

        if found.is_open:
            screen.show(comparison_view(name, found, everything=given["everything"]))
        else:
            screen.show(estimates_view(name, found), misses_view(found))


class EstimateCommand(click.Command):
    """Reads its arguments as the main form does: a job file, or a command after ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the command after ``--`` aside."""
        ctx.allow_extra_args = True
        before, ctx.meta[COMMAND] = split_at_dashes(args)
        return super().parse_args(ctx, before)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete options, and else the name of a job file."""
        return super().shell_complete(ctx, incomplete) or complete_job_file(incomplete)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options in groups."""
        write_sections(self, ctx, formatter)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """For the usage line."""
        return ["[JOB.yaml]", "[OPTIONS]"]


estimate = EstimateCommand(
    name="estimate",
    callback=_estimate,
    params=list(ESTIMATE_PARAMS),
    short_help="The bill before the run.",
    help="Price the whole run before anything is rented: with --provider line by line, without it on every provider.",
    epilog=example(
        "launch estimate examples/shell-job.yaml",
        "launch estimate --provider fake --gpu T4 -- python train.py",
        "launch estimate --max-cost 5        what fits, and how much of the work",
    ),
)
