"""Which sentence each trial says.

A sentence belongs to one split for ever, by a digest of its text, so that none of validation or test was ever
trained on. Words are shared: a sentence of validation or test is drawn until all its words occur in training.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.synthetic.errors import BadSpec
from trainer.synthetic.grammar import expand
from trainer.synthetic.seeding import Stream, generator
from trainer.synthetic.spec import SPLITS, Split, SyntheticSpec

if TYPE_CHECKING:
    from collections.abc import Set

    import numpy as np

__all__ = ["BLOCK_TRIALS", "corpus_of", "sentence_of", "sentences", "split_of", "words_of"]

EVERYDAY = Path(__file__).with_name("everyday.txt")

BLOCK_TRIALS = 10
"""Trials recorded in one block; all of a block come from one corpus, as in the official data."""

_CORPORA = ("Synthetic everyday", "Synthetic grammar", "Synthetic grammar")
_DRAWS = 2000
"""Draws before a sentence is taken that is not quite as wished: it repeats, or brings a new word."""

_WORD = re.compile(r"[a-z']+")


def words_of(sentence: str) -> list[str]:
    """The words of a sentence as the lexicon writes them: lower case, apostrophes kept, nothing else."""
    return _WORD.findall(sentence.lower())


def split_of(sentence: str) -> Split:
    """The only split that may use this sentence: eight tenths train, a tenth each validation and test."""
    place = hashlib.sha256(" ".join(words_of(sentence)).encode()).digest()[0]
    return "val" if place < 26 else "test" if place < 52 else "train"


def corpus_of(trial: int) -> str:
    """Name of the corpus that a trial's block was drawn from."""
    return _CORPORA[trial // BLOCK_TRIALS % len(_CORPORA)]


@functools.cache
def everyday_sentences(split: Split) -> tuple[str, ...]:
    """The handwritten sentences of a split."""
    lines = EVERYDAY.read_text("utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#") and split_of(line) == split)


def _draw(rng: np.random.Generator, split: Split, corpus: str) -> str:
    if corpus == "Synthetic everyday":
        bank = everyday_sentences(split)
        return bank[int(rng.integers(len(bank)))]
    text = expand(rng)
    return text[0].upper() + text[1:]


def _choose(
    spec: SyntheticSpec, session: int, split: Split, trial: int, taken: Set[str], known: Set[str] | None
) -> str:
    """Draw until the sentence fits; else the one with the fewest faults among all draws."""
    rng = generator(spec.seed, Stream.SENTENCE, session, SPLITS.index(split), trial)
    best: tuple[int, str] | None = None
    for attempt in range(_DRAWS):
        # A corpus can run dry of sentences of this length; the grammar never does.
        sentence = _draw(rng, split, corpus_of(trial) if attempt < _DRAWS // 10 else _CORPORA[-1])
        words = words_of(sentence)
        if split_of(sentence) != split or not spec.min_words <= len(words) <= spec.max_words:
            continue
        faults = len(set(words) - known) if known is not None else 0
        faults += 100 * (sentence in taken)
        if faults == 0:
            return sentence
        if best is None or faults < best[0]:
            best = faults, sentence
    if best is None:
        raise BadSpec(
            f"found no sentence of {spec.min_words} to {spec.max_words} words for {split} in {_DRAWS} draws",
            hint="widen min_words and max_words: sentences have 2 to 12 words, most of them 4 to 8",
        )
    return best[1]


@functools.lru_cache(maxsize=8)
def _train_vocabulary(spec: SyntheticSpec) -> frozenset[str]:
    return frozenset(
        word
        for session in range(spec.sessions)
        for sentence in sentences(spec, session, "train")
        for word in words_of(sentence)
    )


@functools.lru_cache(maxsize=1024)
def sentences(spec: SyntheticSpec, session: int, split: Split) -> tuple[str, ...]:
    """Sentences of one file, in trial order, without repeats where possible.

    Training sentences depend on the seed, the session and the trials before, and on nothing that was added after
    them; validation and test also on the words that training holds.
    """
    known = _train_vocabulary(spec) if split != "train" and spec.train else None
    chosen: dict[str, None] = {}
    result = []
    for trial in range(spec.trials(split)):
        sentence = _choose(spec, session, split, trial, chosen.keys(), known)
        chosen[sentence] = None
        result.append(sentence)
    return tuple(result)


def sentence_of(spec: SyntheticSpec, session: int, split: Split, trial: int) -> str:
    """The sentence of one trial."""
    return sentences(spec, session, split)[trial]
