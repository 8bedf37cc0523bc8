"""What a training run writes and when it is durable: resume states, the best model, official files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.checkpoint import Checkpointer, step_files
from trainer.config import Config
from trainer.corpus import Corpus
from trainer.evaluation import Evaluation
from trainer.metrics import MetricsTable, StepRow
from trainer.official import official_checkpoint, save_official, save_val_metrics, val_metrics
from trainer.run_folder import RunFolder
from trainer.state import Progress, pack_metrics, pack_state
from trainer.step import StepRunner

__all__ = ["Bystander", "RunSaver", "Saver"]


class Saver(Protocol):
    """What the training loop tells about its results."""

    last_step: int
    """Step of the newest state that was saved or resumed; -1 for none."""

    @property
    def busy(self) -> bool:
        """Whether the last save is still being written."""
        ...

    def has_checkpoint(self) -> bool:
        """Whether there is any resume state in the folder."""
        ...

    def record(self, rows: Sequence[StepRow]) -> None:
        """Add lines to metrics.csv."""
        ...

    def save(self, *, best: bool = False, wait: bool = False, held_row: list[float] | None = None) -> None:
        """Save the last finished step."""
        ...

    def save_validation(self, evaluation: Evaluation, corpus: Corpus, *, best: bool) -> None:
        """Write the by-products of a validation that the configuration asks for."""
        ...

    def save_final(self, per: float, loss: float) -> None:
        """Write the last model where the configuration asks for it."""
        ...

    def finish(self) -> None:
        """Return when the last state is durable."""
        ...

    def close(self) -> None:
        """Wait for the last write and close the files."""
        ...


class Bystander:
    """The saver of a process that leaves writing to the first one."""

    def __init__(self, progress: Progress, last_step: int) -> None:
        self._progress = progress
        self.last_step = last_step

    busy = False

    def has_checkpoint(self) -> bool:
        """The first process decides."""
        return True

    def record(self, rows: Sequence[StepRow]) -> None:
        """Nothing to do."""

    def save(self, *, best: bool = False, wait: bool = False, held_row: list[float] | None = None) -> None:
        """Keep count with the first process."""
        self.last_step = self._progress.step

    def save_validation(self, evaluation: Evaluation, corpus: Corpus, *, best: bool) -> None:
        """Nothing to do."""

    def save_final(self, per: float, loss: float) -> None:
        """Nothing to do."""

    def finish(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class RunSaver:
    """Saves one run. A new best model becomes ``checkpoint/best_checkpoint`` before the resume state that
    counts it exists, so a crash in between only makes the resumed run write it once more.
    """

    def __init__(
        self, folder: RunFolder, config: Config, runner: StepRunner, progress: Progress, table: MetricsTable,
        place: Mapping[str, Any], *, say: Callable[[str], None], warn: Callable[[str], None],
        last_step: int = -1, best_model: dict[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._config = config
        self._runner = runner
        self._progress = progress
        self._table = table
        self._place = place
        self._say = say
        self._warn = warn
        self._best_model = best_model
        self._checkpointer = Checkpointer(folder.checkpoints, keep=config.checkpoints.keep, warn=warn)
        self.last_step = last_step
        """Step of the newest state that was saved or resumed."""

    @property
    def busy(self) -> bool:
        """Whether the last save is still being written."""
        return self._checkpointer.busy

    def has_checkpoint(self) -> bool:
        """Whether there is any resume state in the folder."""
        return bool(step_files(self._folder.checkpoints))

    def save(self, *, best: bool = False, wait: bool = False, held_row: list[float] | None = None) -> None:
        """Save the last finished step; with `best` its model becomes the best one.

        Returns after the copy unless `wait`, which raises `CheckpointNotSaved` on failure.
        """
        state = pack_state(self._runner, self._progress, self._config, self._place)
        if best:
            self._best_model = _copy_of(state["model"], self._best_model)
        elif self._best_model is not None:
            state["best_model"] = self._best_model
        state["metrics_position"] = self._table.position
        state["held_row"] = held_row
        self._checkpointer.save(
            self._progress.step, state, wait=wait, prepare=self._publish_best if best else self._add_metrics
        )
        self.last_step = self._progress.step

    def record(self, rows: Sequence[StepRow]) -> None:
        """Add lines to metrics.csv."""
        self._table.append(rows)

    def save_validation(self, evaluation: Evaluation, corpus: Corpus, *, best: bool) -> None:
        """Write the by-products of a validation that the configuration asks for; a full disk is a warning."""
        config = self._config
        try:
            if best and config.save_val_metrics:
                save_val_metrics(
                    self._folder.val_metrics,
                    val_metrics(
                        evaluation, corpus, batch_size=config.dataset.batch_size,
                        with_logits=config.save_val_logits, with_data=config.save_val_data,
                    ),
                )  # fmt: skip
            if config.save_all_val_steps:
                self._save_model(f"checkpoint_batch_{self._progress.step}", evaluation.per, evaluation.loss)
        except OSError as error:
            self._warn(f"{self._folder.official}: {error.strerror or error}; training goes on")

    def save_final(self, per: float, loss: float) -> None:
        """Write the last model where the configuration asks for it. Raises OSError."""
        if self._config.save_final_model:
            self._save_model(f"final_checkpoint_batch_{self._progress.step}", per, loss)

    def _save_model(self, name: str, per: float, loss: float) -> None:
        """Write the current model in the official form under `name`."""
        runner = self._runner
        checkpoint = official_checkpoint(
            runner.model.state_dict(), runner.optimizer.state_dict(), runner.scheduler.state_dict(), per, loss
        )
        save_official(self._folder.official / name, checkpoint)

    def restore_best(self, state: Mapping[str, Any]) -> None:
        """Write ``best_checkpoint`` again on a machine to which only the resume state came.

        Its weights are the best model's; the optimiser's moments are the present ones where the best model
        is the present one, and left out otherwise.
        """
        if self._folder.best.exists() or not self._progress.has_best or not self._config.save_best_checkpoint:
            return
        optimizer = state["optimizer"]
        if self._best_model is not None:
            optimizer = {**optimizer, "state": {}}
        weights = self._best_model if self._best_model is not None else state["model"]
        progress = self._progress
        checkpoint = official_checkpoint(
            weights, optimizer, state["scheduler"], progress.best_per, progress.best_loss
        )
        save_official(self._folder.best, checkpoint)
        self._say(f"wrote the best model, of step {progress.best_step}, again to {self._folder.best}")

    def finish(self) -> None:
        """Return when the last state is durable. Raises `CheckpointNotSaved` when it could not be written."""
        self._checkpointer.close(check=True)

    def close(self) -> None:
        """Wait for the last write, whether it succeeds or not, and close metrics.csv."""
        self._checkpointer.close()
        self._table.close()

    def _publish_best(self, state: dict[str, Any]) -> None:
        """In the writing thread: the best model first, then the state that counts it."""
        progress = state["progress"]
        if self._config.save_best_checkpoint:
            checkpoint = official_checkpoint(
                state["model"],
                state["optimizer"],
                state["scheduler"],
                progress["best_per"],
                progress["best_loss"],
            )
            save_official(self._folder.best, checkpoint)
        self._add_metrics(state)

    def _add_metrics(self, state: dict[str, Any]) -> None:
        self._table.sync()
        state["metrics"] = pack_metrics(self._table.content(state["metrics_position"]))


def _copy_of(model: Mapping[str, Tensor], buffers: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """The weights in CPU memory of their own, reusing `buffers`."""
    if buffers is None:
        return {name: value.detach().to("cpu", copy=True) for name, value in model.items()}
    with torch.no_grad():
        for name, value in model.items():
            buffers[name].copy_(value)
    return buffers
