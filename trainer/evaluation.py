"""Greedy decoding of a split and what is counted about it: PER by session and overall, confusions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.batches import Assembler, Batch, Prefetcher
from trainer.corpus import Corpus
from trainer.ctc import align, ctc_loss, edit_distance, greedy_decode
from trainer.errors import OutOfMemory
from trainer.layers import on_device
from trainer.memory import is_out_of_memory, release_cached
from trainer.model import GRUDecoder
from trainer.peers import Peers
from trainer.sampling import validation_batches
from trainer.smoothing import Smoother

__all__ = ["Evaluation", "TrialResult", "evaluate", "padded_log_probs"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TrialResult:
    """One trial, decoded."""

    position: int
    """Place in the corpus."""
    day: int
    decoded: np.ndarray[Any, np.dtype[np.int64]]
    truth: np.ndarray[Any, np.dtype[np.int32]]
    edits: int
    loss: float
    logits: np.ndarray[Any, np.dtype[np.float32]] | None
    """(T', K), where they were asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Results of all trials of a split."""

    trials: tuple[TrialResult, ...]

    @property
    def per(self) -> float:
        """Phoneme error rate: all edits over all phonemes, in [0, ∞)."""
        return self._rate(self.trials)

    @property
    def loss(self) -> float:
        """Mean CTC loss of the trials whose labels fit their output; infinite when none does."""
        finite = [t.loss for t in self.trials if np.isfinite(t.loss)]
        return float(np.mean(finite)) if finite else float("inf")

    @property
    def per_by_day(self) -> dict[int, float]:
        """Phoneme error rate of each session that has trials."""
        days = sorted({t.day for t in self.trials})
        return {day: self._rate([t for t in self.trials if t.day == day]) for day in days}

    @property
    def is_blank(self) -> bool:
        """Whether not a single phoneme was decoded."""
        return all(t.decoded.size == 0 for t in self.trials)

    def confusions(self) -> Counter[tuple[int | None, int | None]]:
        """How often a phoneme (truth, decoded) was taken for another; None stands for nothing."""
        pairs: Counter[tuple[int | None, int | None]] = Counter()
        for trial in self.trials:
            pairs.update(p for p in align(trial.decoded, trial.truth) if p[0] != p[1])
        return pairs

    @staticmethod
    def _rate(trials: Sequence[TrialResult]) -> float:
        phonemes = sum(len(t.truth) for t in trials)
        return sum(t.edits for t in trials) / phonemes if phonemes else 0.0


def padded_log_probs(logits: Tensor, batch: Batch) -> Tensor:
    """Log probabilities (T', B, K), float32, from packed logits (P, K); zeros where a trial has ended."""
    layout = batch.layout
    table = logits.new_zeros(layout.num_outputs * layout.num_trials, logits.shape[1])
    index = on_device(layout.padded_index, logits.device)
    table = table.index_copy(0, index, logits.log_softmax(1))
    return table.view(layout.num_outputs, layout.num_trials, -1)


@torch.no_grad()
def evaluate(
    model: GRUDecoder, corpus: Corpus, assembler: Assembler, smoother: Smoother, *, dtype: torch.dtype, batch_size: int,
    device: torch.device, days: Sequence[int] | None = None, limit_batches: int | None = None,
    keep_logits: bool = False, peers: Peers | None = None, on_batch: Callable[[int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Evaluation:  # fmt: skip
    """Decode every trial of `corpus`, or of some sessions, once; `peers` share the work and all get the result.

    `on_batch` is told how many trials are done, after each batch; on all `peers` equally often, so that it may
    agree with them. A batch that does not fit the device's memory is decoded in halves, which `warn` hears of
    once. Raises `OutOfMemory` when not even one trial fits.
    """
    by_day = {d: p for d, p in corpus.by_day.items() if days is None or d in days}
    keys = list(validation_batches(by_day, batch_size))[:limit_batches]
    peers = Peers() if peers is None else peers
    rounds = len(peers.share(len(keys), rank=0))
    keys = [keys[i] for i in peers.share(len(keys))]
    results: list[TrialResult] = []

    def decode(batch: Batch) -> list[TrialResult]:
        table = smoother(batch.table.to(device, non_blocking=True), batch.layout.rows)
        logits = model.forward_packed(table, batch.layout, None, dtype)
        return _results(logits, batch, corpus, keep_logits)

    with Prefetcher(keys, assembler.plain_batch, num_threads=1, ahead=3) as batches:
        for batch in batches:
            found, pieces = _decode_what_fits(batch, decode, assembler, device)
            results.extend(found)
            if pieces > 1 and warn is not None:
                warn(f"out of memory: {len(batch.positions)} trials were decoded in {pieces} pieces")
                warn = None
            if on_batch is not None:
                on_batch(len(results))
        if on_batch is not None:
            for _ in range(len(keys), rounds):  # the others have one batch more
                on_batch(len(results))
    return Evaluation(trials=tuple(sorted(peers.gather(results), key=lambda r: r.position)))


def _decode_what_fits(
    batch: Batch, decode: Callable[[Batch], list[TrialResult]], assembler: Assembler, device: torch.device
) -> tuple[list[TrialResult], int]:
    """Results of a batch, and into how many pieces the device's memory forced it."""
    try:
        return decode(batch), 1
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_cached(device)
    count = len(batch.positions)
    if count == 1:
        raise OutOfMemory(
            f"a trial of {batch.layout.num_bins[0]} bins does not fit the memory of {device}, even alone",
            hint="take a device with more memory, or lower model.n_units",
        )
    results: list[TrialResult] = []
    pieces = 0
    for part in (batch.positions[: count // 2], batch.positions[count // 2 :]):
        found, number = _decode_what_fits(assembler.plain_batch(part), decode, assembler, device)
        results, pieces = results + found, pieces + number
    return results, pieces


def _results(logits: Tensor, batch: Batch, corpus: Corpus, keep_logits: bool) -> list[TrialResult]:
    log_probs = padded_log_probs(logits, batch)
    labelled = bool((batch.label_lengths > 0).all())
    losses = np.full(len(batch.positions), np.nan)
    if labelled:
        labels = on_device(batch.labels, logits.device)
        losses = ctc_loss(log_probs, labels, batch.output_lengths, batch.label_lengths).cpu().numpy()
    classes = log_probs.argmax(2).cpu().numpy()
    kept = _padded_logits(logits, batch) if keep_logits else None
    results = []
    for i, position in enumerate(batch.positions):
        item, length = corpus.trials[position], int(batch.output_lengths[i])
        decoded = greedy_decode(classes[:length, i])
        results.append(
            TrialResult(
                position=position,
                day=item.day,
                decoded=decoded,
                truth=item.trial.labels,
                edits=edit_distance(decoded, item.trial.labels),
                loss=float(losses[i]),
                logits=None if kept is None else kept[:length, i].copy(),
            )
        )
    return results


def _padded_logits(logits: Tensor, batch: Batch) -> np.ndarray[Any, np.dtype[np.float32]]:
    layout = batch.layout
    table = np.zeros((layout.num_outputs * layout.num_trials, logits.shape[1]), dtype=np.float32)
    table[layout.padded_index] = logits.float().cpu().numpy()
    return table.reshape(layout.num_outputs, layout.num_trials, -1)
