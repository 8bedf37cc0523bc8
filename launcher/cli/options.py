"""The options of the main form, and what the Python API is told for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from launcher.cli import values
from launcher.errors import UsageError

__all__ = [
    "COMMAND",
    "ESTIMATE_PARAMS",
    "OUTPUT",
    "RANKING",
    "START_PARAMS",
    "api_options",
    "refuse_two_forms",
    "split_at_dashes",
    "write_sections",
]

COMMAND = "launcher.command"
"""Key in click's ``ctx.meta``: what stood after ``--``, or None."""


def _option(*names: str, **settings: Any) -> click.Option:
    return click.Option(list(names), **settings)


CHOICE = (
    _option("--provider", metavar="NAME", help="Where: local is this computer, fake a cloud to try."),
    _option("--instance", metavar="TYPE", help="The provider's type, such as g4dn.xlarge."),
    _option("--gpu", metavar="GPU[:N]", help="A GPU by name, and how many: T4, A100:2."),
    _option("--region", metavar="NAME", help="Only in this region."),
    _option("--zone", metavar="NAME", help="Only in this zone."),
    _option("--host", metavar="HOST", help="A machine of your own: [user@]box[:port]."),
    _option(
        "--spot/--on-demand",
        default=None,
        help="Cheaper and may be taken away, or dearer and kept.",
    ),
    _option("--max-price", type=values.AMOUNT, metavar="USD", help="Rent nothing above this price per hour."),
)

LIMITS = (
    _option("--max-cost", type=values.AMOUNT, metavar="USD", help="End the run before it costs more in all."),
    _option(
        "--max-duration", type=values.DURATION, metavar="TIME", help="End the run after so long: 8h, 90m."
    ),
    _option("--until", type=values.MOMENT, metavar="TIME", help="End the run by then: 06:00, or a date."),
)

STAGE = (
    _option("--stage", metavar="NAME", help="Of a job with stages: this one alone."),
    _option("--from", "from_run", metavar="RUN", help="With --stage: the run whose outputs it is given."),
)

JOB = (
    _option("--name", metavar="NAME", help="Name of the run; its id begins with it."),
    _option(
        "--set",
        "settings",
        type=values.SETTING,
        multiple=True,
        metavar="PATH=VALUE",
        help="Replace a field of the job file. Repeatable.",
    ),
    _option(
        "--env",
        "envs",
        type=values.ENV,
        multiple=True,
        metavar="KEY=VALUE",
        help="An environment variable. Repeatable.",
    ),
)

RESULTS = _option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where results come home to, a folder per run.",
)

CONDUCT = (
    _option("--ssh-from", type=values.CIDR, metavar="CIDR", help="Addresses that may reach the machine."),
    _option("--smoke", is_flag=True, help="A small run of it on the real machine first."),
    _option("--no-resolve", is_flag=True, help="Do not ask uv here whether requirements can be had."),
    _option("--dry-run", is_flag=True, help="Check, plan and price; then stop."),
    _option("--detach", is_flag=True, help="Start, hand over to the background, and return."),
    _option("--yes", "-y", is_flag=True, help="Do not ask."),
    _option(
        "--accept-client-deadline",
        is_flag=True,
        help="With --yes, rent also what only this computer would end.",
    ),
)

OUTPUT = (
    _option("--json", "as_json", is_flag=True, help="JSON alone on stdout; text goes to stderr."),
    _option("--debug", is_flag=True, help="Show a traceback when something fails."),
)

RANKING = (
    _option("--offline", is_flag=True, help="Ask nobody: this computer, and the dated price tables."),
    _option("--all", "everything", is_flag=True, help="Every row, not only the first ones."),
    _option("--csv", "as_csv", is_flag=True, help="CSV on stdout, a row per offer."),
)

SECTIONS: tuple[tuple[str, tuple[click.Parameter, ...]], ...] = (
    ("What to rent", CHOICE),
    ("Limits", LIMITS),
    ("The job", (*STAGE, *JOB, RESULTS)),
    ("How to go about it", CONDUCT),
    ("What is shown", RANKING),
)
"""How the options are grouped in help texts; what is in no group comes last."""

START_PARAMS: tuple[click.Parameter, ...] = (*CHOICE, *LIMITS, *STAGE, *JOB, RESULTS, *CONDUCT, *OUTPUT)
ESTIMATE_PARAMS: tuple[click.Parameter, ...] = (*CHOICE, *LIMITS, *STAGE, *JOB, *RANKING, *OUTPUT)

_AS_THEY_ARE = (
    "provider",
    "instance",
    "gpu",
    "region",
    "zone",
    "host",
    "spot",
    "max_price",
    "max_cost",
    "until",
    "name",
    "out",
    "ssh_from",
    "stage",
    "from_run",
)


def api_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `launcher.launch` and its sisters are told; what was not said is left out."""
    told = {name: given[name] for name in _AS_THEY_ARE if given.get(name) is not None}
    if given.get("accept_client_deadline"):
        told["accept_client_deadline"] = True
    if given.get("no_resolve"):
        told["resolve"] = False
    if given.get("max_duration") is not None:
        told["max_duration_s"] = given["max_duration"].total_seconds()
    return told


def refuse_two_forms(given: Mapping[str, Any]) -> None:
    """Raise `UsageError` where both ``--json`` and ``--csv`` are asked for: stdout holds one of them."""
    if given["as_json"] and given["as_csv"]:
        raise UsageError(
            "--json and --csv exclude each other: one of the two is written to stdout",
            hint="leave one out; both have the same rows",
        )


def write_sections(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options of a help text in groups, aligned with each other."""
    params = [param for param in command.get_params(ctx) if param.get_help_record(ctx) is not None]
    records = {param: param.get_help_record(ctx) or ("", "") for param in params}
    width = max(len(names) for names, _ in records.values())
    grouped = [(title, [param for param in members if param in records]) for title, members in SECTIONS]
    named = {param for _, members in grouped for param in members}
    for title, members in (*grouped, ("Other options", [param for param in params if param not in named])):
        if members:
            with formatter.section(title):
                formatter.write_dl([(records[param][0].ljust(width), records[param][1]) for param in members])


def split_at_dashes(args: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return what stands before ``--`` and what stands after it; None when there is no ``--``."""
    if "--" not in args:
        return list(args), None
    position = list(args).index("--")
    return list(args[:position]), list(args[position + 1 :])
