"""`launch rehearse`: the user's own program, interrupted, killed and resumed at home, before anything is rented."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from launcher.cli.arguments import complete_job_file, example
from launcher.cli.failures import nothing_rented
from launcher.cli.options import COMMAND, JOB, OUTPUT, split_at_dashes
from launcher.cli.screen import Screen
from launcher.cli.start import job_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["rehearse"]

EXIT_FAILED = 1


@click.pass_context
def _rehearse(ctx: click.Context, /, **given: Any) -> int:
    screen = Screen(json=given["as_json"], debug=given["debug"])
    from launcher.rehearse import rehearse as perform

    with nothing_rented():
        job = job_of(ctx, screen, given)
        result = perform(job, minutes=given["minutes"], say=lambda words: screen.notice(f"… {words}"))
    from launcher.render.rehearsal import rehearsal_document, rehearsal_lines

    if screen.json:
        screen.document(rehearsal_document(result))
    else:
        for line in rehearsal_lines(given["name"] or job.name, result):
            screen.say(line)
    return 0 if result.passed else EXIT_FAILED


class RehearseCommand(click.Command):
    """Reads its arguments as the main form does: a job file, or a command after ``--``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the command after ``--`` aside."""
        ctx.allow_extra_args = True
        before, ctx.meta[COMMAND] = split_at_dashes(args)
        return super().parse_args(ctx, before)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete options, and else the name of a job file."""
        return super().shell_complete(ctx, incomplete) or complete_job_file(incomplete)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """For the usage line."""
        return ["[JOB.yaml]", "[OPTIONS]"]


rehearse = RehearseCommand(
    name="rehearse",
    callback=_rehearse,
    params=[
        click.Option(
            ["--minutes"],
            type=click.FloatRange(min=0.2, max=120),
            default=5.0,
            show_default=True,
            help="How long it may take.",
        ),
        *JOB,
        *OUTPUT,
    ],
    short_help="Interrupt and resume the job at home, free.",
    help=(
        "Run the job's own program on this computer, send it the notice that a machine is taken away, kill it, resume "
        "it, and say what survived, what a loss would cost, and the lines to change. Free of charge; state and results "
        "lie in a temporary folder. Uses the job's smoke.run where there is one. Exit code 1 when work would be lost."
    ),
    epilog=example("launch rehearse examples/shell-job.yaml --minutes 2"),
)
