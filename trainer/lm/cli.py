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
    _add_serve(actions.add_parser("serve", help="answer the official evaluation script over Redis"))
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


def _add_serve(parser: argparse.ArgumentParser) -> None:
    from trainer.lm.evaluate_cli import add_decoder_options

    add = parser.add_argument
    add("--graph", type=Path, required=True, metavar="DIR", help="graph folder")
    add(
        "--redis", default="localhost:6379", metavar="HOST:PORT",
        help="where clients send (default: localhost:6379, the official script's); private starts a Redis of its own",
    )  # fmt: skip
    add(
        "--redis-patience",
        type=float,
        default=120.0,
        metavar="S",
        help="how long a lost Redis is waited for (120)",
    )
    add_decoder_options(parser)
    parser.set_defaults(handler=_serve)


def _serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    import contextlib

    from trainer.interrupt import Interrupt
    from trainer.lm.evaluate_cli import chosen_options
    from trainer.lm.graph_folder import DecodingGraph
    from trainer.lm.options import DecoderOptions
    from trainer.lm.redis_link import RedisLink, parse_address
    from trainer.lm.redis_server import PrivateRedis
    from trainer.lm.serve import LanguageModelService
    from trainer.progress import Console

    console = Console()
    options = DecoderOptions().changed(chosen_options(args))
    graph = DecodingGraph.load(args.graph)
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        if args.redis == "private":
            address = stack.enter_context(PrivateRedis()).address
        else:
            address = parse_address(args.redis)
        link = stack.enter_context(
            contextlib.closing(RedisLink(address, patience_s=args.redis_patience, say=console.warn))
        )
        service = LanguageModelService(link, graph, options, say=console.say)
        console.say(f"serving {args.graph} over {link}; Ctrl-C ends it")
        service.run(lambda: not interrupt.requested)
    return Exit.DONE
