"""What the commands ``train`` and ``evaluate`` do, as functions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from trainer.config_checks import check_limit
from trainer.config_reader import load_config
from trainer.contract import Exit, JobEnvironment
from trainer.interrupt import Interrupt
from trainer.loading import LeftEarly
from trainer.loop import TrainingLoop
from trainer.peers import join, world
from trainer.progress import Console
from trainer.run_folder import locate_data, locate_run
from trainer.setup import RunRequest, choose_compute, prepare

__all__ = ["evaluate", "train"]


def train(
    *, config_path: Path | None, overrides: Sequence[str] = (), run_dir: Path | None = None,
    data_dir: Path | None = None, resume: str = "auto", require: Sequence[str] = (), limit_batches: int | None = None,
    job: JobEnvironment | None = None, console: Console | None = None,
) -> Exit:  # fmt: skip
    """Train until done or asked to leave. Every failure is a `TrainerError`, or a bug."""
    job = JobEnvironment.read() if job is None else job
    config = load_config(config_path, overrides)
    check_limit(limit_batches)
    data = locate_data(config, data_dir, job)
    folder = locate_run(config, run_dir, job)
    is_first = world()[0] == 0
    if is_first:
        folder.create()
    if console is None:
        console = Console(folder.log) if is_first else Console(quiet=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(console))
        interrupt = stack.enter_context(Interrupt())
        try:
            if is_first:
                stack.enter_context(folder.held(interrupt, console.say))
            compute = choose_compute(config, console)
            peers = stack.enter_context(join(compute.device, interrupt))
            request = RunRequest(
                config=config, folder=folder, data_dir=data, resume=resume, require=require, job=job,
                console=console, limit_batches=limit_batches, peers=peers, interrupt=interrupt,
            )  # fmt: skip
            training = stack.enter_context(contextlib.closing(prepare(request, compute)))
        except (LeftEarly, RuntimeError) as error:
            # A peer that was asked a moment earlier is gone, and torch only knows of a broken connection.
            if not isinstance(error, LeftEarly) and not (interrupt.requested and world()[1] > 1):
                raise
            console.say(f"{interrupt.name}: leaving before the first step; start me again")
            return Exit.INTERRUPTED
        return TrainingLoop(training, interrupt).run()


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
