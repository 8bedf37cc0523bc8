"""``trainer submission check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.contract import Exit, JobEnvironment
from trainer.errors import ConfigError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``check FILE``."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="form, ids, number of sentences, and that nothing is synthetic")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="session folders (default: LAUNCH_DATA_DIR)"
    )
    check.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="a run whose sessions count (default: every session folder)",
    )
    check.add_argument("--debug", action="store_true", help="show tracebacks")
    check.set_defaults(handler=_check)


def _check(args: argparse.Namespace) -> int:
    """Raises `BadSubmission` or `DataError`."""
    from trainer.submission import check_submission

    data_dir = args.data_dir or JobEnvironment.read().data_dir
    if data_dir is None:
        raise ConfigError("no data folder: say --data-dir")
    sessions: tuple[str, ...] = ()
    if args.run_dir is not None:
        from trainer.config_reader import load_config

        sessions = load_config(args.run_dir / "checkpoint" / "args.yaml").dataset.sessions
    count, remarks = check_submission(args.file, data_dir, sessions)
    for remark in remarks:
        sys.stderr.write(f"warning: {remark}\n")
    sys.stdout.write(f"{args.file}: {count} sentences, in good form\n")
    return Exit.DONE
