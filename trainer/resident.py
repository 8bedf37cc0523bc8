"""Trials kept in GPU memory, where a batch is gathered by the GPU itself instead of sent to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.corpus import Corpus
from trainer.hdf5 import Trial
from trainer.layers import on_device
from trainer.memory import is_out_of_memory, release_cached

__all__ = ["Resident", "ResidentRows", "make_resident"]

SHARE = 0.4
"""Part of the free GPU memory that trials may take; the rest is for the model and its activations."""


@dataclass(frozen=True, slots=True)
class ResidentRows:
    """Rows of a resident table, gathered when they are wanted; stands where a host tensor would."""

    bins: Tensor
    rows: np.ndarray[Any, np.dtype[np.int64]]

    def to(self, device: torch.device, non_blocking: bool = True) -> Tensor:
        """The rows as a new tensor on `device`, which is the table's."""
        return self.bins.index_select(0, on_device(self.rows, device))


class Resident:
    """All time bins of a corpus in one table on the GPU, its last row zeros for the gaps of a batch."""

    def __init__(
        self,
        corpus: Corpus,
        channels: Sequence[int] | None,
        device: torch.device,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> None:
        lengths = np.asarray([item.trial.num_bins for item in corpus.trials])
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        width = corpus.trials[0].features().shape[1] if channels is None else len(channels)
        self._bins = torch.zeros(int(self._starts[-1]) + 1, width, device=device)
        for start, item in zip(self._starts, corpus.trials, strict=False):
            values = item.features() if channels is None else item.features()[:, list(channels)]
            self._bins[start : start + len(values)].copy_(torch.tensor(values))
            if on_trial is not None:
                on_trial(item.trial)

    def rows(
        self, positions: Sequence[int], firsts: Sequence[int], lengths: Sequence[int], cut: int, total: int
    ) -> ResidentRows:
        """The table of a batch: trial i, without its first `cut` bins, from row firsts[i]; zeros elsewhere."""
        index = np.full(total, len(self._bins) - 1, dtype=np.int64)
        for position, first, length in zip(positions, firsts, lengths, strict=True):
            start = int(self._starts[position]) + cut
            index[first : first + length] = np.arange(start, start + length)
        return ResidentRows(self._bins, index)


def make_resident(
    corpus: Corpus, channels: Sequence[int] | None, device: torch.device, on_trial: Callable[[Trial], None]
) -> Resident | None:
    """The corpus on the GPU, or None where it would take more than its share of the free memory.

    `on_trial` is told of each trial that is there: all of them are read, which may take a while.
    """
    if device.type != "cuda" or not len(corpus):
        return None
    first = corpus.trials[0].features()
    bins = sum(item.trial.num_bins for item in corpus.trials) + 1
    wanted = 4 * bins * (first.shape[1] if channels is None else len(channels))
    free, _ = torch.cuda.mem_get_info(device)
    if wanted >= SHARE * free:
        return None
    try:
        return Resident(corpus, channels, device, on_trial)
    except RuntimeError as error:  # free in pieces only, or taken by somebody else meanwhile
        if not is_out_of_memory(error):
            raise
    release_cached(device)
    return None
