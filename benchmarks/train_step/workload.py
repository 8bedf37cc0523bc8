"""The data and the configurations that both trainers are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["SIZES", "Size", "official_arguments", "write_data"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """One row of the comparison."""

    n_units: int
    n_layers: int
    batch_size: int
    median_bins: int
    """Trial lengths are log-normal around this, as spoken sentences are."""
    steps: int
    """Measured per round, on a GPU; a quarter of it on a CPU, at least three."""
    patch_size: int = 14
    patch_stride: int = 4


SIZES = {
    "tiny": Size(n_units=64, n_layers=2, batch_size=16, median_bins=200, steps=60),
    "small": Size(n_units=256, n_layers=3, batch_size=32, median_bins=400, steps=40),
    "full": Size(n_units=768, n_layers=5, batch_size=64, median_bins=800, steps=40),
}
"""``full`` is the official rnn_args.yaml; its data has about 800 bins (16 s) per trial."""

SESSIONS = tuple(f"t15.2023.08.{day:02d}" for day in (11, 13, 18, 20, 25, 27))
TRIALS_PER_SESSION = 60
NUM_CLASSES = 41


def write_data(folder: Path, size: Size, seed: int = 0) -> Path:
    """Random features and labels in the official layout; what is learned does not matter here."""
    rng = np.random.default_rng(seed)
    for session in SESSIONS:
        for split, count in (("train", TRIALS_PER_SESSION), ("val", 2)):
            path = folder / session / f"data_{split}.hdf5"
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                for index in range(count):
                    _write_trial(file, index, session, size, rng)
    return folder


def _write_trial(file: Any, index: int, session: str, size: Size, rng: np.random.Generator) -> None:
    bins = int(np.clip(size.median_bins * rng.lognormal(0.0, 0.35), 100, 3 * size.median_bins))
    num_labels = max(2, bins // 28)
    group = file.create_group(f"trial_{index:04d}")
    group.create_dataset("input_features", data=rng.standard_normal((bins, 512), dtype=np.float32))
    labels = np.zeros(500, dtype=np.int32)
    labels[:num_labels] = rng.integers(1, NUM_CLASSES, num_labels)
    group.create_dataset("seq_class_ids", data=labels)
    group.create_dataset("transcription", data=np.zeros(500, dtype=np.int32))
    values = {"n_time_steps": bins, "seq_len": num_labels, "block_num": 1, "trial_num": index}
    for name, value in {**values, "session": session, "sentence_label": "none"}.items():
        group.attrs[name] = value


def official_arguments(
    size: Size, data: Path, output: Path, *, steps: int, use_amp: bool, workers: int
) -> dict[str, Any]:
    """The official configuration with this size; both trainers read it."""
    return {
        "model": {
            "n_input_features": 512, "n_units": size.n_units, "rnn_dropout": 0.4, "rnn_trainable": True,
            "n_layers": size.n_layers, "patch_size": size.patch_size, "patch_stride": size.patch_stride,
            "input_network": {
                "n_input_layers": 1, "input_layer_sizes": [512], "input_trainable": True, "input_layer_dropout": 0.2
            },
        },
        "gpu_number": "0", "mode": "train", "use_amp": use_amp, "output_dir": str(output),
        "checkpoint_dir": str(output / "checkpoint"), "init_from_checkpoint": False, "init_checkpoint_path": None,
        "save_best_checkpoint": False, "save_all_val_steps": False, "save_final_model": False,
        "save_val_metrics": False, "early_stopping": False, "early_stopping_val_steps": 20,
        "num_training_batches": steps, "lr_scheduler_type": "cosine", "lr_max": 0.005, "lr_min": 0.0001,
        "lr_decay_steps": 120000, "lr_warmup_steps": 1000, "lr_max_day": 0.005, "lr_min_day": 0.0001,
        "lr_decay_steps_day": 120000, "lr_warmup_steps_day": 1000, "beta0": 0.9, "beta1": 0.999, "epsilon": 0.1,
        "weight_decay": 0.001, "weight_decay_day": 0, "seed": 10, "grad_norm_clip_value": 10,
        "batches_per_train_log": 1, "batches_per_val_step": 10**9, "batches_per_save": 0,
        "log_individual_day_val_PER": False, "log_val_skip_logs": False, "save_val_logits": False,
        "save_val_data": False,
        "dataset": {
            "data_transforms": {
                "white_noise_std": 1.0, "constant_offset_std": 0.2, "random_walk_std": 0.0, "random_walk_axis": -1,
                "static_gain_std": 0.0, "random_cut": 3, "smooth_kernel_size": 100, "smooth_data": True,
                "smooth_kernel_std": 2,
            },
            "neural_dim": 512, "batch_size": size.batch_size, "n_classes": NUM_CLASSES, "max_seq_elements": 500,
            "days_per_batch": 4, "seed": 1, "num_dataloader_workers": workers, "loader_shuffle": False,
            "must_include_days": None, "test_percentage": 0.1, "feature_subset": None, "dataset_dir": str(data),
            "bad_trials_dict": None, "sessions": list(SESSIONS), "dataset_probability_val": [1] * len(SESSIONS),
        },
    }  # fmt: skip
