"""What a training run is told: every field, its meaning and its default.

The names and the nesting are those of the official baseline's ``rnn_args.yaml``, so that file is read
unchanged; the sections ``checkpoints``, ``compute``, ``safety`` and ``records`` are ours. All fields have defaults,
so a small configuration stays small. Reading YAML and applying overrides is `trainer.config_reader`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "CheckpointsConfig",
    "ComputeConfig",
    "Config",
    "DatasetConfig",
    "InputNetworkConfig",
    "ModelConfig",
    "RecordsConfig",
    "SafetyConfig",
    "TransformsConfig",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class InputNetworkConfig:
    """The affine layer that each session has of its own."""

    n_input_layers: int = 1
    """Layers per session; only 1 exists."""
    input_layer_sizes: tuple[int, ...] | None = None
    """Output width of that layer; None or exactly ``[n_input_features]``."""
    input_trainable: bool = True
    """False freezes the session layers."""
    input_layer_dropout: float = 0.2
    """Dropout after the session layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The GRU phoneme decoder."""

    n_input_features: int = 512
    """Channels of a time bin that the model sees (the length of `feature_subset` where one is given)."""
    n_units: int = 768
    """Hidden units of each GRU layer."""
    rnn_dropout: float = 0.4
    """Dropout between GRU layers; without effect for a single layer."""
    rnn_trainable: bool = True
    """False freezes the GRU."""
    n_layers: int = 5
    """Stacked GRU layers."""
    patch_size: int = 14
    """Time bins that are concatenated into one GRU input; 0 feeds single bins."""
    patch_stride: int = 4
    """Bins from one patch to the next."""
    input_network: InputNetworkConfig = field(default_factory=InputNetworkConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformsConfig:
    """Augmentation (training only) and smoothing (always), applied in the order of these fields."""

    static_gain_std: float = 0.0
    """Spread of a random channel-mixing matrix around the identity, one per trial."""
    white_noise_std: float = 1.0
    """Noise independent in every bin and channel."""
    constant_offset_std: float = 0.2
    """An offset per trial and channel, constant in time."""
    random_walk_std: float = 0.0
    """Steps of a random walk added to the features."""
    random_walk_axis: int = -1
    """Axis of (trial, time, channel) along which the walk accumulates; 1 or -2 is time, 2 or -1 channels."""
    random_cut: int = 3
    """Up to this many bins, exclusive, are cut from the start of all trials of a batch."""
    smooth_data: bool = True
    """Gaussian smoothing along time."""
    smooth_kernel_std: float = 2.0
    """Standard deviation of the kernel in bins."""
    smooth_kernel_size: int = 100
    """Window in which the kernel is built; taps below 1 % are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetConfig:
    """Which trials are read, and how batches are drawn from them."""

    data_transforms: TransformsConfig = field(default_factory=TransformsConfig)
    neural_dim: int | None = None
    """Channels in the files; None or the same as `model.n_input_features` unless a subset is taken."""
    batch_size: int = 64
    """Trials per optimiser step, whatever the number of processes or micro-batches."""
    n_classes: int = 41
    """CTC classes: blank, 39 phonemes and the word boundary."""
    max_seq_elements: int = 500
    """Longest label sequence that is accepted."""
    days_per_batch: int = 4
    """Sessions per training batch, drawn without replacement."""
    seed: int = 1
    """Seed of the sampling order; -1 draws one and records it."""
    num_dataloader_workers: int = 1
    """Threads that assemble batches ahead of the training thread; 0 assembles in the training thread."""
    loader_shuffle: bool = False
    """Must be false: the order of batches is a function of the seed."""
    must_include_days: tuple[int, ...] | None = None
    """Sessions, by index, that are part of every batch; negative counts from the end."""
    test_percentage: float = 0.1
    """Accepted and without effect, as in the official trainer: train and val come in files of their own."""
    feature_subset: tuple[int, ...] | None = None
    """Channels to keep, by index."""
    dataset_dir: str | None = None
    """Folder of session folders, or a folder that contains ``hdf5_data_final``; ``--data-dir`` wins."""
    bad_trials_dict: Mapping[str, Mapping[str, tuple[int, ...]]] | None = None
    """Trials to leave out: session -> block number -> trial numbers."""
    sessions: tuple[str, ...] = ()
    """Session folders in the order of the model's session layers; empty takes all folders, sorted."""
    dataset_probability_val: tuple[int, ...] | None = None
    """1 or 0 per session: whether its validation trials count; None counts every session that has some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointsConfig:
    """When resume states are written and which are kept; `batches_per_save` adds an interval in steps."""

    every_s: float = 300.0
    """Seconds between resume states; 0 saves by steps only."""
    keep: int = 4
    """Newest resume states kept in the folder, besides the best model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeConfig:
    """Where and how precisely the arithmetic is done."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N. A GPU named here that is not there is an error."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto chooses by hardware and says why; `use_amp: false` means fp32."""
    threads: int | None = None
    """CPU threads; None takes torch's default. Part of what makes a resume exact."""
    micro_batch_size: int | None = None
    """Trials per forward pass; gradients accumulate up to `dataset.batch_size`. None takes the whole batch."""
    cache: Literal["auto", "none"] = "auto"
    """auto packs the trials once into memory-mapped files; none reads the HDF5 files directly."""
    cache_dir: str | None = None
    """Folder of the packed files; None is ``$XDG_CACHE_HOME/gpu-launch/trials``."""
    prefetch_batches: int = 4
    """Batches assembled ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyConfig:
    """Checks and limits beyond which going on would waste money."""

    validate_first: bool = True
    """Validate once before the first step of a fresh run: the curve starts where the model starts."""

    max_nonfinite_steps: int = 20
    """Steps in a row whose gradient may be NaN or infinite; each is skipped and counted. Those that only find the loss
    scale too high are not among them.
    """
    max_skipped_fraction: float = 0.05
    """Share of training trials whose labels may be too long for their output; those trials are left out."""
    blank_collapse_validations: int = 3
    """Validations in a row that decode nothing but blanks before the alarm is raised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordsConfig:
    """Records for people that are kept besides metrics.csv, where their packages are installed."""

    curves: bool = True
    """Draw ``curves.png`` at each validation; needs matplotlib."""
    tensorboard: bool = True
    """Write event files under ``tensorboard/``; needs tensorboard."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One training run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    gpu_number: int = 0
    """Which GPU `device: auto` and `device: cuda` take when there are several; -1 means the CPU."""
    mode: Literal["train"] = "train"
    use_amp: bool = True
    """False computes in fp32 everywhere."""

    output_dir: str | None = None
    """Run folder; ``--run-dir`` and ``LAUNCH_OUTPUT_DIR`` win."""
    checkpoint_dir: str | None = None
    """Folder of the official by-products when `output_dir` is used; otherwise ``<run-dir>/checkpoint``."""
    init_from_checkpoint: bool = False
    """Start from the weights of `init_checkpoint_path` (a warm start: step 0, fresh optimiser)."""
    init_checkpoint_path: str | None = None
    save_best_checkpoint: bool = True
    """Keep the model with the lowest validation PER as ``checkpoint/best_checkpoint``."""
    save_all_val_steps: bool = False
    """Keep the model of every validation as ``checkpoint/checkpoint_batch_N``."""
    save_final_model: bool = False
    """Keep the last model as ``checkpoint/final_checkpoint_batch_N``."""
    save_val_metrics: bool = True
    """Write ``checkpoint/val_metrics.pkl`` at each new best."""
    early_stopping: bool = False
    early_stopping_val_steps: int = 20
    """Validations without a better PER after which training ends."""

    num_training_batches: int = 120_000
    """Optimiser steps of the whole run."""
    lr_scheduler_type: Literal["cosine", "linear"] = "cosine"
    lr_max: float = 0.005
    lr_min: float = 0.0001
    lr_decay_steps: int | None = None
    """Step at which the rate has fallen to its minimum; None is `num_training_batches`."""
    lr_warmup_steps: int = 1000
    lr_max_day: float | None = None
    """Of the session layers; None follows `lr_max`, likewise the three below."""
    lr_min_day: float | None = None
    lr_decay_steps_day: int | None = None
    lr_warmup_steps_day: int | None = None

    beta0: float = 0.9
    beta1: float = 0.999
    epsilon: float = 0.1
    weight_decay: float = 0.001
    weight_decay_day: float = 0.0
    seed: int = 10
    """Seed of weights, augmentation and dropout; -1 draws one and records it."""
    grad_norm_clip_value: float = 10.0
    """Largest gradient norm; 0 does not clip."""

    batches_per_train_log: int = 200
    """Steps between looks at the loss; on a GPU each look waits for the device. Its status line is written at most once a second."""
    batches_per_val_step: int = 2000
    """Steps between validations."""
    batches_per_save: int = 0
    """Steps between resume states; 0 leaves it to `checkpoints.every_s`."""
    log_individual_day_val_PER: bool = True
    log_val_skip_logs: bool = False
    """Log the sessions that `dataset_probability_val` leaves out."""
    save_val_logits: bool = False
    """Put logits into ``val_metrics.pkl``."""
    save_val_data: bool = False
    """Put input features into ``val_metrics.pkl``."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    checkpoints: CheckpointsConfig = field(default_factory=CheckpointsConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    records: RecordsConfig = field(default_factory=RecordsConfig)
