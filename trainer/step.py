"""One optimiser step: forward, loss, backward, clip, update.

Nothing here waits for a GPU but torch's CTC loss, which copies the lengths of the trials itself and so waits
for the forward pass, and in its gradient for the little that came after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from trainer.augment import add_noise
from trainer.batches import Batch
from trainer.config import Config
from trainer.ctc import ctc_loss
from trainer.evaluation import padded_log_probs
from trainer.layers import on_device
from trainer.memory import release_cached
from trainer.model import DropoutSource, GRUDecoder
from trainer.precision import Precision
from trainer.randomness import numpy_generator, stream_seed
from trainer.smoothing import Smoother

__all__ = ["StepRunner", "StepValues"]


@dataclass(frozen=True, slots=True)
class StepValues:
    """What a step left on the device: loss (mean per trial) and gradient norm before clipping."""

    loss: Tensor
    grad_norm: Tensor


class StepRunner:
    """Holds what training changes, model, optimiser, schedule and loss scale, and takes steps with it."""

    def __init__(
        self, model: GRUDecoder, optimizer: torch.optim.Optimizer, scheduler: LRScheduler, smoother: Smoother,
        config: Config, *, device: torch.device, precision: Precision, seed: int,
    ) -> None:  # fmt: skip
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.needs_scaler)
        self._smoother = smoother
        self._config = config
        self._device = device
        self._dtype = precision.dtype
        self.seed = seed
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def accumulate(self, step: int, micro_batches: Sequence[Batch], num_trials: int) -> Tensor:
        """Gradients of the mean loss over `num_trials` trials, summed over the micro-batches of a step.

        Returns this process's share of the loss.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
        self.scaler.scale(total)  # sets it up, also in a process that has no trial of this batch
        for batch in micro_batches:
            loss = self._loss(step, batch).sum() / num_trials
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def release_memory(self) -> None:
        """Drop gradients and cached blocks after an allocation failed."""
        self.optimizer.zero_grad(set_to_none=True)
        release_cached(self._device)

    def update(self, loss: Tensor) -> StepValues:
        """Clip, and step unless the gradient is not finite; the decision is taken on the device."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        limit = self._config.grad_norm_clip_value or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit, foreach=True)
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            # The fused optimiser's own switch for mixed precision: a step that must not happen does not.
            self.optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        self.scheduler.step()
        return StepValues(loss, norm)

    def device_table(self, step: int, batch: Batch) -> Tensor:
        """The batch's features on the device, augmented there unless the CPU did it already."""
        table = batch.table.to(self._device, non_blocking=True)
        if table.device.type != "cpu":
            transforms, offset = self._config.dataset.data_transforms, self._smoother.before
            add_noise(table, batch.layout, offset, batch.slots, transforms, seed=self.seed, step=step)
        return table

    def _loss(self, step: int, batch: Batch) -> Tensor:
        """CTC loss of each trial of a micro-batch, (B,)."""
        table = self._smoother(self.device_table(step, batch), batch.layout.rows)
        # The first slot tells micro-batches and processes apart: none repeats the masks of another.
        dropout = DropoutSource(numpy_generator(self.seed, "dropout", step, batch.slots[0]))
        if table.is_cuda:  # on the CPU all masks come from the line above
            torch.cuda.manual_seed(stream_seed(self.seed, "device-dropout", step, batch.slots[0]))
        logits = self.model.forward_packed(table, batch.layout, dropout, self._dtype)
        log_probs = padded_log_probs(logits, batch)
        labels = on_device(batch.labels, self._device)
        return ctc_loss(log_probs, labels, batch.output_lengths, batch.label_lengths)
