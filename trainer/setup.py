"""Putting a training run together, in the order in which mistakes are cheapest to find."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.batches import Assembler
from trainer.checkpoint import Checkpoint
from trainer.config import Config
from trainer.config_checks import check_sessions
from trainer.contract import Exit, JobEnvironment
from trainer.corpus import Corpus, load_corpus
from trainer.errors import CheckpointCorrupt, ConfigError
from trainer.interrupt import Interrupt
from trainer.loading import LoadingWatch
from trainer.metrics import MetricsTable, MetricsWriter
from trainer.model import build_model, parameter_counts
from trainer.observers import Observers, observe
from trainer.official import save_args, save_trials
from trainer.official_checkpoint import load_official_weights
from trainer.optimisation import build_optimizer, build_scheduler, freeze, with_whole_schedule
from trainer.pack import default_cache_dir
from trainer.peers import Peers, processes_here, world
from trainer.precision import Precision, check_device, choose_device, choose_precision, to_device
from trainer.progress import Console
from trainer.randomness import stream_seed
from trainer.resident import make_resident
from trainer.resume import find_checkpoint
from trainer.run_folder import RunFolder
from trainer.sampling import BatchSampler
from trainer.saving import Bystander, RunSaver, Saver
from trainer.sessions import data_root, find_sessions
from trainer.smoothing import Smoother
from trainer.state import (
    Progress,
    begun_with,
    best_weights,
    check_data,
    check_state,
    environment,
    environment_differences,
    restore,
    unpack_metrics,
)
from trainer.step import StepRunner
from trainer.training_run import TrainingRun
from trainer.warm_start import warm_start

__all__ = ["Compute", "RunRequest", "cache_dir", "choose_compute", "prepare"]


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and how precisely this process computes."""

    device: torch.device
    precision: Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """What somebody wants trained, and the surroundings it is trained in."""

    config: Config
    folder: RunFolder
    data_dir: Path
    job: JobEnvironment
    console: Console
    resume: str = "auto"
    """auto, never or a path."""
    require: Sequence[str] = ()
    """Prefixes that a warm start must fill."""
    limit_batches: int | None = None
    """Most training batches of the run, and most batches of each validation."""
    peers: Peers = field(default_factory=Peers)
    interrupt: Interrupt = field(default_factory=Interrupt)
    """Looked at while the data are read."""


@dataclass(frozen=True, slots=True)
class _Data:
    root: Path
    sessions: tuple[str, ...]
    train: Corpus
    val: Corpus
    val_days: tuple[int, ...]
    smoother: Smoother


def prepare(request: RunRequest, compute: Compute) -> TrainingRun:
    """Check everything and build the run; nothing is trained yet.

    Raises `ConfigError`, `DataError`, a `CheckpointError`, or `LeftEarly` when somebody wants the program to
    leave while it reads the data.
    """
    checkpoint = _find(request)
    start = None if checkpoint is not None else _start_weights(request)
    root = data_root(request.data_dir)
    request = dataclasses.replace(request, config=_settled(request, root, checkpoint))
    data = request.peers.first_then_others(lambda: _load_data(request, root))
    progress = request.peers.from_first(_fresh_progress(request.config))
    runner = _build_runner(request.config, compute, progress, data)
    request.peers.make_room([p for p in runner.model.parameters() if p.requires_grad])
    if checkpoint is not None:
        progress = _resume(checkpoint, runner, request, compute, data)
    _announce(request, runner, checkpoint, progress)
    if start is not None:
        _warm_start(request, runner, start)
    return _assemble(request, compute, data, runner, progress, checkpoint)


def _start_weights(request: RunRequest) -> dict[str, Tensor] | None:
    """Weights for a warm start, read before anything that takes longer."""
    config = request.config
    if not config.init_from_checkpoint:
        if request.require:
            raise ConfigError(
                f"--require {request.require[0]}: only a warm start takes parameters", hint=_WARM
            )
        return None
    try:
        return load_official_weights(Path(config.init_checkpoint_path or ""))
    except CheckpointCorrupt as error:
        error.exit_code = Exit.BAD_CONFIG  # somebody named it
        raise


_WARM = "set init_from_checkpoint: true and init_checkpoint_path"


def _settled(request: RunRequest, root: Path, checkpoint: Checkpoint | None) -> Config:
    """The configuration with its sessions and its whole schedule, checked against the state that is resumed."""
    config, begun = request.config, None
    sessions = find_sessions(root, config.dataset.sessions)
    config = dataclasses.replace(config, dataset=dataclasses.replace(config.dataset, sessions=sessions))
    check_sessions(config, sessions)
    if checkpoint is not None:
        begun = begun_with(checkpoint.state, checkpoint.path)
    follows = config.lr_decay_steps is None
    config = with_whole_schedule(config, begun)
    if checkpoint is not None:
        check_state(checkpoint.state, config, checkpoint.path)
        if follows and config.lr_decay_steps != config.num_training_batches:
            request.console.say(
                f"learning rate: the schedule that the run has begun with, at its minimum at step "
                f"{config.lr_decay_steps}; lr_decay_steps sets another in a new run"
            )
    if request.limit_batches is not None:
        limited = min(request.limit_batches, config.num_training_batches)
        config = dataclasses.replace(config, num_training_batches=limited)
    return config


def choose_compute(config: Config, console: Console) -> Compute:
    """Choose device, threads and precision, and say them with their reasons.

    Raises `DeviceUnavailable`, `OutOfMemory` where the GPU is taken, and `ConfigError` where several processes would
    share one.
    """
    device, why = choose_device(_with_own_gpu(config))
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    check_device(device)
    precision = choose_precision(config, device)
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    )
    console.say(f"device: {device} ({name}; {why})")
    console.say(f"precision: {precision.name} ({precision.reason})")
    return Compute(device, precision)


def _with_own_gpu(config: Config) -> Config:
    """With several processes on a machine each takes the GPU of its own number."""
    (_, size, local_rank), here = world(), processes_here()
    wanted = config.compute.device
    if here > 1 and wanted.startswith("cuda:"):
        raise ConfigError(
            f"compute.device: {wanted} with {here} processes on this machine, which need a GPU each",
            hint="say cuda: every process takes the one of its own number",
        )
    on_gpu = wanted == "cuda" or (wanted == "auto" and config.gpu_number >= 0)
    if size == 1 or not on_gpu or not torch.cuda.is_available():
        return config
    return dataclasses.replace(
        config, compute=dataclasses.replace(config.compute, device=f"cuda:{local_rank}")
    )


def cache_dir(config: Config) -> Path | None:
    """Where packed trials go; None when they are not packed."""
    if config.compute.cache == "none":
        return None
    return Path(config.compute.cache_dir) if config.compute.cache_dir else default_cache_dir()


def _find(request: RunRequest) -> Checkpoint | None:
    """Look for a checkpoint in the first process, which sends it to the others."""
    warn = request.console.warn
    return request.peers.done_by_first(
        lambda: find_checkpoint(request.resume, request.folder, request.job, warn)
    )


def _load_data(request: RunRequest, root: Path) -> _Data:
    config, console = request.config, request.console
    sessions, cache = config.dataset.sessions, cache_dir(config)
    watch = LoadingWatch(2 * len(sessions), console, request.interrupt)
    train, val = (
        load_corpus(
            config, root, sessions, split, cache_dir=cache, say=console.warn, on_trial=watch, to_train=True
        )
        for split in ("train", "val")
    )
    wanted = config.dataset.dataset_probability_val or (1,) * len(sessions)
    val_days = tuple(day for day in sorted(val.by_day) if wanted[day])
    if config.log_val_skip_logs:
        for day in sorted(set(range(len(sessions))) - set(val_days)):
            console.say(f"no validation on session {sessions[day]}")
    num_val = sum(len(val.by_day[day]) for day in val_days)
    console.say(
        f"data: {len(sessions)} sessions, {len(train)} training and {num_val} validation trials in {root}"
    )
    if not num_val:
        console.warn(
            "without validation trials no model is the best: checkpoint/best_checkpoint will not be written"
            + ("" if config.save_final_model else "; --set save_final_model=true keeps the last one")
        )
    return _Data(root, sessions, train, val, val_days, Smoother(config.dataset.data_transforms))


def _fresh_progress(config: Config) -> Progress:
    def drawn(seed: int) -> int:
        return secrets.randbits(31) if seed == -1 else seed

    size = config.dataset.batch_size
    micro = min(size, config.compute.micro_batch_size or size)
    return Progress(seed=drawn(config.seed), data_seed=drawn(config.dataset.seed), micro_batch_size=micro)


def _build_runner(config: Config, compute: Compute, progress: Progress, data: _Data) -> StepRunner:
    torch.manual_seed(stream_seed(progress.seed, "weights"))
    model = build_model(config, len(data.sessions))
    freeze(model, config)
    to_device(model, compute.device)
    optimizer = build_optimizer(model, config)
    return StepRunner(
        model, optimizer, build_scheduler(optimizer, config), data.smoother, config,
        device=compute.device, precision=compute.precision, seed=progress.seed,
    )  # fmt: skip


def _resume(
    checkpoint: Checkpoint, runner: StepRunner, request: RunRequest, compute: Compute, data: _Data
) -> Progress:
    check_data(checkpoint.state, data.train.fingerprint, checkpoint.path)
    progress = restore(checkpoint.state, runner, checkpoint.path)
    runner.seed = progress.seed
    here = environment(compute.device, compute.precision.name, request.peers.size)
    differences = environment_differences(checkpoint.state["environment"], here)
    if differences:
        request.console.warn(f"this resume is not bit for bit: {'; '.join(differences)}")
    asked = request.config.compute.micro_batch_size
    if asked is not None:
        progress.micro_batch_size = min(progress.micro_batch_size, asked)
    return progress


def _warm_start(request: RunRequest, runner: StepRunner, weights: Mapping[str, Tensor]) -> None:
    report = warm_start(runner.model, weights, require=request.require)
    request.console.say(f"warm start from {request.config.init_checkpoint_path}: {report.summary()}")
    for line in report.table().splitlines():
        request.console.say(f"  {line}")


def _announce(
    request: RunRequest, runner: StepRunner, checkpoint: Checkpoint | None, progress: Progress
) -> None:
    total, of_days = parameter_counts(dict(runner.model.named_parameters()))
    console, steps = request.console, request.config.num_training_batches
    console.say(f"model: {total:,} parameters, {of_days:,} of them in session layers")
    if request.peers.size > 1:
        console.say(f"{request.peers.size} processes share each batch of {request.config.dataset.batch_size}")
    if checkpoint is not None:
        console.say(f"resume: going on after step {progress.step} of {steps}, from {checkpoint.path}")
    elif not request.config.init_from_checkpoint:
        console.say(f"fresh start: {steps} steps, seed {progress.seed}")


def _assemble(
    request: RunRequest, compute: Compute, data: _Data, runner: StepRunner, progress: Progress,
    checkpoint: Checkpoint | None,
) -> TrainingRun:  # fmt: skip
    config, console = request.config, request.console
    state = checkpoint.state if checkpoint is not None else {}
    assemblers = [
        _assembler(request, compute, data, corpus, progress.seed) for corpus in (data.train, data.val)
    ]
    saver = _build_saver(request, compute, runner, progress, state, data)
    if request.peers.is_first:
        save_args(request.folder.args, config, data.sessions, data.val_days)
        save_trials(request.folder.trials, data.train, data.val)
    dataset = config.dataset
    return TrainingRun(
        config=config, folder=request.folder, console=console, device=compute.device, precision=compute.precision,
        peers=request.peers, sessions=data.sessions, val_days=data.val_days, train=data.train, val=data.val,
        sampler=BatchSampler(
            data.train.by_day, batch_size=dataset.batch_size, days_per_batch=dataset.days_per_batch,
            seed=progress.data_seed, must_include_days=dataset.must_include_days or (), num_days=len(data.sessions),
        ),
        train_assembler=assemblers[0], val_assembler=assemblers[1],
        smoother=data.smoother, runner=runner, progress=progress, saver=saver,
        observers=_observers(request, compute, progress, checkpoint),
        numbers=MetricsWriter(request.job.metrics_file if request.peers.is_first else None),
        owes_first_validation=checkpoint is None and config.safety.validate_first,
        held_row=state.get("held_row"), limit_batches=request.limit_batches,
        last_per=progress.best_per if progress.has_best else None,
    )  # fmt: skip


def _observers(
    request: RunRequest, compute: Compute, progress: Progress, checkpoint: Checkpoint | None
) -> Observers:
    folder, warn = request.folder, request.console.warn
    if not request.peers.is_first:
        return Observers((), warn)
    observers = observe(
        folder.root, folder.metrics, compute.device, request.config.records,
        resumed_at=None if checkpoint is None else progress.step, warn=warn,
    )  # fmt: skip
    kind = "started" if checkpoint is None else "resumed"
    observers.event(
        kind, progress.step, total=request.config.num_training_batches, device=str(compute.device)
    )
    return observers


def _assembler(request: RunRequest, compute: Compute, data: _Data, corpus: Corpus, seed: int) -> Assembler:
    """For a GPU, keep the trials there when they fit; noise is added where the computing is done.

    Raises `LeftEarly`, where no other process would be left waiting.
    """
    on_gpu, config, console = compute.device.type == "cuda", request.config, request.console
    interrupt = request.interrupt if request.peers.size == 1 else Interrupt()
    what = f"bringing the {corpus.split} trials to the GPU"
    watch = LoadingWatch(len(data.sessions), console, interrupt, what=what)
    resident = make_resident(corpus, config.dataset.feature_subset, compute.device, watch)
    if on_gpu and len(corpus):
        console.say(
            f"{corpus.split} trials are {'kept in GPU memory' if resident else 'sent to the GPU batch by batch'}"
        )
    return Assembler(
        corpus, config, data.smoother, seed=seed, noise_on_host=not on_gpu, pin=on_gpu, resident=resident
    )


def _build_saver(
    request: RunRequest,
    compute: Compute,
    runner: StepRunner,
    progress: Progress,
    state: Mapping[str, Any],
    data: _Data,
) -> Saver:
    """Who writes: the first process only."""
    last_step = progress.step if state else -1
    if not request.peers.is_first:
        return Bystander(progress, last_step)
    console, metrics = request.console, state.get("metrics")
    table = MetricsTable(
        request.folder.metrics, None if metrics is None else unpack_metrics(metrics), console.warn
    )
    here = environment(compute.device, compute.precision.name, request.peers.size)
    saver = RunSaver(
        request.folder, request.config, runner, progress, table, here, data.train.fingerprint,
        say=console.say, warn=console.warn, last_step=last_step, best_model=best_weights(state),
    )  # fmt: skip
    if state:
        saver.restore_best(state)
    return saver
