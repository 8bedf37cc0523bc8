"""``trainer synthesize``."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.contract import Exit
from trainer.synthetic.dataset import expected_bytes, write_dataset
from trainer.synthetic.layout import DATA_FOLDER
from trainer.synthetic.spec import SIZES, SyntheticSpec

if TYPE_CHECKING:
    import argparse
    from types import FrameType

    from trainer.synthetic.dataset import Report

__all__ = ["add_arguments", "run"]

_NUMBERS = (
    ("sessions", int, "recording days, each with its own drift"),
    ("train", int, "training trials per session"),
    ("val", int, "validation trials per session"),
    ("test", int, "test trials per session, written without labels"),
    ("seed", int, "equal seeds give byte-identical arrays"),
    ("noise", float, "scales everything random in the signal; 1 is the usual difficulty, 0 none"),
    ("drift", float, "how far tuning turns between sessions, 0 to 1"),
    ("bins-per-phoneme", float, "mean length of a phoneme in bins of 20 ms"),
    ("min-words", int, "shortest sentence"),
    ("max-words", int, "longest sentence"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``trainer synthesize``; numbers that are left out come from ``--size``."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write; created if missing"
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="demo", help="a named size (default: demo)")
    for name, kind, text in _NUMBERS:
        usual = ", ".join(f"{size} {getattr(spec, name.replace('-', '_'))}" for size, spec in SIZES.items())
        parser.add_argument(f"--{name}", type=kind, default=None, metavar="N", help=f"{text} ({usual})")
    parser.add_argument("--cmudict", type=Path, metavar="FILE", help="pronunciations in CMUdict's form")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="threads that generate trials"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace another synthetic data set, or write beside other files"
    )


def spec_from(args: argparse.Namespace) -> SyntheticSpec:
    """The specification that the options describe; raises `BadSpec`."""
    names = [name.replace("-", "_") for name, _, _ in _NUMBERS]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return SIZES[args.size].changed(**given, cmudict=args.cmudict)


def run(args: argparse.Namespace) -> int:
    """Synthesize and return 0. Raises `SyntheticError`, whose exit code is 2 for wrong options, 1 for the disk."""
    signal.signal(signal.SIGTERM, _leave)
    spec = spec_from(args)
    sys.stderr.write(f"synthesizing about {expected_bytes(spec) / 1e6:.0f} MB into {args.out}\n")
    report = write_dataset(
        args.out, spec, force=args.force, workers=args.workers, on_progress=_ProgressLine()
    )
    sys.stdout.write(_summary(report, spec))
    return Exit.DONE


def _leave(number: int, _frame: FrameType | None) -> None:
    """Leave through the ordinary way out, which removes what is half written."""
    raise SystemExit(128 + number)


def _summary(report: Report, spec: SyntheticSpec) -> str:
    what = (
        f"{report.trials} trials in {report.files} files of {spec.sessions} sessions, {report.hours * 60:.0f} minutes "
        f"of signal, {report.words} different words, {report.bytes / 1e6:.0f} MB: {report.root / DATA_FOLDER}\n"
    )
    return ("wrote " if report.written else "already there: ") + what


class _ProgressLine:
    """One line that is written over on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown = self._started
        self._live = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        finished = done == total
        if now - self._shown < (0.2 if self._live else 5.0) and not (finished and self._live):
            return
        self._shown = now
        left = (now - self._started) / done * (total - done)
        line = f"{done}/{total} trials, {left:.0f} s left"
        sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if finished else "") if self._live else f"{line}\n")
        sys.stderr.flush()
