"""The options of ``trainer evaluate`` that have to do with words, and what they ask for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from trainer.lm.decoders import SentenceDecoder
    from trainer.lm.evaluate import Rescorer
    from trainer.lm.logits import Member
    from trainer.lm.rescore import LlmRescorer
    from trainer.progress import Console

__all__ = ["add_arguments", "evaluate", "wants_words"]

OPTIONS = (
    ("acoustic-scale", float, "weight of the acoustic scores (0.325)"),
    ("blank-penalty", float, "its logarithm is taken off the blank's score; 1 is none (90)"),
    ("beam", float, "how far behind the best a path may fall (17)"),
    ("lattice-beam", float, "how far behind the best a candidate may be (8)"),
    ("max-active", int, "states expanded in a frame, at most (7000)"),
    ("min-active", int, "and at least (200)"),
    ("nbest", int, "candidates kept of each sentence (100)"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them in a group of their own."""
    group = parser.add_argument_group(
        "words", "with one of --graph and --redis, sentences are decoded, not only phonemes"
    )
    add = group.add_argument
    add(
        "--graph",
        type=Path,
        metavar="DIR",
        help="graph folder: TLG.fst and words.txt, official or of trainer lm build",
    )
    add(
        "--ensemble", type=Path, action="append", default=[], metavar="RUN_DIR",
        help="another run whose probabilities are averaged with this one's; may be repeated",
    )  # fmt: skip
    add(
        "--decoder", choices=("graph", "lexicon"), default="graph",
        help="lexicon decodes without TLG.fst, from lexicon.txt and lm.arpa of the folder: less memory, not exact",
    )  # fmt: skip
    add(
        "--lexicon-beam-size",
        type=int,
        default=500,
        metavar="N",
        help="paths kept by --decoder lexicon (500)",
    )
    add(
        "--redis", metavar="HOST:PORT",
        help="decode by a language-model process of the official protocol behind this Redis; private starts a Redis "
        "of its own, for --lm-command",
    )  # fmt: skip
    add(
        "--lm-command", metavar="CMD",
        help="with --redis: start this language model and end it afterwards; {host} and {port} are filled in",
    )  # fmt: skip
    add(
        "--redis-patience", type=float, default=120.0, metavar="S",
        help="how long an answer is waited for, and a Redis that went away (120)",
    )  # fmt: skip
    add("--words-dir", type=Path, metavar="DIR", help="where to write (default: RUN_DIR/words_SPLIT)")
    add("--jobs", type=int, default=0, metavar="N", help="sentences decoded at once (default: one per core)")
    add("--fresh", action="store_true", help="decode again what an earlier evaluation had finished")
    add_decoder_options(group)
    add_llm_options(group)


def add_llm_options(parser: argparse._ActionsContainer) -> None:
    """Declare the options of rescoring."""
    add = parser.add_argument
    add(
        "--llm",
        metavar="NAME",
        help="rescore with this causal language model: a folder, or a name of the hub",
    )
    add("--alpha", type=float, metavar="X", help="weight of that model against the n-grams, 0 to 1 (0.55)")
    add(
        "--llm-batch-size",
        type=int,
        default=64,
        metavar="N",
        help="sentences at once, halved when memory runs out (64)",
    )
    add("--llm-length-penalty", type=float, default=0.0, metavar="X", help="taken off for every token (0)")
    add("--llm-context", default="", metavar="TEXT", help="text before every candidate, not scored itself")
    add(
        "--recombine-top", type=int, default=20, metavar="N",
        help="exchange words among so many of the best to make more candidates; 0 makes none (20)",
    )  # fmt: skip


def add_decoder_options(parser: argparse._ActionsContainer) -> None:
    """Declare the options of `DecoderOptions`."""
    for name, kind, text in OPTIONS:
        parser.add_argument(f"--{name}", type=kind, metavar="X", help=text)


def wants_words(args: argparse.Namespace) -> bool:
    """Whether more than phonemes is asked for."""
    return args.graph is not None or args.redis is not None or args.split == "test" or bool(args.ensemble)


def jobs(args: argparse.Namespace) -> int:
    """As asked, else the cores that this process may use."""
    if args.jobs < 0:
        raise ConfigError(f"--jobs must be at least 1, found {args.jobs}")
    if args.jobs:
        return int(args.jobs)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen_options(args: argparse.Namespace) -> dict[str, Any]:
    """The decoder's options that were given."""
    names = [name.replace("-", "_") for name, _, _ in OPTIONS]
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def rescoring(
    args: argparse.Namespace, acoustic_scale: float, alpha: float | None
) -> tuple[Callable[[], Rescorer | None], dict[str, Any]]:
    """How the rescorer is opened, and what decides its order; (None, nothing) without --llm."""
    if args.llm is None:
        if alpha is not None:
            raise ConfigError("--alpha weighs a large language model, and --llm names none")
        return (lambda: None), {}
    from trainer.lm.rescore import CausalScorer, LlmRescorer, RescoringOptions

    options = RescoringOptions(
        acoustic_scale=acoustic_scale, alpha=0.55 if alpha is None else alpha,
        length_penalty=args.llm_length_penalty, recombine_top=args.recombine_top, context=args.llm_context,
    )  # fmt: skip

    def opened() -> LlmRescorer:
        scorer = CausalScorer.load(args.llm, device=args.device or "auto", batch_size=args.llm_batch_size)
        return LlmRescorer(scorer, options)

    return opened, {"llm": args.llm, "rescoring": dataclasses.asdict(options)}


def evaluate(args: argparse.Namespace) -> int:
    """Decode, report and, for the test split, write the submission."""
    from trainer.config_checks import check_limit
    from trainer.lm.evaluate import WordsRequest, evaluate_words
    from trainer.progress import Console

    if args.output is not None:
        raise ConfigError(
            "--output is for phonemes alone", hint="--words-dir names the folder of everything about words"
        )
    check_limit(args.limit_batches)
    console = Console()
    choice = _decoder(args, console)
    open_rescorer, more = rescoring(args, choice.acoustic_scale, choice.alpha)
    request = WordsRequest(
        members=members(args), data_dir=args.data_dir, split=args.split, open_decoder=choice.open_decoder,
        identity={**choice.identity, **more}, known=choice.known, open_rescorer=open_rescorer, device=args.device,
        output_dir=args.words_dir, limit_batches=args.limit_batches, fresh=args.fresh,
    )  # fmt: skip
    return evaluate_words(request, console)


def members(args: argparse.Namespace) -> list[Member]:
    """The models whose probabilities are averaged."""
    from trainer.lm.logits import Member

    return [Member.of(args.run_dir, args.checkpoint), *(Member.of(other) for other in args.ensemble)]


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """One of the ways to decode."""

    open_decoder: Callable[[], SentenceDecoder]
    identity: dict[str, Any]
    """What decides its answers."""
    known: Callable[[str], bool] | None
    """Which words it can say, where that is known."""
    acoustic_scale: float
    alpha: float | None


def _decoder(args: argparse.Namespace, console: Console) -> _Choice:
    if (args.graph is None) == (args.redis is None):
        raise ConfigError(
            "sentences need a language model, and none was named"
            if args.graph is None
            else "--graph and --redis: one",
            hint="--graph DIR names a decoding graph (trainer lm build makes one), --redis a process that has one",
        )
    if args.graph is None:
        return _redis(args, console)
    return _lexicon(args, console) if args.decoder == "lexicon" else _graph(args, console)


def _redis(args: argparse.Namespace, console: Console) -> _Choice:
    from trainer.lm.options import DecoderOptions
    from trainer.lm.redis_process import open_decoder, served_arguments

    given = chosen_options(args)
    # Another model may serve at the same address the next time: what it says of itself tells them apart.
    served: dict[str, str] = {"command": args.lm_command}
    if args.lm_command is None:
        served = served_arguments(args.redis, patience_s=args.redis_patience, say=console.warn)
    served |= {name: str(value) for name, value in given.items()}

    def opened() -> SentenceDecoder:
        patience_s = args.redis_patience
        return open_decoder(
            args.redis, args.lm_command, patience_s=patience_s, say=console.warn, options=given
        )

    return _Choice(
        open_decoder=opened, identity={"served": served}, known=None,
        acoustic_scale=DecoderOptions().changed(given).acoustic_scale, alpha=args.alpha,
    )  # fmt: skip


def _graph(args: argparse.Namespace, console: Console) -> _Choice:
    from trainer.lm.decoders import GraphDecoder
    from trainer.lm.graph_folder import DecodingGraph
    from trainer.lm.options import DecoderOptions
    from trainer.lm.tune import kept_options

    threads, given = jobs(args), chosen_options(args)
    DecoderOptions().changed(given)  # raises before anything is loaded
    graph = DecodingGraph.load(args.graph, threads=threads)
    console.say(
        f"graph: {args.graph}, {len(graph.arcs.final):,} states, {len(graph.arcs.ilabel):,} arcs, "
        f"{len(graph.words):,} words; {threads} threads"
    )
    tuned: dict[str, float] = kept_options(args.run_dir, graph.digest, args.llm, console.say)
    alpha = tuned.pop("alpha", None)
    options = DecoderOptions().changed({**tuned, **given})
    return _Choice(
        open_decoder=lambda: GraphDecoder(graph, options, jobs=threads),
        identity={"graph": graph.digest, "options": dataclasses.asdict(options)}, known=graph.words.__contains__,
        acoustic_scale=options.acoustic_scale, alpha=alpha if args.alpha is None else args.alpha,
    )  # fmt: skip


def _lexicon(args: argparse.Namespace, console: Console) -> _Choice:
    from trainer.durable import file_digest
    from trainer.lm.graph_folder import ARPA, DICTIONARY
    from trainer.lm.lexicon_decoder import LexiconDecoder
    from trainer.lm.options import DecoderOptions

    if args.lexicon_beam_size < 1:
        raise ConfigError(f"--lexicon-beam-size must be at least 1, found {args.lexicon_beam_size}")
    options = DecoderOptions().changed(chosen_options(args))
    decoder = LexiconDecoder(args.graph, options, beam_size=args.lexicon_beam_size, jobs=jobs(args))
    console.say(f"lexicon and {ARPA} of {args.graph}; {decoder.max_jobs} threads")
    if decoder.num_dropped:
        console.warn(
            f"{decoder.num_dropped} pronunciations are those of too many words: the rarest of those are left out"
        )
    digests = [file_digest(args.graph / name) for name in (ARPA, DICTIONARY)]
    identity = {
        "lexicon": digests,
        "beam_size": args.lexicon_beam_size,
        "options": dataclasses.asdict(options),
    }
    return _Choice(
        open_decoder=lambda: decoder, identity=identity, known=decoder.__contains__,
        acoustic_scale=options.acoustic_scale, alpha=args.alpha,
    )  # fmt: skip
