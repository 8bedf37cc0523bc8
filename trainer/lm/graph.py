"""The decoding graph TLG = T ∘ min(det(L ∘ G)): from frames to words with a language model inside.

T turns frames into phonemes (CTC: repeats merge, blanks vanish, the same phoneme twice needs a blank between), L
phonemes into words with an optional silence before the first and after each word, G weighs word sequences. Mohri,
Pereira, Riley, "Speech recognition with weighted finite-state transducers" (2008), describes the recipe. Symbols
``#1``, ``#2`` ... keep homophones apart until L ∘ G is deterministic, ``#0`` marks back-off; neither survives in TLG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.lm.arpa import BEGIN, END, UNKNOWN, Ngram, NgramModel
from trainer.lm.errors import BadText, missing_package
from trainer.lm.symbols import BLANK_LABEL, EPSILON, PHONE_LABELS, SILENCE_LABEL, TOKENS

__all__ = ["build_graph", "word_symbols"]

Pronunciations = Mapping[str, Sequence[tuple[str, ...]]]
"""Phonemes of each word, the usual pronunciation first."""


def word_symbols(words: Sequence[str]) -> list[str]:
    """Output symbols in label order: ``<eps>``, the words in capitals, ``#0``, ``<s>``, ``</s>``."""
    return ["<eps>", *(word.upper() for word in words), "#0", BEGIN, END]


def build_graph(
    model: NgramModel, pronunciations: Pronunciations, words: Sequence[str], out: Path, *,
    silence_probability: float = 0.9, say: Callable[[str], None],
) -> tuple[int, int]:  # fmt: skip
    """Build TLG over `words` and write it to `out`; returns its numbers of states and arcs.

    `words` fixes the output labels, see `word_symbols`. Raises `BadText` when nothing can be said at all, and
    `MissingPackage` without kaldifst. 125 000 words take about 10 s with a 1-gram and a minute with a 2-gram.
    """
    try:
        import kaldifst
    except ImportError as error:
        raise missing_package(error, "building a graph") from error
    labels = {word: i for i, word in enumerate(words, start=1)}
    grammar = _grammar(kaldifst, model, labels)
    say(f"G: {_size(grammar)}")
    lexicon, num_disambiguation = _lexicon(kaldifst, pronunciations, labels, silence_probability)
    say(f"L: {_size(lexicon)}")
    kaldifst.arcsort(lexicon, sort_type="olabel")
    kaldifst.arcsort(grammar, sort_type="ilabel")
    both = kaldifst.StdVectorFst(kaldifst.compose(lexicon, grammar))
    if kaldifst.determinize_star(both, use_log=True):
        raise BadText("the lexicon cannot be made deterministic")
    kaldifst.minimize_encoded(both)
    say(f"LG: {_size(both)}")
    kaldifst.arcsort(both, sort_type="ilabel")
    tokens = _token_graph(kaldifst, num_disambiguation)
    kaldifst.arcsort(tokens, sort_type="olabel")
    graph = kaldifst.StdVectorFst(kaldifst.compose(tokens, both))
    if graph.num_states == 0:
        raise BadText("no word of the language model has a pronunciation: the graph is empty")
    kaldifst.arcsort(graph, sort_type="ilabel")
    if not graph.write(str(out)):
        raise OSError(f"{out} cannot be written")
    return graph.num_states, _num_arcs(graph)


def _size(fst: Any) -> str:
    return f"{fst.num_states:,} states, {_num_arcs(fst):,} arcs"


def _num_arcs(fst: Any) -> int:
    return sum(fst.num_arcs(state) for state in range(fst.num_states))


class _Builder:
    """Thin words for kaldifst's calls."""

    def __init__(self, kaldifst: Any) -> None:
        self._library = kaldifst
        self.fst = kaldifst.StdVectorFst()

    def state(self) -> int:
        return int(self.fst.add_state())

    def arc(self, source: int, ilabel: int, olabel: int, cost: float, target: int) -> None:
        weight = self._library.TropicalWeight(cost)
        self.fst.add_arc(source, self._library.StdArc(ilabel, olabel, weight, target))

    def final(self, state: int, cost: float = 0.0) -> None:
        self.fst.set_final(state, self._library.TropicalWeight(cost))


def _grammar(kaldifst: Any, model: NgramModel, labels: Mapping[str, int]) -> Any:
    """G: a state for every context, back-off arcs on ``#0``; words without a label are left out."""
    build = _Builder(kaldifst)
    states: dict[Ngram, int] = {(): build.state()}
    for table in model.probabilities[:-1]:
        for ngram in table:
            if all(word in labels or (i == 0 and word == BEGIN) for i, word in enumerate(ngram)):
                states[ngram] = build.state()
    back_off_word = len(labels) + 1

    def longest(context: Ngram) -> int:
        while context not in states:
            context = context[1:]
        return states[context]

    for context, state in states.items():
        if context:
            build.arc(state, back_off_word, EPSILON, -model.backoffs.get(context, 0.0), longest(context[1:]))
    for table in model.probabilities:
        for ngram, value in table.items():
            source, word = states.get(ngram[:-1]), ngram[-1]
            if source is None or value == -math.inf or word in (BEGIN, UNKNOWN):
                continue
            if word == END:
                build.final(source, -value)
            elif word in labels:
                build.arc(source, labels[word], labels[word], -value, longest(ngram))
    build.fst.start = longest((BEGIN,))
    kaldifst.connect(build.fst)
    return build.fst


def _disambiguated(pronunciations: Pronunciations, labels: Mapping[str, int]) -> tuple[list[tuple[str, tuple[int, ...]]], int]:  # fmt: skip
    """(word, phoneme labels and perhaps ``#k``) of every entry, and the highest k.

    Entries that spell the same, or the beginning of another, need a symbol of their own at the end.
    """
    entries = [(word, p) for word in labels for p in pronunciations[word]]
    spelled: dict[tuple[str, ...], int] = {}
    beginnings: set[tuple[str, ...]] = set()
    for _, phones in entries:
        spelled[phones] = spelled.get(phones, 0) + 1
        beginnings.update(phones[:n] for n in range(1, len(phones)))
    used: dict[tuple[str, ...], int] = {}
    result, highest = [], 0
    for word, phones in entries:
        sequence = tuple(PHONE_LABELS[phone] for phone in phones)
        if spelled[phones] > 1 or phones in beginnings:
            used[phones] = used.get(phones, 0) + 1
            highest = max(highest, used[phones])
            sequence += (_disambiguation_label(used[phones]),)
        result.append((word, sequence))
    return result, highest


def _disambiguation_label(k: int) -> int:
    """The label of ``#k``, after all tokens."""
    return len(TOKENS) + k


def _lexicon(
    kaldifst: Any, pronunciations: Pronunciations, labels: Mapping[str, int], silence_probability: float
) -> tuple[Any, int]:
    """L, and the number of disambiguation symbols beside ``#0``."""
    entries, highest = _disambiguated(pronunciations, labels)
    after_silence = highest + 1
    quiet, silent = -math.log(1 - silence_probability), -math.log(silence_probability)
    build = _Builder(kaldifst)
    start, loop, silence, silence_said = (build.state() for _ in range(4))
    build.fst.start = start
    build.final(loop)
    build.arc(start, EPSILON, EPSILON, quiet, loop)
    build.arc(start, EPSILON, EPSILON, silent, silence)
    build.arc(silence, SILENCE_LABEL, EPSILON, 0.0, silence_said)
    build.arc(silence_said, _disambiguation_label(after_silence), EPSILON, 0.0, loop)
    for word, sequence in entries:
        at, olabel = loop, labels[word]
        for label in sequence[:-1]:
            following = build.state()
            build.arc(at, label, olabel, 0.0, following)
            at, olabel = following, EPSILON
        build.arc(at, sequence[-1], olabel, quiet, loop)
        build.arc(at, sequence[-1], olabel, silent, silence)
    build.arc(loop, _disambiguation_label(0), len(labels) + 1, 0.0, loop)
    return build.fst, after_silence


def _token_graph(kaldifst: Any, num_disambiguation: int) -> Any:
    """T: state 0 waits on blanks, every other state is inside one phoneme or the silence."""
    build = _Builder(kaldifst)
    units = range(SILENCE_LABEL, len(TOKENS))
    states = {BLANK_LABEL: build.state(), **{unit: build.state() for unit in units}}
    build.fst.start = states[BLANK_LABEL]
    for unit, state in states.items():
        build.final(state)
        build.arc(state, BLANK_LABEL, EPSILON, 0.0, states[BLANK_LABEL])
        if unit != BLANK_LABEL:
            build.arc(state, unit, EPSILON, 0.0, state)
        for other in units:
            if other != unit:
                build.arc(state, other, other, 0.0, states[other])
        for k in range(num_disambiguation + 1):
            build.arc(state, EPSILON, _disambiguation_label(k), 0.0, state)
    return build.fst
