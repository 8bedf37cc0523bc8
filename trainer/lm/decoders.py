"""What turns the logits of one sentence into a list of candidates, best first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from trainer.lm.graph_folder import DecodingGraph
from trainer.lm.options import DecoderOptions
from trainer.lm.scores import graph_log_probs
from trainer.lm.search import Hypothesis, Path, Search

__all__ = ["GraphDecoder", "SentenceDecoder", "hypotheses", "rank"]

Logits = np.ndarray[Any, np.dtype[np.float32]]


class SentenceDecoder(Protocol):
    """One of the ways from logits to words."""

    max_jobs: int
    """How many sentences may be decoded at once."""

    def decode(self, logits: Logits) -> list[Hypothesis]:
        """Candidates for (T, 41) logits in the model's order, best first, all different; empty for no frames.

        May be called from several threads. Raises a `LanguageModelError`.
        """

    def close(self) -> None:
        """Let go of everything that was opened."""


class GraphDecoder:
    """The n-best search over a graph, one search per thread over the same arrays."""

    def __init__(self, graph: DecodingGraph, options: DecoderOptions, *, jobs: int = 1) -> None:
        self.max_jobs = jobs
        self._graph = graph
        self._options = options
        self._own = threading.local()

    def decode(self, logits: Logits) -> list[Hypothesis]:
        """See `SentenceDecoder`."""
        search: Search | None = getattr(self._own, "search", None)
        if search is None:
            search = self._own.search = Search(self._graph.arcs, self._options)
        else:
            search.reset()
        search.advance(graph_log_probs(logits, self._options.blank_penalty))
        return hypotheses(search.finish(), self._graph, self._options)

    def close(self) -> None:
        """Nothing is open."""


def hypotheses(paths: Sequence[Path], graph: DecodingGraph, options: DecoderOptions) -> list[Hypothesis]:
    """Paths as sentences with scores; equal totals in order of the text."""
    scale = options.acoustic_scale
    return rank(
        [
            Hypothesis(
                text=graph.words.sentence(path.labels), acoustic=-path.acoustic_cost / scale, ngram=-path.graph_cost
            )
            for path in paths
        ],
        scale,
    )  # fmt: skip


def rank(candidates: Sequence[Hypothesis], acoustic_scale: float, alpha: float = 0.0) -> list[Hypothesis]:
    """Set the totals and sort: ``acoustic_scale × acoustic + (1 - alpha) × ngram + alpha × llm``, highest first."""
    scored = [
        Hypothesis(
            text=h.text, acoustic=h.acoustic, ngram=h.ngram, llm=h.llm,
            total=acoustic_scale * h.acoustic + (1 - alpha) * h.ngram + alpha * h.llm,
        )
        for h in candidates
    ]  # fmt: skip
    return sorted(scored, key=lambda h: (-h.total, h.text))
