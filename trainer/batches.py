"""From trial numbers to tensors, ahead of the training thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from trainer.augment import add_noise, random_cut
from trainer.config import Config
from trainer.corpus import Corpus
from trainer.layout import BatchLayout, lay_out
from trainer.memory import host_memory
from trainer.resident import Resident, ResidentRows
from trainer.smoothing import Smoother

__all__ = ["Assembler", "Batch", "Prefetcher"]


Positions = Sequence[int] | np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Some trials, ready for the model; a micro-batch is a Batch too."""

    positions: tuple[int, ...]
    """(B,) places in the corpus."""
    slots: tuple[int, ...]
    """(B,) places in the whole batch of the step."""
    layout: BatchLayout
    table: Tensor | ResidentRows
    """(smoother.input_rows(rows), channels) float32 features before smoothing; trial i starts at row starts[i] + smoother.before."""
    labels: np.ndarray[Any, np.dtype[np.int64]]
    """All trials' labels one after the other; int64, because for int32 torch may turn to cuDNN's CTC, whose
    conditions on lengths and devices differ between versions."""
    label_lengths: Tensor
    """(B,) int64 on the CPU."""
    output_lengths: Tensor
    """(B,) int64 on the CPU."""


class Assembler:
    """Builds batches from a corpus: cut and noise where asked for, never smoothing.

    A training batch is a function of (seed, step) and of the trials alone. On the CPU the noise is added
    here, off the training thread; for a GPU `noise_on_host` is False and the device adds it.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: Config,
        smoother: Smoother,
        *,
        seed: int,
        noise_on_host: bool,
        pin: bool = False,
        resident: Resident | None = None,
    ) -> None:
        self._corpus = corpus
        self._config = config
        self._smoother = smoother
        self._seed = seed
        self._noise_on_host = noise_on_host
        self._pin = pin
        self._resident = resident
        subset = config.dataset.feature_subset
        self._channels = None if subset is None else np.asarray(subset)

    def training_batch(self, step: int, positions: Positions, slots: Sequence[int]) -> Batch:
        """Assemble trials for one training step, augmented."""
        transforms = self._config.dataset.data_transforms
        batch = self._assemble(positions, slots, cut=random_cut(transforms, self._seed, step))
        if self._noise_on_host and isinstance(batch.table, Tensor):
            offset = self._smoother.before
            add_noise(batch.table, batch.layout, offset, slots, transforms, seed=self._seed, step=step)
        return batch

    def plain_batch(self, positions: Positions) -> Batch:
        """Assemble trials as they are, for validation."""
        return self._assemble(positions, range(len(positions)), cut=0)

    def _assemble(self, positions: Positions, slots: Sequence[int], cut: int) -> Batch:
        items = [self._corpus.trials[p] for p in positions]
        model = self._config.model
        layout = lay_out(
            [item.trial.num_bins - cut for item in items], [item.day for item in items],
            patch_size=model.patch_size, patch_stride=model.patch_stride, gap=self._smoother.gap,
        )  # fmt: skip
        table = self._table(positions, layout, cut)
        labels = np.concatenate([item.trial.labels for item in items]).astype(np.int64)
        return Batch(
            positions=tuple(int(p) for p in positions), slots=tuple(slots), layout=layout, table=table,
            labels=labels,
            label_lengths=torch.tensor([len(item.trial.labels) for item in items]),
            output_lengths=torch.from_numpy(layout.output_lengths),
        )  # fmt: skip

    def _table(self, positions: Positions, layout: BatchLayout, cut: int) -> Tensor | ResidentRows:
        rows = self._smoother.input_rows(layout.rows)
        if self._resident is not None:
            firsts = layout.starts + self._smoother.before
            return self._resident.rows(list(positions), list(firsts), list(layout.num_bins), cut, rows)
        features = [self._corpus.trials[p].features() for p in positions]
        return self._fill(features, layout, cut, rows)

    def _fill(
        self, features: Sequence[np.ndarray[Any, Any]], layout: BatchLayout, cut: int, rows: int
    ) -> Tensor:
        shape = (rows, self._config.model.n_input_features)
        table = host_memory(shape, torch.float32, pinned=self._pin)
        view = table.numpy()
        end = 0
        for values, start, length in zip(features, layout.starts, layout.num_bins, strict=True):
            first = int(start) + self._smoother.before
            view[end:first] = 0.0
            end = first + int(length)
            kept = values[cut : cut + int(length)]
            view[first:end] = kept if self._channels is None else kept[:, self._channels]
        view[end:] = 0.0
        return table


T = TypeVar("T")
K = TypeVar("K")


class Prefetcher(Generic[K, T]):
    """Makes items in background threads and hands them out in order.

    ``make(key)`` must be a pure function: which thread made an item, and when, changes nothing. An
    exception in `make` is raised to whoever asks for that item. Use as a context manager; leaving it
    joins the threads.
    """

    def __init__(self, keys: Iterable[K], make: Callable[[K], T], *, num_threads: int, ahead: int) -> None:
        self._keys = iter(keys)
        self._make = make
        self._lock = threading.Lock()
        self._room = threading.Semaphore(ahead)
        self._pending: queue.Queue[queue.Queue[tuple[T | None, BaseException | None]] | None] = queue.Queue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"prefetch-{i}", daemon=True) for i in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Prefetcher[K, T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        if not self._threads:
            yield from map(self._make, self._keys)
            return
        while True:
            slot = self._pending.get()
            if slot is None:
                self._pending.put(None)
                return
            item, error = slot.get()
            self._room.release()
            if error is not None:
                raise error
            assert item is not None
            yield item

    def close(self) -> None:
        """Stop and join the threads; items that were not taken are dropped."""
        self._closed = True
        for _ in self._threads:
            self._room.release()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            self._room.acquire()
            slot: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(1)
            with self._lock:  # the order of taking keys is the order of handing out
                if self._closed:
                    return
                try:
                    key = next(self._keys)
                except StopIteration:
                    self._pending.put(None)
                    self._room.release()
                    return
                self._pending.put(slot)
            try:
                slot.put((self._make(key), None))
            except BaseException as error:
                slot.put((None, error))
