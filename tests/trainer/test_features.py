"""Smoothing, augmentation and the assembly of batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.conftest import CHANNELS, TINY
from trainer.augment import add_noise, random_cut
from trainer.batches import Assembler
from trainer.config import TransformsConfig
from trainer.config_reader import from_mapping
from trainer.corpus import load_corpus
from trainer.hdf5 import Trial
from trainer.layout import lay_out
from trainer.resident import Resident
from trainer.sessions import find_sessions
from trainer.smoothing import Smoother, gaussian_taps

PLAIN = TransformsConfig(white_noise_std=0, constant_offset_std=0, random_cut=0)


def test_the_kernel_is_the_official_one() -> None:
    """Sampled Gaussian of two bins, cut below one per cent: nine taps; values from its formula."""
    taps = gaussian_taps(2.0, 100)
    weights = np.exp(-0.5 * (np.arange(-4, 5) / 2.0) ** 2)
    np.testing.assert_allclose(taps, weights / weights.sum(), rtol=1e-12)


@pytest.mark.parametrize("std", [0.5, 2.0, 3.3])
def test_smoothing_equals_a_convolution_of_each_trial_alone(std: float) -> None:
    transforms = replace(PLAIN, smooth_kernel_std=std)
    smoother, lengths = Smoother(transforms), [50, 3, 77]
    layout = lay_out(lengths, [0, 0, 1], patch_size=3, patch_stride=4, gap=smoother.gap)
    trials = [np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32) for n in lengths]
    table = torch.zeros(smoother.input_rows(layout.rows), 2)
    for start, trial in zip(layout.starts + smoother.before, trials, strict=True):
        table[start : start + len(trial)] = torch.from_numpy(trial)
    smoothed = smoother(table, layout.rows)
    assert len(smoothed) == layout.rows
    taps = torch.from_numpy(gaussian_taps(std, 100)).float()
    for start, trial in zip(layout.starts, trials, strict=True):
        signal = torch.from_numpy(trial).T[:, None]
        expected = torch.nn.functional.conv1d(signal, taps[None, None], padding="same")[:, 0].T
        torch.testing.assert_close(smoothed[start : start + len(trial)], expected, atol=1e-5, rtol=1e-5)


def noisy(
    transforms: TransformsConfig, step: int, slots: list[int], lengths: list[int]
) -> list[torch.Tensor]:
    layout = lay_out(lengths, [0] * len(lengths), patch_size=2, patch_stride=1, gap=3)
    table = torch.zeros(layout.rows + 5, 4)
    add_noise(table, layout, 2, slots, transforms, seed=1, step=step)
    spans = [(int(s) + 2, int(s) + 2 + n) for s, n in zip(layout.starts, lengths, strict=True)]
    outside = torch.ones(len(table), dtype=torch.bool)
    for first, last in spans:
        outside[first:last] = False
    assert not table[outside].any()
    return [table[first:last].clone() for first, last in spans]


def test_noise_belongs_to_a_slot_of_a_step_and_not_to_the_batch_around_it() -> None:
    transforms = replace(PLAIN, white_noise_std=1.0, constant_offset_std=0.5, random_walk_std=0.1)
    together = noisy(transforms, 7, [0, 1, 2], [20, 30, 25])
    alone = noisy(transforms, 7, [1], [30])
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[1], noisy(transforms, 8, [1], [30])[0])


def test_each_augmentation_has_its_spread_and_shape() -> None:
    (white,) = noisy(replace(PLAIN, white_noise_std=2.0), 0, [0], [5000])
    assert white.std().item() == pytest.approx(2.0, rel=0.05)
    (offset,) = noisy(replace(PLAIN, constant_offset_std=1.0), 0, [0], [50])
    assert torch.equal(offset, offset[:1].expand_as(offset))
    (in_time,) = noisy(replace(PLAIN, random_walk_std=1.0, random_walk_axis=1), 0, [0], [5000])
    assert in_time.diff(dim=0).std().item() == pytest.approx(1.0, rel=0.05)
    (in_channels,) = noisy(replace(PLAIN, random_walk_std=1.0, random_walk_axis=-1), 0, [0], [5000])
    assert in_channels.diff(dim=1).std().item() == pytest.approx(1.0, rel=0.05)


def test_a_static_gain_mixes_channels_around_the_identity() -> None:
    layout = lay_out([6], [0], patch_size=2, patch_stride=1, gap=0)
    table = torch.eye(6)
    add_noise(table, layout, 0, [0], replace(PLAIN, static_gain_std=0.01), seed=1, step=0)
    torch.testing.assert_close(table, torch.eye(6), atol=0.06, rtol=0)
    assert not torch.equal(table, torch.eye(6))


def test_the_cut_is_uniform_below_its_limit() -> None:
    cuts = [random_cut(replace(PLAIN, random_cut=3), 1, step) for step in range(300)]
    assert sorted(set(cuts)) == [0, 1, 2]
    assert random_cut(PLAIN, 1, 5) == 0


def test_channels_can_be_picked_and_trials_are_cut(data: Path) -> None:
    tree = {
        **TINY, "model": {**TINY["model"], "n_input_features": 2},  # type: ignore[dict-item]
        "dataset": {**TINY["dataset"], "feature_subset": [5, 1], "data_transforms": {"white_noise_std": 0, "constant_offset_std": 0, "random_cut": 3}},  # type: ignore[dict-item]
    }  # fmt: skip
    config = from_mapping(tree)
    corpus = load_corpus(config, data, find_sessions(data, ()), "train", cache_dir=None, say=pytest.fail)
    smoother = Smoother(config.dataset.data_transforms)
    assembler = Assembler(corpus, config, smoother, seed=1, noise_on_host=True)
    step = next(s for s in range(100) if random_cut(config.dataset.data_transforms, 1, s) == 2)
    batch = assembler.training_batch(step, [4, 9], [0, 1])
    for position, start, length in zip(
        batch.positions, batch.layout.starts, batch.layout.num_bins, strict=True
    ):
        features = corpus.trials[position].features()[2:, [5, 1]]
        assert length == len(features)
        first = int(start) + smoother.before
        np.testing.assert_array_equal(batch.table[first : first + int(length)].numpy(), features)


@pytest.mark.parametrize("subset", [None, (5, 0, 2)])
def test_trials_kept_on_a_device_make_the_same_table_as_sent_ones(
    data: Path, subset: tuple[int, ...] | None
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tree = {**TINY, "dataset": {**TINY["dataset"], "feature_subset": subset, "neural_dim": CHANNELS}}
    tree["model"] = {**TINY["model"], "n_input_features": len(subset or range(CHANNELS))}
    config = from_mapping(tree)
    corpus = load_corpus(config, data, find_sessions(data, ()), "train", cache_dir=None, say=pytest.fail)
    smoother = Smoother(config.dataset.data_transforms)
    sent = Assembler(corpus, config, smoother, seed=1, noise_on_host=False, pin=True)
    brought: list[Trial] = []
    resident = Resident(corpus, subset, device, brought.append)
    assert brought == [item.trial for item in corpus.trials]
    kept = Assembler(corpus, config, smoother, seed=1, noise_on_host=False, resident=resident)
    for step in range(5):
        a, b = (s.training_batch(step, np.asarray([3, 9, 9, 20]), range(4)) for s in (sent, kept))
        assert torch.equal(a.table.to(device), b.table.to(device))
