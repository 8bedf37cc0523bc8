"""Decoding without a graph: flashlight-text's beam search over a lexicon, with KenLM on the ARPA file.

For machines whose memory no graph fits. It is not exact: 100 candidates of a graph and of this search have about half in
common, and the best sentence is the same nine times out of ten.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np

from trainer.lm.arpa import read_unigrams
from trainer.lm.decoders import Logits, rank
from trainer.lm.errors import BadGraph, GraphTooLarge, missing_package
from trainer.lm.graph_folder import ARPA, DICTIONARY
from trainer.lm.lexicon import read_dictionary
from trainer.lm.memory import available_bytes, gib
from trainer.lm.options import DecoderOptions
from trainer.lm.scores import graph_log_probs
from trainer.lm.search import Hypothesis
from trainer.lm.symbols import BLANK_COLUMN, NUM_COLUMNS, PHONE_LABELS, SILENCE_LABEL

__all__ = ["LexiconDecoder"]

SILENCE_COLUMN = SILENCE_LABEL - 1
MOST_HOMOPHONES = 6
"""Words that one spelling can stand for in flashlight-text; rarer ones are dropped by it, and by us with a count."""
BYTES_PER_ARPA_BYTE = 2.5
"""Memory of KenLM and the lexicon's tree, beside the size of the ARPA file."""


class LexiconDecoder:
    """A `SentenceDecoder` over ``lexicon.txt`` and ``lm.arpa`` of a graph folder."""

    def __init__(
        self, folder: Path, options: DecoderOptions, *, beam_size: int = 500, jobs: int = 1, most_bytes: int | None = None
    ) -> None:  # fmt: skip
        """Load both files. Raises `BadGraph`, `BadText`, `GraphTooLarge` (before loading) and `MissingPackage`."""
        self.max_jobs = jobs
        self._options = options
        self._beam_size = beam_size
        arpa, dictionary = folder / ARPA, folder / DICTIONARY
        for path in (arpa, dictionary):
            if not path.is_file():
                raise BadGraph(
                    f"{path} is missing: decoding without a graph needs it", hint="trainer lm build writes it"
                )
        needed = int(arpa.stat().st_size * BYTES_PER_ARPA_BYTE)
        free = available_bytes() if most_bytes is None else most_bytes
        if needed > free:
            raise GraphTooLarge(f"{arpa} needs about {gib(needed)} of memory, and {gib(free)} are free")
        try:
            from flashlight.lib.text import decoder as flashlight
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import Dictionary
        except ImportError as error:
            raise missing_package(error, "decoding without a graph") from error
        self._flashlight: Any = flashlight
        probabilities = read_unigrams(arpa)
        pronunciations = read_dictionary(dictionary)
        # The usual words first: of too many homophones the first ones stay.
        self._words = sorted(
            (w for w in pronunciations if w in probabilities), key=lambda w: (-probabilities[w], w)
        )
        self._vocabulary = frozenset(self._words)
        table = Dictionary()
        for word in self._words:
            table.add_entry(word)
        try:
            self._model = KenLM(str(arpa), table)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BadGraph(f"KenLM cannot use {arpa}: {reason}", hint="it needs 2-grams at least") from error
        self._trie, self.num_dropped = self._build_trie(pronunciations)
        self._own = threading.local()

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._vocabulary

    def decode(self, logits: Logits) -> list[Hypothesis]:
        """See `SentenceDecoder`."""
        scores = np.ascontiguousarray(graph_log_probs(logits, self._options.blank_penalty), dtype=np.float32)
        if not len(scores):
            return []
        search = getattr(self._own, "search", None)
        if search is None:
            search = self._own.search = self._search()
        found: dict[str, Hypothesis] = {}
        for result in search.decode(scores.ctypes.data, *scores.shape):
            text = " ".join(self._words[i] for i in result.words if i >= 0)
            if text in found:
                continue  # another alignment of the same words, and a worse one: results come best first
            found[text] = Hypothesis(text, result.emittingModelScore, result.lmScore * math.log(10))
        ranked = rank(list(found.values()), self._options.acoustic_scale)
        limit = ranked[0].total - self._options.lattice_beam if ranked else 0.0
        return [h for h in ranked[: self._options.nbest] if h.total >= limit]

    def close(self) -> None:
        """Nothing is open."""

    def _build_trie(self, pronunciations: Any) -> tuple[Any, int]:
        """Every spelling twice, bare and with the silence after it."""
        trie = self._flashlight.Trie(NUM_COLUMNS, SILENCE_COLUMN)
        start = self._model.start(False)
        said: dict[tuple[str, ...], int] = {}
        dropped = 0
        for index, word in enumerate(self._words):
            _, score = self._model.score(start, index)
            for phones in pronunciations[word]:
                said[phones] = said.get(phones, 0) + 1
                if said[phones] > MOST_HOMOPHONES:
                    dropped += 1
                    continue
                columns = [PHONE_LABELS[phone] - 1 for phone in phones]
                trie.insert(columns, index, score)
                trie.insert([*columns, SILENCE_COLUMN], index, score)
        trie.smear(self._flashlight.SmearingMode.MAX)
        return trie, dropped

    def _search(self) -> Any:
        scale = self._options.acoustic_scale
        options = self._flashlight.LexiconDecoderOptions(
            beam_size=self._beam_size, beam_size_token=NUM_COLUMNS, beam_threshold=self._options.beam / scale,
            # KenLM answers in powers of ten; everything is in units of the acoustic scores.
            lm_weight=math.log(10) / scale, word_score=0.0, unk_score=-math.inf, sil_score=0.0, log_add=False,
            criterion_type=self._flashlight.CriterionType.CTC,
        )  # fmt: skip
        return self._flashlight.LexiconDecoder(
            options, self._trie, self._model, SILENCE_COLUMN, BLANK_COLUMN, -1, [], False
        )
