"""What the commands ``train`` and ``evaluate`` do, as functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from trainer.config import Config
from trainer.config_reader import load_config
from trainer.contract import Exit, JobEnvironment
from trainer.errors import ConfigError
from trainer.interrupt import Interrupt
from trainer.loop import TrainingLoop
from trainer.progress import Console
from trainer.run_folder import locate_data, locate_run
from trainer.setup import prepare

__all__ = ["evaluate", "train"]


def train(
    *, config_path: Path | None, overrides: Sequence[str] = (), run_dir: Path | None = None,
    data_dir: Path | None = None, resume: str = "auto", limit_batches: int | None = None,
    job: JobEnvironment | None = None, console: Console | None = None,
) -> Exit:  # fmt: skip
    """Train until done or asked to leave. Every failure is a `TrainerError`, or a bug."""
    job = JobEnvironment.read() if job is None else job
    config = _limited(load_config(config_path, overrides), limit_batches)
    data = locate_data(config, data_dir, job)
    folder = locate_run(config, run_dir, job)
    folder.create()
    own_console = Console(folder.log) if console is None else console
    try:
        with Interrupt() as interrupt:
            training = prepare(
                config, folder, data, resume=resume, job=job, console=own_console, limit_batches=limit_batches
            )
            return TrainingLoop(training, interrupt).run()
    finally:
        own_console.close()


def _limited(config: Config, limit: int | None) -> Config:
    if limit is None:
        return config
    if limit < 1:
        raise ConfigError(f"--limit-batches must be at least 1, found {limit}")
    return dataclasses.replace(config, num_training_batches=min(limit, config.num_training_batches))


def evaluate(
    *, run_dir: Path, data_dir: Path | None = None, checkpoint: Path | None = None, split: str = "val",
    output: Path | None = None, device: str | None = None, num_confusions: int = 10,
    limit_batches: int | None = None, console: Console | None = None,
) -> Exit:  # fmt: skip
    """Decode a split with a trained model, report PER by session and overall, write a CSV per trial."""
    from trainer.evaluate import evaluate_run

    return evaluate_run(
        run_dir=run_dir, data_dir=data_dir, checkpoint=checkpoint, split=split, output=output, device=device,
        num_confusions=num_confusions, limit_batches=limit_batches, console=console or Console(),
    )  # fmt: skip
