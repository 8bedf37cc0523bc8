"""Putting a training run together, in the order in which mistakes are cheapest to find."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.batches import Assembler
from trainer.checkpoint import Checkpoint
from trainer.config import Config
from trainer.contract import JobEnvironment
from trainer.corpus import Corpus, load_corpus
from trainer.metrics import MetricsTable, MetricsWriter
from trainer.model import build_model, parameter_counts
from trainer.official import save_args, save_trials
from trainer.optimisation import build_optimizer, build_scheduler, freeze
from trainer.pack import default_cache_dir
from trainer.precision import Precision, choose_device, choose_precision
from trainer.progress import Console
from trainer.randomness import stream_seed
from trainer.resume import find_checkpoint
from trainer.run_folder import RunFolder
from trainer.sampling import BatchSampler
from trainer.saving import RunSaver
from trainer.sessions import data_root, find_sessions
from trainer.smoothing import Smoother
from trainer.state import Progress, environment, environment_differences, restore, unpack_metrics
from trainer.step import StepRunner
from trainer.training_run import TrainingRun

__all__ = ["cache_dir", "prepare", "prepare_compute"]


def prepare(
    config: Config, folder: RunFolder, data_dir: Path, *, resume: str, job: JobEnvironment, console: Console,
    limit_batches: int | None = None,
) -> TrainingRun:  # fmt: skip
    """Check everything and build the run; nothing is trained yet.

    Raises `ConfigError`, `DataError`, `DeviceUnavailable` or a `CheckpointError`.
    """
    device, precision = prepare_compute(config, console)
    root = data_root(data_dir)
    sessions = find_sessions(root, config.dataset.sessions)
    checkpoint = find_checkpoint(resume, folder, job, console.warn)
    data = _load_data(config, root, sessions, console)
    config = _with_sessions(config, sessions)
    progress = _fresh_progress(config)
    runner = _build_runner(config, device, precision, progress, sessions, data.smoother)
    if checkpoint is not None:
        progress = _resume(checkpoint, runner, config, environment(device, precision.name), console)
        runner.seed = progress.seed
    _announce(console, runner, checkpoint, progress, config)
    return _assemble(
        config,
        folder,
        console,
        device,
        precision,
        sessions,
        data,
        runner,
        progress,
        checkpoint,
        job,
        limit_batches,
    )


@dataclass(frozen=True, slots=True)
class _Data:
    train: Corpus
    val: Corpus
    val_days: tuple[int, ...]
    smoother: Smoother


def prepare_compute(config: Config, console: Console) -> tuple[torch.device, Precision]:
    """Choose device, threads and precision, and say them with their reasons."""
    device, why = choose_device(config)
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    precision = choose_precision(config, device)
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    console.say(f"device: {device} ({name}; {why})")
    console.say(f"precision: {precision.name} ({precision.reason})")
    return device, precision


def cache_dir(config: Config) -> Path | None:
    """Where packed trials go; None when they are not packed."""
    if config.compute.cache == "off":
        return None
    return Path(config.compute.cache_dir) if config.compute.cache_dir else default_cache_dir()


def _load_data(config: Config, root: Path, sessions: Sequence[str], console: Console) -> _Data:
    cache = cache_dir(config)
    train = load_corpus(config, root, sessions, "train", cache_dir=cache, say=console.warn)
    val = load_corpus(config, root, sessions, "val", cache_dir=cache, say=console.warn)
    wanted = config.dataset.dataset_probability_val or (1,) * len(sessions)
    val_days = tuple(day for day in sorted(val.by_day) if day < len(wanted) and wanted[day])
    if config.log_val_skip_logs:
        for day in range(len(sessions)):
            if day not in val_days:
                console.say(f"no validation on session {sessions[day]}")
    num_val = sum(len(val.by_day[day]) for day in val_days)
    console.say(
        f"data: {len(sessions)} sessions, {len(train)} training and {num_val} validation trials in {root}"
    )
    return _Data(train, val, val_days, Smoother(config.dataset.data_transforms))


def _with_sessions(config: Config, sessions: Sequence[str]) -> Config:
    """The configuration with the sessions that were found, as checkpoints record it."""
    return dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, sessions=tuple(sessions)))


def _fresh_progress(config: Config) -> Progress:
    def drawn(seed: int) -> int:
        return secrets.randbits(31) if seed == -1 else seed

    size = config.dataset.batch_size
    return Progress(
        seed=drawn(config.seed), data_seed=drawn(config.dataset.seed),
        micro_batch_size=min(size, config.compute.micro_batch_size or size),
    )  # fmt: skip


def _build_runner(
    config: Config, device: torch.device, precision: Precision, progress: Progress, sessions: Sequence[str],
    smoother: Smoother,
) -> StepRunner:  # fmt: skip
    torch.manual_seed(stream_seed(progress.seed, "weights"))
    model = build_model(config, len(sessions))
    freeze(model, config)
    model.to(device)
    optimizer = build_optimizer(model, config)
    scheduler = build_scheduler(optimizer, config)
    return StepRunner(
        model, optimizer, scheduler, smoother, config, device=device, precision=precision, seed=progress.seed
    )


def _resume(
    checkpoint: Checkpoint, runner: StepRunner, config: Config, place: dict[str, object], console: Console
) -> Progress:
    progress = restore(checkpoint.state, runner, config, checkpoint.path)
    differences = environment_differences(checkpoint.state["environment"], place)
    if differences:
        console.warn(f"this resume is not bit for bit: {'; '.join(differences)}")
    asked = config.compute.micro_batch_size
    if asked is not None:
        progress.micro_batch_size = min(progress.micro_batch_size, asked)
    return progress


def _announce(
    console: Console, runner: StepRunner, checkpoint: Checkpoint | None, progress: Progress, config: Config
) -> None:
    total, of_days = parameter_counts(dict(runner.model.named_parameters()))
    console.say(f"model: {total:,} parameters, {of_days:,} of them in session layers")
    if checkpoint is not None:
        console.say(
            f"resume: going on after step {progress.step} of {config.num_training_batches}, from {checkpoint.path}"
        )
    else:
        console.say(f"fresh start: {config.num_training_batches} steps, seed {progress.seed}")


def _assemble(
    config: Config, folder: RunFolder, console: Console, device: torch.device, precision: Precision,
    sessions: Sequence[str], data: _Data, runner: StepRunner, progress: Progress, checkpoint: Checkpoint | None,
    job: JobEnvironment, limit_batches: int | None,
) -> TrainingRun:  # fmt: skip
    state = checkpoint.state if checkpoint is not None else None
    table = MetricsTable(folder.metrics, None if state is None else unpack_metrics(state["metrics"]))
    saver = RunSaver(
        folder, config, runner, progress, table, environment(device, precision.name), say=console.say,
        warn=console.warn, best_model=None if state is None else state.get("best_model"),
    )  # fmt: skip
    if state is not None:
        saver.restore_best(state)
    save_args(folder.args, config, sessions, data.val_days)
    save_trials(folder.trials, data.train, data.val)
    on_gpu = device.type == "cuda"
    dataset = config.dataset
    return TrainingRun(
        config=config, folder=folder, console=console, device=device, precision=precision, sessions=sessions,
        val_days=data.val_days, train=data.train, val=data.val,
        sampler=BatchSampler(
            data.train.by_day, batch_size=dataset.batch_size, days_per_batch=dataset.days_per_batch,
            seed=progress.data_seed, must_include_days=dataset.must_include_days or (), num_days=len(sessions),
        ),
        train_assembler=Assembler(
            data.train, config, data.smoother, seed=progress.seed, noise_on_host=not on_gpu, pin=on_gpu
        ),
        val_assembler=Assembler(data.val, config, data.smoother, seed=progress.seed, noise_on_host=True, pin=on_gpu),
        smoother=data.smoother, runner=runner, progress=progress, table=table,
        numbers=MetricsWriter(job.metrics_file), saver=saver,
        held_row=None if state is None else state.get("held_row"), limit_batches=limit_batches,
        last_per=progress.best_per if progress.best_step else None,
    )  # fmt: skip
