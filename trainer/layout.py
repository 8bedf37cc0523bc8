"""How a batch lies in memory: trials of different lengths end to end, without padding to the longest.

All time bins of a batch share one (rows, channels) table. Trials start at multiples of the patch stride
and are separated by rows of zeros, as many as the smoothing kernel reaches, so one operation over the
table never mixes two trials. The GRU takes the patches in packed order: all first patches, longest trial
first, then all second patches, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.ctc import output_length

__all__ = ["BatchLayout", "lay_out"]

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchLayout:
    """Where everything of a batch of B trials is; counts and positions only, on the CPU."""

    rows: int
    """Rows of the table, a multiple of the patch stride."""
    starts: Indices
    """(B,) first row of each trial."""
    num_bins: Indices
    """(B,) time bins of each trial."""
    day_spans: tuple[tuple[int, int, int], ...]
    """(session, first row, row after the last) of neighbouring trials of one session."""
    output_lengths: Indices
    """(B,) outputs T' of each trial."""
    patch_rows: Indices
    """(P,) first row of each patch, in packed order."""
    batch_sizes: tuple[int, ...]
    """Trials that still run at each output step; sums to P."""
    padded_index: Indices
    """(P,) place of each packed output in a (T', B) table laid out flat."""

    @property
    def num_trials(self) -> int:
        """B."""
        return len(self.starts)

    @property
    def num_outputs(self) -> int:
        """T' of the longest trial."""
        return len(self.batch_sizes)


def lay_out(
    num_bins: Sequence[int] | Indices,
    days: Sequence[int] | Indices,
    *,
    patch_size: int,
    patch_stride: int,
    gap: int,
) -> BatchLayout:
    """Lay out trials of the given lengths and sessions; `gap` rows of zeros follow each."""
    lengths = np.asarray(num_bins, dtype=np.int64)
    stride = max(1, patch_stride if patch_size else 1)
    sizes = -(-(lengths + gap) // stride) * stride
    ends = np.cumsum(sizes)
    starts = ends - sizes
    outputs = np.asarray([output_length(int(n), patch_size, patch_stride) for n in lengths], dtype=np.int64)
    patch_rows, batch_sizes, padded = _packed_order(starts, outputs, stride)
    return BatchLayout(
        rows=int(ends[-1]), starts=starts, num_bins=lengths, day_spans=_day_spans(starts, lengths, days),
        output_lengths=outputs, patch_rows=patch_rows, batch_sizes=batch_sizes, padded_index=padded,
    )  # fmt: skip


def _day_spans(
    starts: Indices, lengths: Indices, days: Sequence[int] | Indices
) -> tuple[tuple[int, int, int], ...]:
    spans: list[tuple[int, int, int]] = []
    for day, start, length in zip(days, starts, lengths, strict=True):
        first = int(start)
        if spans and spans[-1][0] == day:
            first = spans.pop()[1]
        spans.append((int(day), first, int(start + length)))
    return tuple(spans)


def _packed_order(starts: Indices, outputs: Indices, stride: int) -> tuple[Indices, tuple[int, ...], Indices]:
    order = np.argsort(-outputs, kind="stable")
    steps = np.arange(int(outputs.max()))[:, None]
    running = steps < outputs[order][None, :]
    patch_rows = (starts[order][None, :] + steps * stride)[running]
    padded = (order[None, :] + steps * len(outputs))[running]
    return patch_rows, tuple(int(n) for n in running.sum(axis=1)), padded
