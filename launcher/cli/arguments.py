"""What commands about a run have in common: RUN, and the handle that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from launcher import Run

__all__ = ["example", "find_run", "run_argument", "yes_option"]

R = TypeVar("R")


def _complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from launcher import list_runs

    return [
        CompletionItem(run.run_id, help=run.state)
        for run in list_runs(limit=50)
        if run.run_id.startswith(incomplete)
    ]


run_argument = click.argument("run_text", metavar="RUN", shell_complete=_complete_run)
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
