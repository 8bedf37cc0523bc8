"""``trainer lm build|info|tune|serve``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.contract import Exit, JobEnvironment

if TYPE_CHECKING:
    import argparse

__all__ = ["add_arguments"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of ``trainer lm``."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_build(
        actions.add_parser("build", help="a decoding graph from a text and a pronunciation dictionary")
    )
    _add_info(actions.add_parser("info", help="what a graph holds, and whether it fits the memory"))
    for action in actions.choices.values():
        action.add_argument("--debug", action="store_true", help="show tracebacks")


def _add_build(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="the graph folder to make")
    add(
        "--data-dir", type=Path, metavar="DIR",
        help="learn sentences and pronunciations from the training split (default without --corpus: LAUNCH_DATA_DIR)",
    )  # fmt: skip
    add(
        "--corpus",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a text, one sentence a line; may be repeated",
    )
    add("--lexicon", type=Path, metavar="FILE", help="a dictionary in CMUdict's form")
    add("--arpa", type=Path, metavar="FILE", help="an n-gram model made elsewhere, instead of counting")
    add("--vocab", type=Path, metavar="FILE", help="these words and no others, one a line")
    add("--order", type=int, default=3, metavar="N", help="longest n-grams (default: 3)")
    add(
        "--prune",
        type=int,
        nargs="+",
        default=[],
        metavar="COUNT",
        help="leave out n-grams that occur at most so often, by order: 0 0 1 drops 3-grams seen once",
    )
    add("--min-count", type=int, default=1, metavar="N", help="leave out rarer words (default: 1)")
    add(
        "--pronunciations",
        type=int,
        default=1,
        metavar="N",
        help="of each word, the usual first (default: 1)",
    )
    add("--silence-probability", type=float, default=0.9, metavar="P", help="of a silence after a word (0.9)")
    add("--force", action="store_true", help="replace what is in the folder")
    parser.set_defaults(handler=_build)


def _build(args: argparse.Namespace) -> int:
    from trainer.lm.build import BuildRequest, build
    from trainer.progress import Console

    data_dir = args.data_dir
    if data_dir is None and not args.corpus and not args.arpa:
        data_dir = JobEnvironment.read().data_dir
    request = BuildRequest(
        data_dir=data_dir, corpora=tuple(args.corpus), lexicon=args.lexicon, arpa=args.arpa, vocabulary=args.vocab,
        order=args.order, prune=tuple(args.prune), min_count=args.min_count, pronunciations=args.pronunciations,
        silence_probability=args.silence_probability,
    )  # fmt: skip
    console = Console()
    if build(request, args.out, force=args.force, say=console.say):
        console.say(f"graph: {args.out}")
    return Exit.DONE


def _add_info(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.set_defaults(handler=_info)


def _info(args: argparse.Namespace) -> int:
    from trainer.lm.graph_folder import describe

    for name, value in describe(args.folder, args.threads):
        sys.stdout.write(f"{name:<16} {value}\n")
    return Exit.DONE
