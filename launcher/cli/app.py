"""The root of the command line: the main form, the commands beside it, and what every ending has in common.

``launch [JOB.yaml] [options]`` and ``launch [options] -- CMD`` are the main form; a first argument that is the
name of a command is that command. A job file of such a name is reached as ``./estimate``.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from launcher.cli.arguments import complete_job_file
from launcher.cli.failures import report
from launcher.cli.options import COMMAND, START_PARAMS, split_at_dashes, write_sections
from launcher.cli.start import start

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["COMMANDS", "PROGRAM", "root", "run_command"]

PROGRAM = "launch"
VERSION_OPTION = "--version"
COMPLETION_VARIABLE = "_LAUNCH_COMPLETE"

COMMANDS: Mapping[str, str] = {
    "init": "launcher.cli.init:init",
    "rehearse": "launcher.cli.rehearse:rehearse",
    "estimate": "launcher.cli.estimate:estimate",
    "offers": "launcher.cli.offers:offers",
    "calibrate": "launcher.cli.calibrate:calibrate",
    "ls": "launcher.cli.look:ls",
    "status": "launcher.cli.look:status",
    "logs": "launcher.cli.logs:logs",
    "pull": "launcher.cli.pull:pull",
    "report": "launcher.cli.report:report",
    "compare": "launcher.cli.compare:compare",
    "stop": "launcher.cli.ending:stop",
    "down": "launcher.cli.ending:down",
    "resume": "launcher.cli.resume:resume",
    "exec": "launcher.cli.reach:execute",
    "ssh": "launcher.cli.reach:ssh",
    "watch": "launcher.cli.watch:watch",
    "gc": "launcher.cli.gc:gc",
    "adopt": "launcher.cli.adopt:adopt",
    "doctor": "launcher.cli.doctor:doctor",
}
"""Name of a command → where it is; in the order of the help. Imported when it is used."""

USAGE = ("[JOB.yaml] [OPTIONS]", "[OPTIONS] -- CMD [ARG]…", "COMMAND …")

EPILOG = """\b
Examples:
  launch estimate examples/shell-job.yaml       the bill, on every provider that is set up
  launch examples/shell-job.yaml --provider local        plan, ask, run, bring results home
  launch --provider fake --gpu T4 --dry-run -- python train.py      no job file, no account
  launch logs -f RUN                            come back to a run

RUN is a run's id, the beginning of one, or a name (its newest run).
"""


class Root(click.Group):
    """A group whose own options are those of the main form."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Hand a command its arguments; read anything else as the main form."""
        if args and (args[0] in COMMANDS or ctx.resilient_parsing):
            return super().parse_args(ctx, args)
        if args and not args[0].startswith("-"):
            from launcher.cli.job_choice import refuse_a_misspelt_command

            # Before its options are refused as if they were those of the main form.
            refuse_a_misspelt_command(args, list(COMMANDS))
        ctx.allow_interspersed_args = True
        ctx.allow_extra_args = True
        before, command = split_at_dashes(args)
        ctx.meta[COMMAND] = command
        return click.Command.parse_args(self, ctx, before)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands, in the order of a run's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command, and no other."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands and options, and else the name of a job file."""
        found = super().shell_complete(ctx, incomplete)
        return found or complete_job_file(incomplete)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the three forms."""
        for n, form in enumerate(USAGE):
            formatter.write_usage(ctx.command_path, form, prefix="Usage: " if n == 0 else "       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options in groups, then the commands."""
        write_sections(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """For the one line that a usage error shows."""
        return [USAGE[0]]


def _show_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"{PROGRAM} {version('gpu-launch')}")
    except PackageNotFoundError:  # a checkout that was never installed
        click.echo(f"{PROGRAM} (from a checkout)")
    ctx.exit()


@click.pass_context
def _callback(ctx: click.Context, /, **options: Any) -> int | None:
    return None if ctx.invoked_subcommand is not None else start(ctx, **options)


root = Root(
    name=PROGRAM,
    callback=_callback,
    invoke_without_command=True,
    params=[
        *START_PARAMS,
        click.Option(
            [VERSION_OPTION],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and leave.",
        ),
    ],
    help=(
        "Train on a rented GPU for the price you were quoted: checks, prices and asks before anything is rented, "
        "survives interruption, brings results home, ends the machine."
    ),
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def run_command(argv: Sequence[str] | None) -> int:
    """Run one command; every way to end becomes an exit code here."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character is no reason to fail
            stream.reconfigure(errors="replace")
    if COMPLETION_VARIABLE in os.environ:
        root.main(args, prog_name=PROGRAM)
    try:
        with root.make_context(PROGRAM, args) as ctx:
            code = root.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        _stop_writing()
        return 0  # whoever read our output has seen enough
    except (Exception, KeyboardInterrupt) as err:
        return report(err, args)
    return code if isinstance(code, int) else 0


def _stop_writing() -> None:
    """Point stdout elsewhere, so that the interpreter's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
