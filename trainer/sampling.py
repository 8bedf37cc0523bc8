"""Which trials make up a batch: pure functions of the seed and the step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.randomness import numpy_generator

__all__ = ["BatchSampler", "validation_batches"]

Indices = np.ndarray[Any, np.dtype[np.int64]]


class BatchSampler:
    """Draws the trials of any training step, without drawing those of the steps before.

    Each batch takes `days_per_batch` sessions without replacement (those of `must_include_days` always)
    and from each an even share of the batch, with replacement, as the official trainer does. That there are as
    many sessions is checked before the data are read (`trainer.config_checks.check_sessions`).
    """

    def __init__(
        self,
        by_day: Mapping[int, Indices],
        *,
        batch_size: int,
        days_per_batch: int,
        seed: int,
        must_include_days: Sequence[int] = (),
        num_days: int | None = None,
    ) -> None:
        self._by_day = {day: np.asarray(by_day[day]) for day in sorted(by_day)}
        self._days = np.asarray(list(self._by_day))
        self._batch_size = batch_size
        self._days_per_batch = days_per_batch
        self._seed = seed
        total = len(self._days) if num_days is None else num_days
        self._always = [day + total if day < 0 else day for day in must_include_days]

    def batch(self, step: int) -> Indices:
        """Positions in the corpus of the trials of one step (counted from 0), grouped by session."""
        rng = numpy_generator(self._seed, "batch", step)
        others = np.setdiff1d(self._days, self._always)
        drawn = rng.choice(others, size=self._days_per_batch - len(self._always), replace=False)
        days = np.concatenate([np.asarray(self._always, dtype=np.int64), drawn])
        share = math.ceil(self._batch_size / self._days_per_batch)
        sizes = np.full(len(days), share)
        surplus = share * self._days_per_batch - self._batch_size
        sizes[rng.permutation(len(days))[:surplus]] -= 1
        picks = [
            rng.choice(self._by_day[int(d)], size=n, replace=True) for d, n in zip(days, sizes, strict=True)
        ]
        return np.concatenate(picks)


def validation_batches(by_day: Mapping[int, Indices], batch_size: int) -> Iterator[Indices]:
    """Every trial once, session by session, in batches of one session and up to `batch_size` trials."""
    for day in sorted(by_day):
        positions = by_day[day]
        for start in range(0, len(positions), batch_size):
            yield positions[start : start + batch_size]
