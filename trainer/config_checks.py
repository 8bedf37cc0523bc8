"""What a configuration must satisfy beyond types: ranges, combinations, and what cannot be honoured."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from trainer.config import Config, DatasetConfig, ModelConfig, TransformsConfig
from trainer.errors import ConfigError

__all__ = ["check", "check_limit", "check_sessions"]

MOST_STEPS = 10**12
"""What a job file takes as `work.steps`, too: more is a slip of the keyboard."""


def check(config: Config) -> None:
    """Raise `ConfigError`, naming the field, for the first thing that cannot work."""
    _check_model(config.model)
    _check_transforms(config.dataset.data_transforms)
    _check_dataset(config.dataset, config.model)
    _check_schedule(config)
    _check_run(config)
    _check_compute(config)


def check_limit(limit_batches: int | None) -> None:
    """Of no batches every error rate would be zero. Raises `ConfigError`."""
    if limit_batches is not None and limit_batches < 1:
        raise ConfigError(f"--limit-batches must be at least 1, found {limit_batches}")


def check_sessions(config: Config, sessions: Sequence[str]) -> None:
    """Raise `ConfigError` for what cannot work with these sessions, the ones named or found in the data folder."""
    dataset, count = config.dataset, len(sessions)
    _require(
        dataset.days_per_batch <= count,
        "dataset.days_per_batch",
        f"{dataset.days_per_batch} sessions per batch, but the data has {count}",
    )
    included = [day + count if day < 0 else day for day in dataset.must_include_days or ()]
    for day, given in zip(included, dataset.must_include_days or (), strict=True):
        _require(0 <= day < count, "dataset.must_include_days", f"there is no session {given} among {count}")
    _require(len(set(included)) == len(included), "dataset.must_include_days", "names a session twice")
    probabilities = dataset.dataset_probability_val
    _require(
        probabilities is None or len(probabilities) == count,
        "dataset.dataset_probability_val",
        f"has {len(probabilities or ())} entries for {count} sessions",
    )


def _require(condition: bool, where: str, complaint: str, hint: str | None = None) -> None:
    if not condition:
        raise ConfigError(f"{where}: {complaint}", hint=hint)


def _at_least(value: float, minimum: float, where: str) -> None:
    _require(value >= minimum, where, f"must be at least {minimum:g}, found {value:g}")


def _check_model(model: ModelConfig) -> None:
    for name in ("n_input_features", "n_units", "n_layers"):
        _at_least(getattr(model, name), 1, f"model.{name}")
    _at_least(model.patch_size, 0, "model.patch_size")
    _at_least(model.patch_stride, 1 if model.patch_size else 0, "model.patch_stride")
    network = model.input_network
    for rate, where in (
        (model.rnn_dropout, "model.rnn_dropout"),
        (network.input_layer_dropout, "model.input_network.input_layer_dropout"),
    ):
        _require(0 <= rate < 1, where, f"must be in [0, 1), found {rate:g}")
    _require(
        network.n_input_layers == 1,
        "model.input_network.n_input_layers",
        f"only 1 layer per session exists, in the official model too, found {network.n_input_layers}",
    )
    _require(
        network.input_layer_sizes in (None, (model.n_input_features,)),
        "model.input_network.input_layer_sizes",
        f"the session layer is square, so only [{model.n_input_features}] can be honoured",
    )


def _check_transforms(transforms: TransformsConfig) -> None:
    where = "dataset.data_transforms"
    for name in (
        "static_gain_std",
        "white_noise_std",
        "constant_offset_std",
        "random_walk_std",
        "random_cut",
    ):
        _at_least(getattr(transforms, name), 0, f"{where}.{name}")
    _require(
        transforms.random_walk_axis in (1, 2, -1, -2),
        f"{where}.random_walk_axis",
        f"must be 1 or -2 (time), 2 or -1 (channels), found {transforms.random_walk_axis}",
    )
    if transforms.smooth_data:
        _require(transforms.smooth_kernel_std > 0, f"{where}.smooth_kernel_std", "must be positive")
        _at_least(transforms.smooth_kernel_size, 1, f"{where}.smooth_kernel_size")


def _check_dataset(dataset: DatasetConfig, model: ModelConfig) -> None:
    for name in ("batch_size", "days_per_batch", "max_seq_elements"):
        _at_least(getattr(dataset, name), 1, f"dataset.{name}")
    _at_least(dataset.n_classes, 2, "dataset.n_classes")
    _at_least(dataset.num_dataloader_workers, 0, "dataset.num_dataloader_workers")
    _require(
        not dataset.loader_shuffle,
        "dataset.loader_shuffle",
        "true cannot be honoured: batches are drawn at random already, in an order fixed by dataset.seed",
    )
    doubles = [name for name, count in Counter(dataset.sessions).items() if count > 1]
    _require(not doubles, "dataset.sessions", f"{', '.join(doubles)} is named twice")
    _check_channels(dataset, model)
    _check_days(dataset)


def _check_channels(dataset: DatasetConfig, model: ModelConfig) -> None:
    subset, width = dataset.feature_subset, model.n_input_features
    if subset is None:
        _require(
            dataset.neural_dim in (None, width),
            "dataset.neural_dim",
            f"is {dataset.neural_dim} but model.n_input_features is {width}",
        )
        return
    _require(
        len(subset) == width,
        "dataset.feature_subset",
        f"keeps {len(subset)} channels but model.n_input_features is {width}",
    )
    _require(len(set(subset)) == len(subset), "dataset.feature_subset", "names a channel twice")
    _require(min(subset) >= 0, "dataset.feature_subset", "channels are counted from 0")


def _check_days(dataset: DatasetConfig) -> None:
    for session, blocks in (dataset.bad_trials_dict or {}).items():
        for block in blocks:
            where = f"dataset.bad_trials_dict.{session}"
            _require(block.isdecimal(), where, f"expected the number of a block, found {block!r}")
    included = dataset.must_include_days or ()
    _require(
        len(included) <= dataset.days_per_batch,
        "dataset.must_include_days",
        f"names {len(included)} sessions, more than the {dataset.days_per_batch} of dataset.days_per_batch",
    )
    probabilities = dataset.dataset_probability_val or ()
    _require(set(probabilities) <= {0, 1}, "dataset.dataset_probability_val", "entries must be 0 or 1")
    if dataset.sessions:
        _require(
            dataset.dataset_probability_val is None or len(probabilities) == len(dataset.sessions),
            "dataset.dataset_probability_val",
            f"has {len(probabilities)} entries for {len(dataset.sessions)} sessions",
        )


def _check_schedule(config: Config) -> None:
    _at_least(config.num_training_batches, 1, "num_training_batches")
    _require(
        config.num_training_batches <= MOST_STEPS,
        "num_training_batches",
        f"must be at most {MOST_STEPS:.0e}, found {config.num_training_batches:.3g}",
    )
    for name in ("lr_max", "lr_max_day"):
        value = getattr(config, name)
        _require(value is None or value > 0, name, "must be positive")
    for name in ("lr_min", "lr_min_day", "lr_warmup_steps", "lr_warmup_steps_day"):
        _at_least(getattr(config, name) or 0, 0, name)
    _require(
        config.lr_min <= config.lr_max, "lr_min", f"{config.lr_min:g} is above lr_max, {config.lr_max:g}"
    )
    lowest = config.lr_min if config.lr_min_day is None else config.lr_min_day
    highest = config.lr_max if config.lr_max_day is None else config.lr_max_day
    _require(lowest <= highest, "lr_min_day", f"{lowest:g} is above lr_max_day, {highest:g}")
    for name in ("lr_decay_steps", "lr_decay_steps_day"):
        value = getattr(config, name)
        _require(value is None or value >= 1, name, "must be at least 1")
    for name in ("beta0", "beta1"):
        _require(0 <= getattr(config, name) < 1, name, "must be in [0, 1)")
    _require(config.epsilon > 0, "epsilon", "must be positive")
    for name in ("weight_decay", "weight_decay_day", "grad_norm_clip_value"):
        _at_least(getattr(config, name), 0, name)


def _check_run(config: Config) -> None:
    _at_least(config.seed, -1, "seed")
    _at_least(config.dataset.seed, -1, "dataset.seed")
    for name in ("batches_per_train_log", "batches_per_val_step", "early_stopping_val_steps"):
        _at_least(getattr(config, name), 1, name)
    _at_least(config.batches_per_save, 0, "batches_per_save")
    _require(
        not config.init_from_checkpoint or bool(config.init_checkpoint_path),
        "init_checkpoint_path",
        "is needed when init_from_checkpoint is true",
    )
    _at_least(config.checkpoints.every_s, 0, "checkpoints.every_s")
    _at_least(config.checkpoints.keep, 1, "checkpoints.keep")
    _at_least(config.safety.max_nonfinite_steps, 1, "safety.max_nonfinite_steps")
    _at_least(config.safety.blank_collapse_validations, 1, "safety.blank_collapse_validations")
    fraction = config.safety.max_skipped_fraction
    _require(0 <= fraction <= 1, "safety.max_skipped_fraction", f"must be in [0, 1], found {fraction:g}")


def _check_compute(config: Config) -> None:
    compute = config.compute
    _require(
        re.fullmatch(r"auto|cpu|cuda(:\d+)?", compute.device) is not None,
        "compute.device",
        f"must be auto, cpu, cuda or cuda:N, found {compute.device!r}",
    )
    for name in ("threads", "micro_batch_size"):
        value = getattr(compute, name)
        _require(value is None or value >= 1, f"compute.{name}", "must be at least 1")
    _at_least(compute.prefetch_batches, 1, "compute.prefetch_batches")
