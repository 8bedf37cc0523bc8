"""The ``bench`` command: how many steps per second this machine takes with a configuration.

Real steps on real memory: assembly ahead of time, forward, loss, backward, update, and smaller micro-batches when
memory runs out. Validations, checkpoints and reports are not in the number.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from trainer.bench_data import write_like
from trainer.config import Config
from trainer.config_reader import load_config
from trainer.contract import JobEnvironment
from trainer.errors import ConfigError
from trainer.interrupt import Interrupt
from trainer.loop import TrainingLoop
from trainer.model import parameter_counts
from trainer.peers import world
from trainer.progress import Console
from trainer.run_folder import RunFolder
from trainer.setup import RunRequest, choose_compute, prepare
from trainer.state import environment
from trainer.training_run import TrainingRun

__all__ = ["bench", "lines"]


def bench(
    *, config_path: Path | None, overrides: Sequence[str], data_dir: Path | None, workload: str, steps: int,
    warm_up: int, median_bins: int, console: Console,
) -> dict[str, Any]:  # fmt: skip
    """Take `warm_up` and then `steps` training steps, and return what was measured, ready for JSON.

    Without `data_dir`, trials of random numbers are made for the configuration, `median_bins` long; they lie in a
    temporary folder meanwhile, and so does all else that is written. `benchmarks.train_step.paces` reads the result.
    """
    for name, number in (("--steps", steps), ("--bins", median_bins)):
        if number < 1:
            raise ConfigError(f"{name} must be at least 1, found {number}")
    if warm_up < 0:
        raise ConfigError(f"--warm-up must be at least 0, found {warm_up}")
    if world()[1] > 1:
        raise ConfigError("trainer bench measures one process: start it without torchrun")
    config = _bare(load_config(config_path, overrides))
    with tempfile.TemporaryDirectory(prefix="trainer-bench-") as scratch, Interrupt() as interrupt:
        if data_dir is None:
            config = write_like(config, Path(scratch) / "data", median_bins)
            config = _cached_in(config, Path(scratch) / "cache")
        compute = choose_compute(config, console)
        root = Path(scratch) / "run"
        folder = RunFolder(root=root, checkpoints=root / "checkpoints", official=root / "checkpoint")
        folder.create()
        request = RunRequest(
            config=config, folder=folder, data_dir=data_dir or Path(scratch) / "data", resume="never",
            job=JobEnvironment.read({}), console=Console(folder.log, quiet=True), interrupt=interrupt,
        )  # fmt: skip
        with closing(request.console), closing(prepare(request, compute)) as training:
            result = _measured(training, interrupt, steps, warm_up)
        place = environment(compute.device, compute.precision.name)
    result |= {
        "size": workload,
        "reason": compute.precision.reason,
        "data": "given" if data_dir else "synthetic",
    }
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": {"cores": os.cpu_count(), "python": platform.python_version(), **place}, "results": [result],
    }  # fmt: skip


def lines(report: dict[str, Any]) -> list[str]:
    """The report for people."""
    (found,) = report["results"]
    micro, size = found["micro_batch_size"], found["batch_size"]
    pieces = "" if micro >= size else f", in micro-batches of {micro}"
    timed = f"{found['steps']} steps in {found['seconds']:.1f} s"
    return [
        f"model: {found['parameters']:,} parameters; batches of {size}{pieces}; {found['data']} data",
        f"warm-up: {found['warm_up_steps']} steps, {found['warm_up_s']:.1f} s",
        f"{found['steps_per_s']:.4g} steps/s, {found['trials_per_s']:.4g} trials/s ({timed})",
        f"memory: {found['memory_peak_gib']:.2f} GiB at most",
    ]


def _bare(config: Config) -> Config:
    """The steps of this configuration without what goes on around them; random weights are as fast as others."""
    return dataclasses.replace(
        config, init_from_checkpoint=False,
        safety=dataclasses.replace(config.safety, validate_first=False),
        records=dataclasses.replace(config.records, curves=False, tensorboard=False),
    )  # fmt: skip


def _cached_in(config: Config, folder: Path) -> Config:
    if config.compute.cache == "none":
        return config
    return dataclasses.replace(config, compute=dataclasses.replace(config.compute, cache_dir=str(folder)))


def _measured(training: TrainingRun, interrupt: Interrupt, steps: int, warm_up: int) -> dict[str, Any]:
    loop, device = TrainingLoop(training, interrupt), training.device
    batch_size = training.config.dataset.batch_size
    started = time.perf_counter()
    loop.take_steps(range(warm_up))
    _wait_for(device)
    begun = time.perf_counter()
    loop.take_steps(range(warm_up, warm_up + steps))
    _wait_for(device)
    seconds = time.perf_counter() - begun
    return {
        "steps_per_s": steps / seconds, "trials_per_s": steps * batch_size / seconds, "seconds": seconds,
        "steps": steps, "warm_up_steps": warm_up, "warm_up_s": begun - started, "batch_size": batch_size,
        "micro_batch_size": training.progress.micro_batch_size, "precision": training.precision.name,
        "parameters": parameter_counts(dict(training.runner.model.named_parameters()))[0],
        "memory_peak_gib": _peak_gib(device),
    }  # fmt: skip


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_gib(device: torch.device) -> float:
    """Most memory so far: of the GPU as torch reserved it, on the CPU of this process, data included."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device) / 2**30)
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30)
