"""Connectionist temporal classification: output lengths, loss, greedy decoding, edit distance, PER.

All but `ctc_loss` is NumPy and pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

__all__ = [
    "BLANK",
    "align",
    "ctc_loss",
    "edit_distance",
    "greedy_decode",
    "output_length",
    "required_outputs",
]

BLANK = 0
"""The class that means no phoneme."""

Labels = np.ndarray[Any, np.dtype[np.integer[Any]]]


def output_length(num_bins: int, patch_size: int, patch_stride: int) -> int:
    """Outputs of the model for a trial of `num_bins` time bins; 0 when not even one patch fits."""
    if patch_size == 0:
        return num_bins
    return max(0, (num_bins - patch_size) // patch_stride + 1)


def required_outputs(labels: Labels) -> int:
    """Fewest outputs that can spell `labels`: one each, and a blank between equal neighbours."""
    return len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def ctc_loss(log_probs: Tensor, labels: Tensor, output_lengths: Tensor, label_lengths: Tensor) -> Tensor:
    """CTC loss of each trial, shape (B,).

    `log_probs` (T', B, K) float32; `labels` all trials' labels one after the other; both lengths (B,) on
    the CPU, so that they need not come back from the GPU first. Infinite where the labels do not fit.
    """
    return functional.ctc_loss(
        log_probs, labels, output_lengths, label_lengths, blank=BLANK, reduction="none", zero_infinity=False
    )


def greedy_decode(classes: Labels) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Most likely classes per output (T',) to labels: merge repeats, then drop blanks."""
    classes = np.asarray(classes)
    if classes.size == 0:
        return np.empty(0, dtype=np.int64)
    starts = np.concatenate([[True], classes[1:] != classes[:-1]])
    return np.asarray(classes[starts & (classes != BLANK)], dtype=np.int64)


def edit_distance(decoded: Labels | Sequence[int], truth: Labels | Sequence[int]) -> int:
    """Levenshtein distance: fewest insertions, deletions and substitutions. O(len × len), one row at a time."""
    a, b = np.asarray(decoded), np.asarray(truth)
    if a.size == 0 or b.size == 0:
        return int(max(a.size, b.size))
    offsets = np.arange(b.size + 1)
    row = offsets.copy()
    for i, symbol in enumerate(a, start=1):
        row = _next_row(row, symbol, b, offsets, i)
    return int(row[-1])


def _next_row(row: Labels, symbol: Any, b: Labels, offsets: Labels, i: int) -> Labels:
    """One row of the distance table from the row above it.

    Within a row each cell may also be its left neighbour plus one; subtracting the column index turns
    that chain into a running minimum, which NumPy does without a Python loop.
    """
    best = np.empty_like(row)
    best[0] = i
    np.minimum(row[:-1] + (b != symbol), row[1:] + 1, out=best[1:])
    return np.minimum.accumulate(best - offsets) + offsets


def align(
    decoded: Labels | Sequence[int], truth: Labels | Sequence[int]
) -> list[tuple[int | None, int | None]]:
    """Pairs (truth, decoded) of one optimal alignment; None marks an insertion or a deletion."""
    a, b = np.asarray(decoded), np.asarray(truth)
    offsets = np.arange(b.size + 1)
    rows = [offsets.copy()]
    for i, symbol in enumerate(a, start=1):
        rows.append(_next_row(rows[-1], symbol, b, offsets, i))
    pairs: list[tuple[int | None, int | None]] = []
    i, j = a.size, b.size
    while i or j:
        if i and j and rows[i][j] == rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((int(b[j]), int(a[i])))
        elif j and rows[i][j] == rows[i][j - 1] + 1:
            j -= 1
            pairs.append((int(b[j]), None))
        else:
            i -= 1
            pairs.append((None, int(a[i])))
    return pairs[::-1]
