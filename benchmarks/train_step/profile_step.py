"""Where the time of one of our steps goes: ``python -m benchmarks.train_step.profile_step --device cuda --size full``

Prints the parts of a step, timed with the device idle in between, and torch's own table of operators.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.train_step.workload import SIZES, official_arguments, write_data
from trainer.config_reader import from_mapping
from trainer.contract import JobEnvironment
from trainer.ctc import ctc_loss
from trainer.evaluation import padded_log_probs
from trainer.layers import on_device
from trainer.model import DropoutSource
from trainer.progress import Console
from trainer.randomness import numpy_generator
from trainer.run_folder import locate_run
from trainer.setup import RunRequest, choose_compute, prepare
from trainer.training_run import TrainingRun


class Stopwatch:
    """Adds up wall time per part."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] += time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step.profile_step")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--size", default="small", choices=tuple(SIZES))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        training = _training(args, Path(folder))
        _parts(training, args.steps)
        _operators(training, args.steps)
        training.close()


def _training(args: argparse.Namespace, folder: Path) -> TrainingRun:
    size = SIZES[args.size]
    data = write_data(folder / "data", size)
    tree: dict[str, Any] = official_arguments(size, data, folder / "run", steps=100, use_amp=True, workers=1)
    tree["compute"] = {"device": args.device, "precision": args.precision, "cache_dir": str(folder / "cache")}
    config = from_mapping(tree)
    job = JobEnvironment.read({})
    run = locate_run(config, None, job)
    run.create()
    console = Console()
    request = RunRequest(config=config, folder=run, data_dir=data, job=job, console=console)
    return prepare(request, choose_compute(config, console))


def _parts(training: TrainingRun, steps: int) -> None:
    """Time each part alone; in training, assembling overlaps with the rest."""
    watch = Stopwatch(training.device)
    for step in range(steps + 2):
        if step == 2:
            watch.seconds.clear()
        _one_step(training, step, watch.part)
    total = sum(watch.seconds.values())
    for name, seconds in watch.seconds.items():
        print(f"{name:<28} {1000 * seconds / steps:9.2f} ms  {100 * seconds / total:5.1f} %")
    print(f"{'sum':<28} {1000 * total / steps:9.2f} ms")


def _one_step(training: TrainingRun, step: int, part: Callable[[str], Any]) -> None:
    runner, dtype = training.runner, training.precision.dtype
    with part("assemble (other thread)"):
        (batch,) = training.micro_batches(step)
    with part("to the device, noise"):
        table = runner.device_table(step, batch)
    with part("smoothing"):
        table = training.smoother(table, batch.layout.rows)
    dropout = DropoutSource(numpy_generator(1, "dropout", step))
    with part("forward"):
        logits = runner.model.forward_packed(table, batch.layout, dropout, dtype)
    with part("CTC loss"):
        labels = on_device(batch.labels, training.device)
        loss = ctc_loss(
            padded_log_probs(logits, batch), labels, batch.output_lengths, batch.label_lengths
        ).mean()
    with part("backward"):
        runner.optimizer.zero_grad(set_to_none=True)
        runner.scaler.scale(loss).backward()
    with part("clip, optimiser, schedule"):
        runner.update(loss.detach())


def _operators(training: TrainingRun, steps: int) -> None:
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if training.device.type == "cuda" else [])
    batches = [training.micro_batches(step) for step in range(steps)]
    with profile(activities=kinds) as recorded:
        for step, pieces in enumerate(batches):
            training.runner.update(
                training.runner.accumulate(step, pieces, training.config.dataset.batch_size)
            )
        if training.device.type == "cuda":
            torch.cuda.synchronize()
    key = "self_cuda_time_total" if training.device.type == "cuda" else "self_cpu_time_total"
    print(recorded.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=50))


if __name__ == "__main__":
    main()
