"""A folder with a decoding graph: ``TLG.fst`` and ``words.txt``, as released officially, and what ours add.

`trainer lm build` also writes ``tokens.txt`` (the order of phonemes), ``lexicon.txt`` and ``lm.arpa`` (for decoding
without a graph), and ``graph.json`` (what it was made of). A folder without ``tokens.txt`` is asked how it spells a few
common words: a graph for another order of phonemes would decode fluent nonsense.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.lm.errors import BadGraph
from trainer.lm.fst_file import Arcs, load_arcs, measure, read_header
from trainer.lm.memory import available_bytes, gib
from trainer.lm.symbols import BLANK_LABEL, EPSILON, SILENCE_LABEL, TOKENS, Words, read_symbols
from trainer.synthetic.lexicon import builtin_lexicon

__all__ = ["ARPA", "DICTIONARY", "GRAPH", "RECORD", "DecodingGraph", "describe", "read_record", "spelling"]

GRAPH, WORDS, TOKEN_TABLE = "TLG.fst", "words.txt", "tokens.txt"
DICTIONARY, ARPA, RECORD = "lexicon.txt", "lm.arpa", "graph.json"

BLOCK_BYTES, WHOLE_BYTES, SAMPLES = 1 << 20, 256 << 20, 128
"""How much of a graph file its digest reads: all of it up to 256 MiB, else 128 blocks of 1 MiB and the last one."""

PROBES = ("people", "something", "because", "tomorrow", "water", "morning", "hospital", "remember")
"""Common words of several phonemes, said one way only."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodingGraph:
    """A graph in memory, to be shared by any number of searches."""

    folder: Path
    arcs: Arcs
    words: Words
    digest: str
    """Tells graphs apart, see `graph_digest`."""
    record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1, most_bytes: int | None = None) -> DecodingGraph:
        """Load the graph of a folder.

        Raises `BadGraph` (missing or damaged files, another order of phonemes) or, before anything is loaded,
        `GraphTooLarge`.
        """
        if not folder.is_dir():
            raise BadGraph(
                f"there is no graph folder {folder}", hint="trainer lm build --out FOLDER makes one"
            )
        words = Words(read_symbols(folder / WORDS))
        _check_tokens(folder)
        arcs = load_arcs(folder / GRAPH, threads=threads, most_bytes=most_bytes)
        graph = cls(folder, arcs, words, graph_digest(folder / GRAPH), read_record(folder))
        graph.check_phonemes()
        return graph

    def check_phonemes(self) -> None:
        """Compare how the graph spells common words with how they are said. Raises `BadGraph`.

        Without any of the probed words, or with a token table that was checked, there is nothing to compare.
        """
        highest = int(self.arcs.ilabel.max(initial=0))
        if highest >= len(TOKENS):
            raise BadGraph(
                f"{self.folder / GRAPH}: takes input label {highest}, and the decoder has {len(TOKENS) - 1}: "
                "it was made for another set of phonemes"
            )
        if (self.folder / TOKEN_TABLE).is_file():
            return
        wrong, right = [], 0
        for word in PROBES:
            label = self.words.label(word)
            found = None if label is None else spelling(self.arcs, label)
            if found is None:
                continue
            if found in builtin_lexicon().of(word):
                right += 1
            else:
                wrong.append((word, found))
        if len(wrong) > right:
            word, found = wrong[0]
            raise BadGraph(
                f"{self.folder / GRAPH}: spells {word!r} as {' '.join(found)}: it was made for another order of phonemes",
                hint="the order must be blank, silence, then the 39 phonemes alphabetically",
            )


def graph_digest(path: Path) -> str:
    """SHA-256 of a graph file, or of samples of it when it is large: some graphs take minutes to read."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    step = BLOCK_BYTES if size <= WHOLE_BYTES else max(BLOCK_BYTES, size // SAMPLES)
    with path.open("rb") as file:
        for at in (*range(0, size, step), max(0, size - BLOCK_BYTES)):
            file.seek(at)
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()


def _check_tokens(folder: Path) -> None:
    path = folder / TOKEN_TABLE
    if not path.is_file():
        return
    table = read_symbols(path)
    for label, name in enumerate(TOKENS):
        if table.get(label) != name:
            raise BadGraph(
                f"{path}: label {label} is {table.get(label)}, expected {name}: a graph for another order of phonemes",
                hint="the order must be blank, silence, then the 39 phonemes alphabetically",
            )


def spelling(arcs: Arcs, word: int, most_steps: int = 300_000) -> tuple[str, ...] | None:
    """The phonemes that the cheapest way through the graph says for one word alone; None when none was found."""
    queue: list[tuple[float, int, bool, tuple[int, ...]]] = [(0.0, arcs.start, False, ())]
    done: set[tuple[int, bool]] = set()
    ends: list[tuple[float, tuple[int, ...]]] = []
    while queue and len(done) < most_steps:
        cost, state, said, labels = heapq.heappop(queue)
        if (state, said) in done:
            continue
        done.add((state, said))
        if ends and cost >= ends[0][0]:
            break
        if said and arcs.final[state] < float("inf"):
            heapq.heappush(ends, (cost + float(arcs.final[state]), labels))
        for a in range(int(arcs.first_arc[state]), int(arcs.first_arc[state + 1])):
            olabel, ilabel = int(arcs.olabel[a]), int(arcs.ilabel[a])
            if olabel and (said or olabel != word):
                continue
            longer = labels if ilabel == EPSILON else (*labels, ilabel)
            step = (cost + float(arcs.weight[a]), int(arcs.next_state[a]), said or bool(olabel), longer)
            heapq.heappush(queue, step)
    return _collapsed(ends[0][1]) if ends else None


def _collapsed(labels: tuple[int, ...]) -> tuple[str, ...]:
    kept = [label for i, label in enumerate(labels) if i == 0 or label != labels[i - 1]]
    return tuple(TOKENS[label] for label in kept if label not in (BLANK_LABEL, SILENCE_LABEL))


def read_record(folder: Path) -> dict[str, Any]:
    """What ``graph.json`` says; empty for a graph that was made elsewhere."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadGraph(f"{folder / RECORD} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def describe(folder: Path, threads: int) -> list[tuple[str, str]]:
    """What `trainer lm info` shows, without loading the graph, whose states are counted. Raises `BadGraph`."""
    header = read_header(folder / GRAPH)
    words = Words(read_symbols(folder / WORDS))
    _, num_states, num_arcs = measure(header)
    _check_tokens(folder)
    record = read_record(folder)
    needed, free = header.memory_bytes(threads), available_bytes()
    rows = [
        ("graph", f"{folder / GRAPH}, {gib(header.file_bytes)}"),
        ("states", f"{num_states:,}"),
        ("arcs", f"{num_arcs:,}"),
        ("words", f"{len(words):,}"),
        ("phonemes", "as in tokens.txt, checked" if (folder / TOKEN_TABLE).is_file() else "checked when loaded"),
        ("memory", f"about {gib(needed)} in {threads} threads; {gib(free)} are free"
         + ("" if needed <= free else ": does not fit")),
    ]  # fmt: skip
    model = record.get("model")
    if isinstance(model, dict):
        counts = ", ".join(f"{count:,}" for count in model.get("ngrams", []))
        rows.append(("model", f"order {model.get('order')}, n-grams of each order: {counts}"))
    for name in ("sentences", "corpus_words", "perplexity", "unpronounceable"):
        if name in record:
            rows.append((name.replace("_", " "), str(record[name])))
    if record.get("synthetic"):
        rows.append(("made of", "synthetic data"))
    return rows
