"""Augmentation of training features, in the order and with the meaning of the official trainer.

Every number is drawn from a stream of its own, seeded by (seed, step, slot), where the slot is the
trial's place in the whole batch: micro-batches, processes and threads do not change what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.config import TransformsConfig
from trainer.layout import BatchLayout
from trainer.randomness import numpy_generator, stream_seed

__all__ = ["add_noise", "random_cut"]


def random_cut(transforms: TransformsConfig, seed: int, step: int) -> int:
    """Bins to cut from the start of every trial of this step: uniform in [0, random_cut)."""
    if transforms.random_cut == 0:
        return 0
    return int(numpy_generator(seed, "cut", step).integers(transforms.random_cut))


def add_noise(
    table: Tensor, layout: BatchLayout, offset: int, slots: Sequence[int], transforms: TransformsConfig, *,
    seed: int, step: int,
) -> None:  # fmt: skip
    """Augment the trials in `table` (rows, channels) in place; trial i starts at row starts[i] + offset.

    Zero rows between the trials stay zero. Works on the table's device; on the CPU it is mostly the
    drawing of one normal number per bin and channel.
    """
    if _is_off(transforms):
        return
    longest = int(layout.num_bins.max())
    scratch = torch.empty(longest, table.shape[1], device=table.device, dtype=table.dtype)
    generator = torch.Generator(device=table.device)
    for slot, start, length in zip(slots, layout.starts, layout.num_bins, strict=True):
        generator.manual_seed(stream_seed(seed, "noise", step, slot))
        first = int(start) + offset
        _augment_trial(table[first : first + int(length)], scratch[: int(length)], transforms, generator)


def _is_off(transforms: TransformsConfig) -> bool:
    return not (
        transforms.static_gain_std
        or transforms.white_noise_std
        or transforms.constant_offset_std
        or transforms.random_walk_std
    )


def _augment_trial(
    features: Tensor, scratch: Tensor, transforms: TransformsConfig, generator: torch.Generator
) -> None:
    """Augment one trial (bins, channels) in place; `scratch` has its shape."""
    channels = features.shape[1]
    if transforms.static_gain_std > 0:
        gain = torch.empty(channels, channels, device=features.device)
        gain.normal_(0.0, transforms.static_gain_std, generator=generator).diagonal().add_(1.0)
        features.copy_(features @ gain)
    if transforms.white_noise_std > 0:
        features.add_(scratch.normal_(0.0, transforms.white_noise_std, generator=generator))
    if transforms.constant_offset_std > 0:
        shift = torch.empty(1, channels, device=features.device)
        features.add_(shift.normal_(0.0, transforms.constant_offset_std, generator=generator))
    if transforms.random_walk_std > 0:
        along_time = transforms.random_walk_axis in (1, -2)
        scratch.normal_(0.0, transforms.random_walk_std, generator=generator)
        features.add_(torch.cumsum(scratch, dim=0 if along_time else 1))
