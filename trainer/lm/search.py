"""Exact n-best search over a decoding graph: token passing, then a lattice, then the best different sentences.

Frame by frame every token (a state with the cost of its best path) is expanded, within Kaldi's limits (`beam`,
`max_active`, `min_active`). At the end one walk back gives every token its cost to the end and keeps the arcs within
`lattice_beam` of the best path; one walk forward over them carries, for each token, its `nbest` cheapest different
word histories with graph and acoustic costs apart. A sentence that is among the n best of all has a history among the
n best at every token of its path, so the list is exact for everything that the beam kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.lm.errors import missing_package
from trainer.lm.fst_file import Arcs
from trainer.lm.options import DecoderOptions

__all__ = ["Hypothesis", "Path", "Search"]


@dataclass(frozen=True, slots=True)
class Path:
    """Words as output labels, and the two costs of their cheapest path."""

    labels: tuple[int, ...]
    graph_cost: float
    acoustic_cost: float
    """Already multiplied by the acoustic scale."""

    @property
    def cost(self) -> float:
        """What paths are ranked by, lowest first."""
        return self.graph_cost + self.acoustic_cost


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A decoded sentence with its scores, higher is better."""

    text: str
    acoustic: float
    """Log-probability of the frames, not scaled."""
    ngram: float
    """Log-probability from the graph: language model, silences and pronunciations."""
    llm: float = 0.0
    total: float = 0.0


class Search:
    """One utterance at a time over one graph; not for use by several threads at once.

    `advance` as often as frames come, `partial` in between, `finish` once; then `reset` for the next one.
    """

    def __init__(self, arcs: Arcs, options: DecoderOptions) -> None:
        try:
            from trainer.lm import search_arrays
        except ImportError as error:
            raise missing_package(error, "decoding with a graph") from error
        self._loops: Any = search_arrays
        self._arcs = arcs
        self._options = options
        self._token_of = np.full(len(arcs.final), -1, np.int32)
        self.reset()

    def reset(self, options: DecoderOptions | None = None) -> None:
        """Forget the utterance; with `options` the next one is searched with others."""
        if options is not None:
            self._options = options
        count, *lists = self._loops.open_frame(self._arcs, self._options.beam, self._token_of)
        self._state, self._cost, self._previous, self._word = lists
        self._ends = np.zeros(256, np.int64)
        self._ends[0] = count
        self._cutoffs = np.zeros(256)
        self._chunks: list[np.ndarray[Any, np.dtype[np.float64]]] = []
        self._num_frames = 0
        self._is_stuck = False

    @property
    def num_frames(self) -> int:
        """Frames taken so far."""
        return self._num_frames

    def advance(self, log_probs: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Take (T, K) log-probabilities in graph order; after a frame that no path survives nothing more is taken."""
        if self._is_stuck or not len(log_probs):
            return
        options = self._options
        frames = np.ascontiguousarray(-options.acoustic_scale * log_probs, dtype=np.float64)
        room = self._num_frames + len(frames) + 1
        if room > len(self._ends):
            self._ends = np.resize(self._ends, 2 * room)
            self._cutoffs = np.resize(self._cutoffs, 2 * room)
        taken, self._state, self._cost, self._previous, self._word = self._loops.advance(
            self._arcs, frames, self._state, self._cost, self._previous, self._word, self._ends, self._num_frames,
            self._cutoffs, self._token_of, options.beam, options.max_active, options.min_active, options.beam_delta,
        )  # fmt: skip
        self._is_stuck = taken < len(frames)
        self._chunks.append(frames[:taken])
        self._num_frames += taken

    def partial(self) -> tuple[int, ...]:
        """Output labels of the best path so far, whether or not a sentence could end here."""
        if self._num_frames == 0:
            return ()
        first, last = self._frame(self._num_frames)
        at = first + int(np.argmin(self._cost[first:last]))
        labels: list[int] = []
        while at >= 0:
            if self._word[at]:
                labels.append(int(self._word[at]))
            at = int(self._previous[at])
        return tuple(reversed(labels))

    def finish(self) -> list[Path]:
        """The n best sentences, cheapest first, equal costs in order of labels; none when there was no frame.

        Final costs count; when no surviving path may end here, all of them may, as in Kaldi.
        """
        if self._num_frames == 0 or self._is_stuck:
            return []
        first, last = self._frame(self._num_frames)
        ending = self._arcs.final[self._state[first:last]].astype(np.float64)
        if not np.isfinite(ending + self._cost[first:last]).any():
            ending = np.zeros_like(ending)
        best = float((self._cost[first:last] + ending).min())
        frames = self._chunks[0] if len(self._chunks) == 1 else np.concatenate(self._chunks)
        rest, *links = self._loops.link_tokens(
            self._arcs, frames, self._state, self._cost, self._ends, self._cutoffs, self._token_of,
            self._options.lattice_beam, ending, best,
        )  # fmt: skip
        history, graph, acoustic, parents, words = self._loops.best_sentences(
            rest, self._ends[: self._num_frames + 1], *links, ending, self._options.nbest,
            best + self._options.lattice_beam,
        )  # fmt: skip
        paths = [
            Path(_spell(int(h), parents, words), float(g), float(a))
            for h, g, a in zip(history, graph, acoustic, strict=True)
        ]
        return sorted(paths, key=lambda path: (path.cost, path.labels))

    def _frame(self, number: int) -> tuple[int, int]:
        return int(self._ends[number - 1]) if number else 0, int(self._ends[number])


def _spell(history: int, parents: Sequence[int], words: Sequence[int]) -> tuple[int, ...]:
    labels: list[int] = []
    while history > 0:
        labels.append(int(words[history]))
        history = int(parents[history])
    return tuple(reversed(labels))
