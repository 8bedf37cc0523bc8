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
    _add_tune(actions.add_parser("tune", help="find the weights with the fewest word errors on validation"))
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


def _add_tune(parser: argparse.ArgumentParser) -> None:
    from trainer.lm.evaluate_cli import add_decoder_options, add_llm_options

    add = parser.add_argument
    add(
        "--run-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="run folder of the model; the result is kept there",
    )
    add("--checkpoint", type=Path, metavar="FILE", help="another checkpoint than the best")
    add("--data-dir", type=Path, metavar="DIR", help="session folders (default: LAUNCH_DATA_DIR)")
    add("--graph", type=Path, required=True, metavar="DIR", help="graph folder")
    add(
        "--ensemble", type=Path, action="append", default=[], metavar="RUN_DIR",
        help="another run whose probabilities are averaged with this one's",
    )  # fmt: skip
    add("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    add("--sentences", type=int, default=200, metavar="N", help="validation sentences that are tried (200)")
    add("--acoustic-scales", type=float, nargs="+", metavar="X", help="tried (0.2 0.325 0.5 0.8)")
    add("--blank-penalties", type=float, nargs="+", metavar="X", help="tried (9 90 300)")
    add("--alphas", type=float, nargs="+", metavar="X", help="tried with --llm (0 0.25 0.4 0.55 0.7 0.85)")
    add("--jobs", type=int, default=0, metavar="N", help="sentences decoded at once (default: one per core)")
    add_decoder_options(parser)
    add_llm_options(parser)
    parser.set_defaults(handler=_tune)


def _tune(args: argparse.Namespace) -> int:
    from trainer.evaluate import run_config
    from trainer.lm import tune
    from trainer.lm.errors import BadOption
    from trainer.lm.evaluate_cli import chosen_options, jobs, members
    from trainer.lm.graph_folder import DecodingGraph
    from trainer.lm.logits import collect
    from trainer.lm.options import DecoderOptions
    from trainer.lm.rescore import CausalScorer, RescoringOptions
    from trainer.progress import Console
    from trainer.run_folder import locate_data

    console = Console()
    if args.alphas and args.llm is None:
        raise BadOption("--alphas weigh a large language model, and --llm names none")
    alphas = (0.0,) if args.llm is None else tuple(args.alphas or (0.0, 0.25, 0.4, 0.55, 0.7, 0.85))
    usual = tune.TuningGrid()
    grid = tune.TuningGrid(
        acoustic_scales=tuple(args.acoustic_scales or usual.acoustic_scales),
        blank_penalties=tuple(args.blank_penalties or usual.blank_penalties), alphas=alphas,
    )  # fmt: skip
    options, threads = DecoderOptions().changed(chosen_options(args)), jobs(args)
    rescoring = RescoringOptions(
        length_penalty=args.llm_length_penalty, recombine_top=args.recombine_top if args.llm else 0,
        context=args.llm_context,
    )  # fmt: skip
    graph = DecodingGraph.load(args.graph, threads=threads)
    config = run_config(args.run_dir, args.device)
    data_dir = locate_data(config, args.data_dir, JobEnvironment.read())
    cache = args.run_dir / "words_val" / "logits.npz"
    everything = collect(members(args), data_dir, "val", device=args.device, cache=cache, console=console)
    utterances = tune.sample(everything, args.sentences)
    scorer = None
    if args.llm is not None:
        scorer = CausalScorer.load(args.llm, device=args.device or "auto", batch_size=args.llm_batch_size)
    return tune.tune(
        utterances, graph, options, grid, jobs=threads, scorer=scorer, rescoring=rescoring,
        record=tune.tuning_record(args.run_dir), identity=tune.identity_of(cache, graph, args.llm, utterances, options),
        console=console,
    )  # fmt: skip
