"""Gaussian smoothing along time, the same in training and in evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.config import TransformsConfig

__all__ = ["Smoother", "gaussian_taps"]

BLOCK = 32
"""Output rows per small matrix product; large enough to be fast, small enough not to waste zeros."""


def gaussian_taps(std: float, size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The official kernel: a unit impulse in `size` bins, filtered by a Gaussian that is truncated at four
    standard deviations and reflected at the borders; taps of at most 1 % dropped, the rest scaled to sum 1.
    """
    radius = int(4.0 * std + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std) ** 2)
    impulse = np.zeros(size)
    impulse[size // 2] = 1.0
    filtered = np.convolve(np.pad(impulse, radius, mode="symmetric"), weights / weights.sum(), mode="valid")
    kept = filtered[filtered > 0.01]
    return np.asarray(kept / kept.sum())


class Smoother:
    """Smooths a (rows, channels) table in which zeros separate the trials.

    The convolution is done as a batch of banded matrix products, 32 rows at a time: one pass over the
    data, an order of magnitude faster than a convolution with one group per channel.
    """

    def __init__(self, transforms: TransformsConfig) -> None:
        taps = (
            gaussian_taps(transforms.smooth_kernel_std, transforms.smooth_kernel_size)
            if transforms.smooth_data
            else np.ones(1)
        )
        self.before = (len(taps) - 1) // 2
        """Rows that the kernel reaches into the past; torch's `same` padding puts the odd one after."""
        self.after = len(taps) - 1 - self.before
        self.gap = max(self.before, self.after)
        """Zero rows that must separate two trials."""
        self._taps = taps
        self._bands: dict[torch.device, Tensor] = {}

    @property
    def is_identity(self) -> bool:
        """True when smoothing is switched off."""
        return len(self._taps) == 1

    def input_rows(self, rows: int) -> int:
        """Rows of the table that `__call__` needs to give `rows` smoothed ones."""
        return rows if self.is_identity else -(-rows // BLOCK) * BLOCK + len(self._taps) - 1

    def __call__(self, table: Tensor, rows: int) -> Tensor:
        """Smoothed rows (rows, channels) of a table (input_rows(rows), channels).

        Row i of the result belongs to row i + `before` of the table.
        """
        if self.is_identity:
            return table
        table = table.contiguous()
        channels = table.shape[1]
        blocks = -(-rows // BLOCK)
        width = BLOCK + len(self._taps) - 1
        windows = table.as_strided((blocks, width, channels), (BLOCK * channels, channels, 1))
        band = self._band(table.device).expand(blocks, BLOCK, width)
        return torch.bmm(band, windows).view(blocks * BLOCK, channels)[:rows]

    def _band(self, device: torch.device) -> Tensor:
        if device not in self._bands:
            band = np.zeros((BLOCK, BLOCK + len(self._taps) - 1), dtype=np.float32)
            for row in range(BLOCK):
                band[row, row : row + len(self._taps)] = self._taps
            self._bands[device] = torch.from_numpy(band).to(device)
        return self._bands[device]
