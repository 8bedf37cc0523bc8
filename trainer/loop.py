"""The training loop: load, step, validate, save."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from trainer.batches import Batch, Prefetcher
from trainer.contract import Exit
from trainer.errors import CheckpointNotSaved, OutOfMemory, TrainerError, TrainingDiverged
from trainer.evaluation import Evaluation, evaluate
from trainer.interrupt import Interrupt
from trainer.loading import LeftEarly
from trainer.memory import is_out_of_memory
from trainer.metrics import StepRow
from trainer.progress import Speed, duration_words
from trainer.step import StepValues
from trainer.training_run import TrainingRun

__all__ = ["TrainingLoop"]

AGREEMENT_INTERVAL = 10
"""Steps between two looks at the other processes' interrupts, on GPUs."""
STATUS_INTERVAL_S = 5.0
"""Longest silence, where the configured log interval is longer."""


class _LeftValidation(Exception):
    """Somebody asked to save and leave while a validation was under way; the next process repeats it."""


class TrainingLoop:
    """Trains a model to its end, or until somebody asks it to save and leave."""

    def __init__(self, training: TrainingRun, interrupt: Interrupt) -> None:
        self._training = training
        self._interrupt = interrupt
        self._progress = training.progress
        self._config = training.config
        self._total = training.config.num_training_batches
        self._pending: list[tuple[int, StepValues, list[float]]] = []
        self._validating = False
        self._owes_best = False
        """Whether the model of the last step counts as the best one, and is not saved as such yet."""
        self._speed = Speed()
        self._last_status = time.monotonic()
        self._consistent = True
        self._last_values: dict[str, float | None] = {}

    def run(self) -> Exit:
        """Train. Returns DONE or INTERRUPTED; any error is raised after an emergency checkpoint."""
        try:
            return self._train()
        except _LeftValidation:
            return self._leave(held_row=self._hold_row())
        except BaseException as error:
            self._emergency(error)
            raise

    def _train(self) -> Exit:
        self._speed.mark(self._progress.step)
        owes_validation = self._take_up_held_row() or (
            self._training.owes_first_validation and self._training.validates
        )
        if (owes_validation and self._validate()) or self._training.stopped_early:
            self._finish()
            return Exit.DONE
        steps = range(self._progress.step, self._total)
        with self._prefetch(steps) as batches:
            for step, micro_batches in zip(steps, batches, strict=False):
                if self._asked_to_leave(step):
                    return self._leave()
                self._take_step(step, micro_batches)
                if self._validation_is_due() and self._validate():
                    break
                self._report_when_due()
                self._save_when_due()
        self._finish()
        return Exit.DONE

    def _asked_to_leave(self, step: int) -> bool:
        """Whether any process was asked to; all agree on the step, and GPUs are not made to wait for each."""
        peers = self._training.peers
        interval = 1 if self._training.device.type == "cpu" or peers.size == 1 else AGREEMENT_INTERVAL
        return step % interval == 0 and peers.any(self._interrupt.requested)

    # --- load

    def _prefetch(self, steps: range) -> Prefetcher[int, list[Batch]]:
        # On the CPU more than two threads would only take cores from the training itself.
        most = 2 if self._training.device.type == "cpu" else max(2, (os.cpu_count() or 2) - 1)
        threads = min(most, self._config.dataset.num_dataloader_workers)
        ahead = self._config.compute.prefetch_batches
        return Prefetcher(steps, self._training.micro_batches, num_threads=threads, ahead=ahead)

    # --- step

    def take_steps(self, steps: range) -> None:
        """Take training steps and nothing else: no validation, report or save. For measuring their speed."""
        with self._prefetch(steps) as batches:
            for step, micro_batches in zip(steps, batches, strict=False):
                if self._interrupt.requested:
                    raise LeftEarly
                self._take_step(step, micro_batches)
        self._pending.clear()

    def _take_step(self, step: int, micro_batches: list[Batch]) -> None:
        runner = self._training.runner
        rates = [group["lr"] for group in runner.optimizer.param_groups]
        loss = self._accumulate(step, micro_batches)
        self._consistent = False  # between here and the next line but one the state is of no step
        values = runner.update(loss)
        self._progress.step = step + 1
        self._consistent = True
        self._pending.append((step + 1, values, rates))

    def _accumulate(self, step: int, micro_batches: list[Batch]) -> torch.Tensor:
        """Gradients of the whole batch, in smaller pieces when the device's memory asks for it."""
        training, progress = self._training, self._progress
        while True:
            if max((len(b.positions) for b in micro_batches), default=0) > progress.micro_batch_size:
                micro_batches = training.micro_batches(step)  # assembled before memory ran out
            try:
                loss = training.runner.accumulate(step, micro_batches, self._config.dataset.batch_size)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Not in the except clause: there the traceback still holds the tensors of the failed pass.
            self._shrink(step)
            micro_batches = training.micro_batches(step)
        if training.peers.size == 1:
            return loss
        return training.peers.sum_gradients(training.trained_parameters(step), loss)

    def _shrink(self, step: int) -> None:
        """Halve the micro-batch; the step that ran out of memory is taken again, with the same trials."""
        progress, training = self._progress, self._training
        if progress.micro_batch_size == 1:
            raise OutOfMemory(
                f"step {step + 1} does not fit the memory of {training.device}, even one trial at a time",
                hint="take a device with more memory, or lower model.n_units",
            )
        progress.micro_batch_size = (progress.micro_batch_size + 1) // 2
        training.runner.release_memory()
        training.observers.event("out_of_memory", step, micro_batch_size=progress.micro_batch_size)
        training.console.warn(
            f"out of memory at step {step + 1}: going on with micro-batches of {progress.micro_batch_size}, "
            f"{self._config.dataset.batch_size} trials per step as before"
        )

    def _flush(self, evaluation: Evaluation | None = None) -> None:
        """Turn pending values into rows of metrics.csv; the one place that waits for the device."""
        if not self._pending:
            # Before the first step there is nothing but the validation.
            if evaluation is not None and self._progress.step == 0:
                self._write_rows(
                    [StepRow(step=0, epoch=0.0, val_loss=evaluation.loss, val_per=evaluation.per)]
                )
            return
        pending = [torch.stack([v.loss, v.grad_norm, v.lowered_scale]) for _, v, _ in self._pending]
        values = torch.stack(pending).tolist()
        rows = []
        for (step, _, rates), (loss, norm, lowered_scale) in zip(self._pending, values, strict=True):
            self._count_nonfinite(norm, lowered_scale > 0)
            last = step == self._pending[-1][0]
            rows.append(self._row(step, loss, norm, rates, evaluation if last else None))
        self._pending.clear()
        self._write_rows(rows)

    def _stop_when_diverged(self) -> None:
        if self._progress.nonfinite_in_a_row >= self._config.safety.max_nonfinite_steps:
            raise TrainingDiverged(
                f"the gradient was NaN or infinite for {self._progress.nonfinite_in_a_row} steps in a row, "
                f"up to step {self._progress.step}; all of them were skipped",
                hint="lower lr_max, or look at the data; safety.max_nonfinite_steps sets the limit",
            )

    def _write_rows(self, rows: list[StepRow]) -> None:
        self._training.saver.record(rows)
        self._training.observers.rows(rows)
        self._publish_numbers(rows[-1])

    def _count_nonfinite(self, norm: float, lowered_scale: bool) -> None:
        """The search for a loss scale skips steps too, some 7 at the start on a T4: no sign of divergence."""
        if norm - norm == 0.0:
            self._progress.nonfinite_in_a_row = 0
            return
        self._progress.skipped_steps += 1
        if lowered_scale:
            self._progress.scale_search_steps += 1
        else:
            self._progress.nonfinite_in_a_row += 1

    def _row(
        self, step: int, loss: float, norm: float, rates: list[float], evaluation: Evaluation | None
    ) -> StepRow:
        return StepRow(
            step=step, epoch=step * self._config.dataset.batch_size / len(self._training.train), loss=loss,
            grad_norm=norm, lr=rates[2], lr_day=rates[1], skipped_steps=self._progress.skipped_steps,
            val_loss=evaluation.loss if evaluation else None, val_per=evaluation.per if evaluation else None,
        )  # fmt: skip

    # --- validate

    def _validation_is_due(self) -> bool:
        step = self._progress.step
        return self._training.validates and (
            step % self._config.batches_per_val_step == 0 or step == self._total
        )

    def _validate(self) -> bool:
        """Evaluate, keep the model when it is the best; True when training should stop early."""
        training, progress, started = self._training, self._progress, time.monotonic()
        self._validating = True
        evaluation = evaluate(
            training.runner.model, training.val, training.val_assembler, training.smoother,
            dtype=training.precision.dtype, batch_size=training.validation_batch_size, device=training.device,
            days=training.val_days, limit_batches=training.limit_batches, keep_logits=self._config.save_val_logits,
            peers=training.peers, on_batch=self._leave_when_asked, warn=training.console.warn,
        )  # fmt: skip
        self._flush(evaluation)
        self._validating = False  # its row is written: no later process repeats it
        best = self._owes_best = training.record_validation(evaluation)
        self._stop_when_diverged()
        training.report_validation(evaluation, time.monotonic() - started, best)
        if best:
            self._save(best=True)
        self._speed.mark(progress.step)
        return training.stopped_early

    def _leave_when_asked(self, done: int) -> None:
        """A notice is short and a validation may be long: what is done of it is given up, by all processes at once."""
        if self._training.peers.any(self._interrupt.requested):
            raise _LeftValidation

    # --- save

    def _save_when_due(self) -> None:
        if self._training.saver.due():
            self._save()

    def _save(self, *, best: bool = False, held_row: list[float] | None = None) -> None:
        self._flush()
        self._stop_when_diverged()
        self._training.observers.event("checkpoint", self._progress.step, best=best)
        self._training.saver.save(best=best, held_row=held_row)
        self._owes_best = False

    def _leave(self, held_row: list[float] | None = None) -> Exit:
        """Save the last finished step durably, with its numbers when its validation did not end."""
        console = self._training.console
        self._training.observers.event("interrupted", self._progress.step, by=self._interrupt.name)
        console.say(f"{self._interrupt.name}: saving step {self._progress.step} before leaving")
        try:
            if self._training.saver.last_step != self._progress.step:
                self._save(held_row=held_row)
            self._training.saver.finish()
        except CheckpointNotSaved as error:
            if not self._training.saver.has_checkpoint():
                raise
            console.warn(f"{error}; {error.left_behind}, which a resume will go on from")
            return Exit.INTERRUPTED
        console.say(f"saved {duration_words(self._interrupt.seconds_since())} after the request; resume me")
        return Exit.INTERRUPTED

    def _finish(self) -> None:
        if self._training.saver.last_step != self._progress.step:
            self._save()
        self._training.saver.finish()
        self._training.finish()

    def _emergency(self, error: BaseException) -> None:
        """Save what can be saved before `error` ends the run."""
        training, step = self._training, self._progress.step
        training.observers.event("failed", step, error=str(error))
        if not self._consistent or step in (0, training.saver.last_step):
            return
        try:
            held = self._hold_row() if self._validating else None
            self._flush()
            training.saver.save(wait=True, held_row=held, best=self._owes_best)
            training.console.say(f"emergency checkpoint of step {step} saved")
        except (TrainerError, OSError, RuntimeError, MemoryError) as failure:
            training.console.warn(f"no emergency checkpoint of step {step}: {failure}")

    def _hold_row(self) -> list[float]:
        """The numbers of the last step, whose row must wait for the validation that did not finish.

        Empty before the first step, which has none.
        """
        if not self._pending:
            return []
        _, values, rates = self._pending.pop()
        return [float(values.loss), float(values.grad_norm), *rates, float(values.lowered_scale)]

    def _take_up_held_row(self) -> bool:
        """Whether the checkpoint that is resumed still owes the validation of its step."""
        held = self._training.held_row
        if held is None:
            return False
        if not held:
            return True
        num_rates = len(self._training.runner.optimizer.param_groups)
        loss, norm, *rates = held[: 2 + num_rates]
        lowered_scale = held[2 + num_rates :] or [0.0]  # states of earlier versions do not tell
        values = StepValues(*(torch.tensor(number) for number in (loss, norm, *lowered_scale)))
        self._pending.append((self._progress.step, values, rates))
        return True

    # --- report

    def _report_when_due(self) -> None:
        progress, now = self._progress, time.monotonic()
        by_steps = progress.step % self._config.batches_per_train_log == 0
        if not by_steps and now - self._last_status < STATUS_INTERVAL_S:
            return
        self._speed.mark(progress.step)
        self._flush()
        self._stop_when_diverged()
        if now - self._last_status >= 1.0 or progress.step == self._total:
            self._training.console.status(self._status_line())
            self._last_status = now

    def _status_line(self) -> str:
        progress, loss = self._progress, self._last_values.get("loss")
        parts = [f"step {progress.step}/{self._total}", f"loss {loss:.3f}" if loss is not None else ""]
        per = self._training.last_per
        parts.append(f"PER {100 * per:.1f} %" if per is not None else "")
        speed, left = self._speed.steps_per_s(), self._speed.seconds_left(progress.step, self._total)
        parts.append(f"{speed:.2f} steps/s" if speed else "")
        parts.append(f"{duration_words(left)} left" if left is not None else "")
        return " · ".join(p for p in parts if p)

    def _publish_numbers(self, row: StepRow) -> None:
        self._last_values = {"loss": row.loss}
        numbers: dict[str, Any] = {"loss": row.loss, "grad_norm": row.grad_norm, "lr": row.lr}
        speed = self._speed.steps_per_s()
        self._training.numbers.write(
            row.step, self._total, **numbers, val_loss=row.val_loss, val_per=row.val_per, steps_per_s=speed,
            batch_size=self._config.dataset.batch_size, precision_bits=self._training.precision.bits,
        )  # fmt: skip
