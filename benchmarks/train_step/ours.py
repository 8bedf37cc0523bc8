"""Runs our trainer on the same arguments and times its steps; the loop, logging and checkpoints included.

``python -m benchmarks.train_step.ours ARGUMENTS.json TIMES.json DEVICE [PRECISION]``
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from trainer.config_reader import from_mapping
from trainer.contract import JobEnvironment
from trainer.interrupt import Interrupt
from trainer.loop import TrainingLoop
from trainer.progress import Console
from trainer.run_folder import locate_run
from trainer.setup import RunRequest, choose_compute, prepare


def main(arguments: Path, times: Path, device: str, precision: str = "auto") -> None:
    """Train and write the times at which steps were finished."""
    tree: dict[str, Any] = json.loads(arguments.read_text())
    tree["compute"] = {"device": device, "precision": precision}
    # The device is waited for at the first and the last measured step only, which is when the clock is read.
    warm_up = tree.pop("warm_up")
    tree["batches_per_train_log"] = warm_up
    config = from_mapping(tree)
    job = JobEnvironment.read({})
    with tempfile.TemporaryDirectory() as folder:
        run = locate_run(config, Path(folder) / "run", job)
        run.create()
        console = Console(run.log, quiet=True)
        compute = choose_compute(config, console)
        request = RunRequest(
            config=config, folder=run, data_dir=Path(tree["dataset"]["dataset_dir"]), job=job, console=console
        )
        training = prepare(request, compute)
        loop = _TimedLoop(training, Interrupt())
        loop.steps_to_time = {warm_up, config.num_training_batches}
        loop.run()
        training.close()
        console.close()
    seconds = loop.at[config.num_training_batches] - loop.at[warm_up]
    result = {
        "seconds": seconds, "steps": config.num_training_batches - warm_up, "precision": compute.precision.name,
        "reason": compute.precision.reason, "threads": torch.get_num_threads(),
    }  # fmt: skip
    times.write_text(json.dumps(result))


class _TimedLoop(TrainingLoop):
    """Reads the clock after some steps, with the device idle; nothing else differs."""

    steps_to_time: set[int]

    def _take_step(self, step: int, micro_batches: Any) -> None:
        super()._take_step(step, micro_batches)
        if step + 1 in self.steps_to_time:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.at = {**getattr(self, "at", {}), step + 1: time.perf_counter()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
