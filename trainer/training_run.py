"""Everything one training run consists of, and what happens around its validations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trainer.batches import Assembler, Batch
from trainer.config import Config
from trainer.corpus import Corpus
from trainer.evaluation import Evaluation
from trainer.metrics import MetricsWriter
from trainer.observers import Observers
from trainer.peers import Peers
from trainer.precision import Precision
from trainer.progress import Console
from trainer.run_folder import RunFolder
from trainer.sampling import BatchSampler
from trainer.saving import Saver
from trainer.smoothing import Smoother
from trainer.state import Progress
from trainer.step import StepRunner

__all__ = ["TrainingRun"]


@dataclass(kw_only=True, slots=True)
class TrainingRun:
    """The parts of a run, put together by `trainer.setup`."""

    config: Config
    folder: RunFolder
    console: Console
    device: torch.device
    precision: Precision
    peers: Peers
    sessions: Sequence[str]
    val_days: Sequence[int]
    """Sessions whose validation trials count."""
    train: Corpus
    val: Corpus
    sampler: BatchSampler
    train_assembler: Assembler
    val_assembler: Assembler
    smoother: Smoother
    runner: StepRunner
    progress: Progress
    saver: Saver
    observers: Observers
    numbers: MetricsWriter
    owes_first_validation: bool = False
    """Whether the model is still to be validated before its first step."""
    held_row: list[float] | None = None
    """Numbers of the step whose validation the resumed state owes; empty for step 0."""
    limit_batches: int | None = None
    last_per: float | None = None

    @property
    def validates(self) -> bool:
        """Whether there is anything to validate on: an evaluation of nothing would be without a fault."""
        return any(len(self.val.by_day[day]) for day in self.val_days)

    @property
    def validation_batch_size(self) -> int:
        """Trials per forward pass of a validation."""
        return self.config.dataset.batch_size

    def micro_batches(self, step: int) -> list[Batch]:
        """This process's share of the training batch of a step (counted from 0), in pieces that fit the device.

        A pure function but for the size of the pieces.
        """
        positions = self.sampler.batch(step)
        slots = self.peers.share(len(positions))
        size = self.progress.micro_batch_size
        pieces = [slots[first : first + size] for first in range(0, len(slots), size)]
        return [self.train_assembler.training_batch(step, positions[list(p)], p) for p in pieces]

    def trained_parameters(self, step: int) -> list[nn.Parameter]:
        """Parameters that get a gradient in a step, on whichever process: all but the layers of other sessions."""
        positions = self.sampler.batch(step)
        days = {self.train.trials[p].day for p in positions}
        names = {f"day_{kind}.{day}" for kind in ("weights", "biases") for day in days}
        named = self.runner.model.named_parameters()
        return [p for n, p in named if p.requires_grad and (not n.startswith("day_") or n in names)]

    @property
    def stopped_early(self) -> bool:
        """Whether the PER has not improved for as long as the configuration allows."""
        patience = self.config.early_stopping_val_steps
        return self.config.early_stopping and self.progress.validations_since_best >= patience

    def record_validation(self, evaluation: Evaluation) -> bool:
        """Count a validation; True when its PER is the best so far, or as good with a lower loss.

        Before the first step only a warm start counts: random weights, which may well beat an output of
        blanks, are nobody's best model. Nor is a model that gives numbers for none of the trials.
        """
        progress = self.progress
        self.last_per = evaluation.per
        if progress.step == 0 and not self.config.init_from_checkpoint:
            return False
        better = math.isfinite(evaluation.loss) and (evaluation.per, evaluation.loss) < (
            progress.best_per,
            progress.best_loss,
        )
        if better:
            progress.best_per, progress.best_loss = evaluation.per, evaluation.loss
            progress.best_step, progress.validations_since_best = progress.step, 0
        else:
            progress.validations_since_best += 1
        progress.blank_validations = progress.blank_validations + 1 if evaluation.is_blank else 0
        return better

    def report_validation(self, evaluation: Evaluation, seconds: float, best: bool) -> None:
        """Say and write what a validation showed."""
        config, progress, console = self.config, self.progress, self.console
        mark = ", the best so far" if best else ""
        console.say(
            f"validation at step {progress.step}: PER {100 * evaluation.per:.2f} %, "
            f"CTC loss {evaluation.loss:.3f}{mark} ({seconds:.1f} s)"
        )
        if config.log_individual_day_val_PER:
            for day, per in evaluation.per_by_day.items():
                console.note(f"{self.sessions[day]} val PER: {per:.4f}")
        if progress.blank_validations >= config.safety.blank_collapse_validations:
            console.warn(
                f"the last {progress.blank_validations} validations decoded nothing but blanks: "
                "the model has collapsed, or has not started to learn"
            )
            self.observers.event("collapsed", progress.step, validations=progress.blank_validations)
        self.observers.event("validation", progress.step, per=evaluation.per, loss=evaluation.loss, best=best)
        self.saver.save_validation(evaluation, self.val, best=best)

    def close(self) -> None:
        """Wait for the last write and close the files."""
        self.saver.close()
        self.observers.close()

    def finish(self) -> None:
        """Write the last model where asked for, and say how it went."""
        progress = self.progress
        self.observers.event("done", progress.step, best_per=progress.best_per, best_step=progress.best_step)
        self.saver.save_final(self.last_per or progress.best_per, progress.best_loss)
        if self.stopped_early:
            self.console.say(
                f"stopped early at step {progress.step}: "
                f"{progress.validations_since_best} validations without a better PER"
            )
        if num_skipped := progress.skipped_steps - progress.scale_search_steps:
            self.console.warn(f"{num_skipped} steps were skipped because their gradient was not finite")
        if progress.has_best:
            self.console.say(
                f"done: {progress.step} steps, best validation PER {100 * progress.best_per:.2f} % "
                f"at step {progress.best_step}; {self.folder.best if self.config.save_best_checkpoint else ''}"
            )
        else:
            self.console.say(f"done: {progress.step} steps")
