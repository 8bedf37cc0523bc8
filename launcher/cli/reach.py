"""`launch exec` and `launch ssh`: onto the machine of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click

from launcher.cli.arguments import example, find_run, run_argument
from launcher.cli.failures import EXIT_TRANSPORT
from launcher.cli.screen import Screen, with_screen
from launcher.errors import MachineUnreachable, UsageError

__all__ = ["NotReached", "execute", "ssh"]

STDIN_BYTES = 1 << 16


class NotReached(MachineUnreachable):
    """`launch exec` did not get an exit code of the command: 255, as with OpenSSH."""

    exit_code = EXIT_TRANSPORT


@click.command(
    "exec",
    short_help="Run a command on the run's machine.",
    epilog=example("launch exec demo -- df -h .", "launch exec demo -- sh -c 'ls -l checkpoints'"),
)
@run_argument
@click.argument("argv", metavar="-- CMD [ARG]…", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Give up after so long.",
)
@with_screen
def execute(screen: Screen, run_text: str, argv: tuple[str, ...], timeout_s: float | None) -> int:
    """Run a command on the run's machine; the exit code is the command's, or 255 when the machine was not reached.

    It reads what this command is given on standard input, unless that is a terminal.
    """
    if not argv:
        raise UsageError("no command", hint=f"launch exec {run_text} -- CMD")
    run = find_run(run_text)
    try:
        result = run.execute(argv, stdin=_standard_input(), timeout_s=timeout_s)
    except MachineUnreachable as err:
        raise NotReached(err.message, left_behind=err.left_behind, hint=err.hint) from err
    except TimeoutError as err:
        limit = f"within {timeout_s:g} s" if timeout_s else "in time"
        hint = "--timeout SECONDS allows more"
        raise NotReached(f"{argv[0]} did not end {limit}; it was killed", hint=hint) from err
    if screen.json:
        screen.document(
            {
                "run_id": run.id,
                "argv": list(argv),
                "exit_code": result.exit_code,
                "stdout": result.stdout.decode(errors="replace"),
                "stderr": result.stderr.decode(errors="replace"),
            }
        )
        return result.exit_code
    sys.stdout.buffer.write(result.stdout)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(result.stderr)
    sys.stderr.buffer.flush()
    return result.exit_code


def _standard_input() -> Iterator[bytes]:
    """What a script or a pipe says, as it comes. Not through ``sys.stdin``, whose lock a waiting thread would keep."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or none
        return
    if os.isatty(descriptor):
        return
    while piece := os.read(descriptor, STDIN_BYTES):
        yield piece


@click.command("ssh", short_help="Attach to the run's tmux session.", epilog=example("launch ssh demo"))
@run_argument
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
def ssh(run_text: str, debug: bool) -> int:
    """Attach this terminal to the run's tmux session. Ctrl-b d leaves; the run goes on."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("ssh needs a terminal", hint=f"launch exec {run_text} -- CMD needs none")
    argv = find_run(run_text).attach_argv()
    sys.stdout.flush()
    outside_tmux = {name: value for name, value in os.environ.items() if name != "TMUX"}
    os.execvpe(argv[0], argv, outside_tmux)  # tmux refuses to show one session inside of another
