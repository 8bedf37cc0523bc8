"""Random trials in the official layout, of the shapes that a configuration asks for; only speed can be learned from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np

from trainer.config import Config
from trainer.ctc import output_length
from trainer.sessions import split_file

__all__ = ["write_like"]

SPREAD = 0.35
"""Of the logarithm of a trial's length, as in spoken sentences."""


def write_like(config: Config, root: Path, median_bins: int) -> Config:
    """Write about two batches of training trials under `root`; returns the configuration that reads them.

    The sessions are those that the configuration names, so the model has all their layers, else as many as a batch
    draws from. Takes ``2 · batch_size · median_bins · channels · 4`` bytes, at least one trial a session.
    """
    dataset = config.dataset
    sessions = dataset.sessions or tuple(f"bench.{day:02d}" for day in range(max(1, dataset.days_per_batch)))
    width = (
        dataset.neural_dim or max((config.model.n_input_features - 1, *(dataset.feature_subset or ()))) + 1
    )
    rng = np.random.default_rng(0)
    trials = -(-2 * dataset.batch_size // len(sessions))
    for session in sessions:
        path = split_file(root, session, "train")
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            for index in range(trials):
                _write_trial(file, index, session, config, width, median_bins, rng)
    return dataclasses.replace(
        config, dataset=dataclasses.replace(dataset, sessions=sessions, bad_trials_dict=None)
    )


def _write_trial(
    file: h5py.File, index: int, session: str, config: Config, width: int, median_bins: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    model, cut = config.model, config.dataset.data_transforms.random_cut
    shortest = max(1, model.patch_size) + cut + 4 * max(1, model.patch_stride)
    bins = max(shortest, int(np.clip(rng.lognormal(0.0, SPREAD), 0.3, 3.0) * median_bins))
    outputs = output_length(bins - cut, model.patch_size, model.patch_stride)
    count = max(1, min(outputs // 7, config.dataset.max_seq_elements))  # speech fills about a seventh
    group = file.create_group(f"trial_{index:04d}")
    group.create_dataset("input_features", data=rng.standard_normal((bins, width), dtype=np.float32))
    labels = rng.integers(1, config.dataset.n_classes, count, dtype=np.int32)
    group.create_dataset("seq_class_ids", data=labels)
    group.create_dataset("transcription", data=np.zeros(1, dtype=np.int32))
    numbers = {"n_time_steps": bins, "seq_len": count, "block_num": 1, "trial_num": index}
    for name, value in {**numbers, "session": session, "sentence_label": ""}.items():
        group.attrs[name] = value
