"""Frames per second and core of the n-best search, beside kaldi-decoder's best path and flashlight-text.

    python -m benchmarks.decode --words 125000 --utterances 30 --out benchmarks/decode/DATE.json

Everything is made here: a lexicon of random words as long as English ones, a 1-gram over them, and logits of somebody who
says some of them with noise. All decoders get the same logits, in turn, on one core.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldi_decoder
import kaldifst
import numpy as np

from trainer.lm.arpa import write_arpa
from trainer.lm.decoders import GraphDecoder
from trainer.lm.graph import build_graph, word_symbols
from trainer.lm.graph_folder import DecodingGraph
from trainer.lm.lexicon import write_dictionary
from trainer.lm.lexicon_decoder import LexiconDecoder
from trainer.lm.ngram import estimate
from trainer.lm.options import DecoderOptions
from trainer.lm.scores import graph_log_probs
from trainer.lm.search import Search
from trainer.lm.symbols import PHONE_LABELS, TOKENS, write_symbols
from trainer.phonemes import CLASS_NAMES

PHONES = list(PHONE_LABELS)


def make_folder(
    folder: Path, num_words: int, order: int, seed: int
) -> tuple[dict[str, list[tuple[str, ...]]], list[list[str]]]:
    """A graph folder over invented words, and the sentences that its model was counted on."""
    rng = random.Random(seed)
    dictionary = {
        f"w{k}": [tuple(rng.choice(PHONES) for _ in range(rng.randint(2, 9)))] for k in range(num_words)
    }
    words = sorted(dictionary)
    text = [
        [words[min(num_words - 1, int(rng.expovariate(10 / num_words)))] for _ in range(rng.randint(4, 9))]
        for _ in range(20_000)
    ]
    model = estimate(text, order=order, vocabulary=words)
    with (folder / "lm.arpa").open("w") as out:
        write_arpa(model, out)
    write_dictionary(folder / "lexicon.txt", dictionary)
    write_symbols(folder / "words.txt", word_symbols(words))
    write_symbols(folder / "tokens.txt", TOKENS)
    build_graph(model, dictionary, words, folder / "TLG.fst", say=print)
    return dictionary, text


def speak(
    sentence: list[str], dictionary: dict[str, list[tuple[str, ...]]], rng: np.random.Generator
) -> np.ndarray:
    classes: list[int] = []
    for word in sentence:
        for phone in dictionary[word][0]:
            classes += [CLASS_NAMES.index(phone)] * int(rng.integers(1, 3)) + [0] * int(rng.integers(1, 4))
        classes += [len(CLASS_NAMES) - 1] * int(rng.integers(0, 3)) + [0]
    logits = rng.normal(0, 1.6, (len(classes), len(CLASS_NAMES))).astype(np.float32)
    logits[np.arange(len(classes)), classes] += 4.5
    return logits


def kaldi_best(fst: Any, options: DecoderOptions, logits: np.ndarray) -> str:
    scores = graph_log_probs(logits, options.blank_penalty)
    limits = kaldi_decoder.FasterDecoderOptions(
        beam=options.beam, max_active=options.max_active, min_active=options.min_active
    )
    decoder = kaldi_decoder.FasterDecoder(fst, limits)
    decoder.init_decoding()
    scaled = (scores * options.acoustic_scale).astype(np.float32)
    decoder.advance_decoding(kaldi_decoder.DecodableCtc(scaled, offset=0))
    _, lattice = decoder.get_best_path(use_final_probs=True)
    return " ".join(map(str, kaldifst.get_linear_symbol_sequence(lattice)[2]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--words", type=int, default=125_000)
    parser.add_argument("--order", type=int, default=1)
    parser.add_argument("--utterances", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        dictionary, text = make_folder(folder, args.words, args.order, args.seed)
        graph = DecodingGraph.load(folder)
        fst = kaldifst.StdVectorFst.read(str(folder / "TLG.fst"))
        rng = np.random.default_rng(args.seed)
        spoken = [speak(text[k], dictionary, rng) for k in range(args.utterances)]
        official, small = DecoderOptions(), DecoderOptions(max_active=1500, beam=14)
        search = Search(graph.arcs, official)

        def one_best(logits: np.ndarray) -> str:
            search.reset()
            search.advance(graph_log_probs(logits, official.blank_penalty))
            return graph.words.sentence(search.partial())

        decoders: dict[str, Callable[[np.ndarray], Any]] = {
            "ours, 100 best, 7000 / 17": GraphDecoder(graph, official).decode,
            "ours, best path alone, 7000 / 17": one_best,
            "ours, 100 best, 1500 / 14": GraphDecoder(graph, small).decode,
            "kaldi-decoder, best path, 7000 / 17": lambda logits: kaldi_best(fst, official, logits),
        }
        if args.order > 1:  # KenLM takes no 1-grams
            decoders["flashlight-text, 500"] = LexiconDecoder(folder, official).decode
        seconds: dict[str, list[float]] = {name: [] for name in decoders}
        for decode in decoders.values():
            decode(spoken[0])  # compiles, and touches the memory
        for logits in spoken:
            for name, decode in decoders.items():
                started = time.process_time()
                decode(logits)
                seconds[name].append(time.process_time() - started)
    frames = sum(map(len, spoken))
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "graph": {"words": args.words, "order": args.order, "states": len(graph.arcs.final), "arcs": len(graph.arcs.ilabel)},
        "utterances": len(spoken), "frames": frames,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "frames_per_s": {name: round(frames / sum(values), 1) for name, values in seconds.items()},
        "median_ms": {name: round(1000 * statistics.median(values)) for name, values in seconds.items()},
        "seconds": {name: [round(v, 4) for v in values] for name, values in seconds.items()},
    }  # fmt: skip
    for name, rate in result["frames_per_s"].items():  # type: ignore[attr-defined]
        print(f"{name:<38} {rate:>8.1f} frames/s   {result['median_ms'][name]:>6} ms an utterance")  # type: ignore[index]
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
