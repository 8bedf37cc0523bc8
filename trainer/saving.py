"""What a training run writes and when it is durable: resume states, the best model, official files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.checkpoint import Checkpointer, step_files
from trainer.config import Config
from trainer.corpus import Corpus
from trainer.errors import CheckpointError, CheckpointNotSaved
from trainer.evaluation import Evaluation
from trainer.metrics import MetricsTable, StepRow
from trainer.official import official_checkpoint, save_official, save_val_metrics, val_metrics
from trainer.official_checkpoint import load_official
from trainer.run_folder import RunFolder
from trainer.state import Progress, best_weights, pack_metrics, pack_state
from trainer.step import StepRunner

__all__ = ["Bystander", "RunSaver", "Saver"]


class Saver(Protocol):
    """What the training loop tells about its results."""

    @property
    def last_step(self) -> int:
        """Step of the newest state that was saved or resumed; -1 for none."""
        ...

    def due(self) -> bool:
        """Whether it is time to save the last finished step."""
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

    def due(self) -> bool:
        """The first process decides for itself."""
        return False

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
    counts it exists, so a crash in between only makes the resumed run write it once more. The state holds it
    as well, for a machine to which only the state comes and for a disk that refuses the other file.
    """

    def __init__(
        self, folder: RunFolder, config: Config, runner: StepRunner, progress: Progress, table: MetricsTable,
        place: Mapping[str, Any], data: str, *, say: Callable[[str], None], warn: Callable[[str], None],
        last_step: int = -1, best_model: dict[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._config = config
        self._runner = runner
        self._progress = progress
        self._table = table
        self._place = place
        self._data = data
        self._say = say
        self._warn = warn
        self._best_model = best_model
        every = config.checkpoints
        self._checkpointer = Checkpointer(
            folder.checkpoints,
            keep=every.keep,
            every_s=every.every_s,
            every_steps=config.batches_per_save,
            warn=warn,
        )
        self._last_step = last_step
        self._owes_best = False
        """Whether ``best_checkpoint`` is still to be written: the disk has refused it."""

    @property
    def last_step(self) -> int:
        """Step of the newest state that was saved or resumed; -1 when it could not be written."""
        return -1 if self._checkpointer.failed else self._last_step

    def due(self) -> bool:
        """Whether the interval in steps or in seconds is over."""
        return self._checkpointer.due(self._progress.step) and self.last_step != self._progress.step

    def has_checkpoint(self) -> bool:
        """Whether there is any resume state in the folder."""
        return bool(step_files(self._folder.checkpoints))

    def save(self, *, best: bool = False, wait: bool = False, held_row: list[float] | None = None) -> None:
        """Save the last finished step; with `best` its model becomes the best one.

        Returns after the copy unless `wait`, which raises `CheckpointNotSaved` on failure.
        """
        state = pack_state(self._runner, self._progress, self._config, self._place, self._data)
        if best:
            self._best_model = _copy_of(state["model"], self._best_model)
        elif self._best_model is not None:
            state["best_model"] = self._best_model
        state["metrics_position"] = self._table.position
        state["held_row"] = held_row
        self._last_step = self._progress.step
        self._checkpointer.save(
            self._progress.step, state, wait=wait, prepare=functools.partial(self._complete, best=best)
        )

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
        """Write ``best_checkpoint`` again on a machine to which only the resume state came, or where the disk
        had refused it.
        """
        progress = self._progress
        if not self._config.save_best_checkpoint or not progress.has_best or self._best_on_disk():
            return
        if best_weights(state) is None:
            self._warn(f"the best model, of step {progress.best_step}, is lost: this state does not hold it")
            return
        self._write_best(state)
        self._say(f"wrote the best model, of step {progress.best_step}, again to {self._folder.best}")

    def _best_on_disk(self) -> bool:
        """Whether ``best_checkpoint`` is the best model that the run knows of."""
        try:
            found = load_official(self._folder.best)
        except CheckpointError:
            return False
        return (found.get("val_PER"), found.get("val_loss")) == (
            self._progress.best_per,
            self._progress.best_loss,
        )

    def finish(self) -> None:
        """Return when the last state is durable. Raises `CheckpointNotSaved` when it could not be written."""
        self._checkpointer.close(check=True)
        if self._owes_best:
            raise CheckpointNotSaved(
                f"the best model, of step {self._progress.best_step}, could not be written to {self._folder.best}",
                left_behind=f"it is part of {self._checkpointer.last_saved}",
                hint="make room and start again with the same --run-dir: that writes it",
            )

    def close(self) -> None:
        """Wait for the last write, whether it succeeds or not, and close metrics.csv."""
        self._checkpointer.close()
        self._table.close()

    def _complete(self, state: dict[str, Any], *, best: bool) -> None:
        """In the writing thread: a new best model first, then what the state that counts it needs.

        Where the disk refuses the best model, the state keeps it and the next save tries again.
        """
        self._owes_best |= best and self._config.save_best_checkpoint
        if self._owes_best:
            try:
                self._write_best(state)
                self._owes_best = False
            except OSError as error:
                self._warn(
                    f"{self._folder.best} could not be written: {error.strerror or error}; training goes on"
                )
        self._table.sync()
        state["metrics"] = pack_metrics(self._table.content(state["metrics_position"]))

    def _write_best(self, state: Mapping[str, Any]) -> None:
        """Write the best model of `state` in the official form.

        The optimiser's moments are those of the present model, and left out where the best one is older.
        """
        progress, older = state["progress"], state.get("best_model")
        optimizer = state["optimizer"] if older is None else {**state["optimizer"], "state": {}}
        checkpoint = official_checkpoint(
            state["model"] if older is None else older, optimizer, state["scheduler"],
            progress["best_per"], progress["best_loss"],
        )  # fmt: skip
        save_official(self._folder.best, checkpoint)


def _copy_of(model: Mapping[str, Tensor], buffers: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """The weights in CPU memory of their own, reusing `buffers`."""
    if buffers is None:
        return {name: value.detach().to("cpu", copy=True) for name, value in model.items()}
    with torch.no_grad():
        for name, value in model.items():
            buffers[name].copy_(value)
    return buffers
