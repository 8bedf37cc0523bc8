"""What commands have in common: RUN and the handle that it names, completion, examples."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from launcher import Run

__all__ = ["complete_job_file", "complete_run", "example", "find_run", "run_argument", "yes_option"]


def complete_job_file(incomplete: str) -> list[CompletionItem]:
    """Leave it to the shell to complete the name of a file."""
    from click.shell_completion import CompletionItem

    return [] if incomplete.startswith("-") else [CompletionItem(incomplete, type="file")]


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the runs that are on record."""
    from click.shell_completion import CompletionItem

    with contextlib.suppress(Exception):  # somebody is typing: better no offer than an error in between
        from launcher import list_runs

        runs = list_runs(limit=50)
        return [
            CompletionItem(run.run_id, help=run.state) for run in runs if run.run_id.startswith(incomplete)
        ]
    return []


run_argument = click.argument("run_text", metavar="RUN", shell_complete=complete_run)
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def find_run(text: str) -> Run:
    """Return the run that RUN names.

    Raises:
        RunNotFound: no id, unique prefix or name is ``text``.
    """
    from launcher import attach  # the API is imported by the command that needs it, not by its help

    return attach(text)


def example(*lines: str) -> str:
    """Return examples as the end of a help text."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)
