"""One optimiser step: forward, loss, backward, clip, update.

Two things here wait for a GPU. torch's CTC loss copies the lengths of the trials itself and so waits for the
forward pass, and in its gradient for the little that came after it. And dropout within cuDNN's GRU: its generator is set
up anew where torch's was seeded, which is before every micro-batch, with a number that is drawn on the GPU and read back,
and so waits for all that was begun before. That is the price of masks that are a function of the step, in a
resumed run the same as in one that was left alone: the state of cuDNN's generator cannot be saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


LEAST_SCALE = 1.0
"""Below it scaling would make gradients vanish that it is there to keep."""


@dataclass(frozen=True, slots=True)
class StepValues:
    """What a step left on the device: loss (mean per trial) and gradient norm before clipping."""

    loss: Tensor
    grad_norm: Tensor
    lowered_scale: Tensor
    """1 where the step was skipped only because the loss scale was too high, and lowered it; else 0."""


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
        self._unused_scale: dict[str, Any] = {}
        self._zero, self._one = torch.zeros((), device=device), torch.ones((), device=device)
        self.scaler.scale(self._one)  # sets it up: a process may have no trial in the first batch

    def scale_state(self) -> dict[str, Any]:
        """The loss scale as a checkpoint keeps it: empty where the run never had one."""
        return self.scaler.state_dict() or self._unused_scale

    def restore_scale(self, state: Mapping[str, Any]) -> None:
        """Take up a loss scale; a processor that needs none keeps it for the next one."""
        self._unused_scale = dict(state)
        if state:
            self.scaler.load_state_dict(self._unused_scale)

    def accumulate(self, step: int, micro_batches: Sequence[Batch], num_trials: int) -> Tensor:
        """Gradients of the mean loss over `num_trials` trials, summed over the micro-batches of a step.

        Returns this process's share of the loss.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self._device)
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
        """Clip, and step unless the gradient is not finite; the decision is taken on the device.

        `loss` is that of the whole batch, of all processes.
        """
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        limit = self._config.grad_norm_clip_value or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit, foreach=True)
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            lowered = self._update_scale(loss)
        else:
            lowered = self._zero
            # The fused optimiser's own switch for mixed precision: a step that must not happen does not.
            self.optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        self.scheduler.step()
        return StepValues(loss, norm, lowered)

    def _update_scale(self, loss: Tensor) -> Tensor:
        """Adapt the loss scale, without waiting for the device; 1 where it was lowered.

        Left to itself the scaler halves at every step that is skipped, without end, and doubles after 2000 good ones: a
        single bad trial would drive it to 0. No scale mends a loss that is itself not finite, so such a step
        does not lower it, and nothing lowers it under `LEAST_SCALE`.
        """
        before = self.scaler.scale(self._one)
        self.scaler.update()
        after = torch.where(torch.isfinite(loss), self.scaler.scale(self._one), before)
        after.clamp_(min=LEAST_SCALE)
        self.scaler.update(after)
        return (after < before).float()

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
        if (
            table.is_cuda
        ):  # on the CPU all masks come from the line above; cuDNN's GRU then waits, see the top
            torch.cuda.manual_seed(stream_seed(self.seed, "device-dropout", step, batch.slots[0]))
        logits = self.model.forward_packed(table, batch.layout, dropout, self._dtype)
        log_probs = padded_log_probs(logits, batch)
        labels = on_device(batch.labels, self._device)
        return ctc_loss(log_probs, labels, batch.output_lengths, batch.label_lengths)
