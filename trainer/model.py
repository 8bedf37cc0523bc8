"""The GRU phoneme decoder of the official baseline: same architecture, same parameter names.

A checkpoint of either loads into the other. Two ways through the same weights: `forward` takes padded
trials as the official model does; `forward_packed` takes a batch table (`trainer.layout`) and is what
training and evaluation use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from trainer.config import Config
from trainer.gru import gru_layer
from trainer.layers import dropout_mask, gather_patches, on_device, session_layers
from trainer.layout import BatchLayout

__all__ = ["DropoutSource", "GRUDecoder", "build_model", "gru_dtype"]


@dataclass(slots=True)
class DropoutSource:
    """Where a training forward pass takes its dropout masks from: a stream that belongs to the step."""

    generator: np.random.Generator


class GRUDecoder(nn.Module):
    """Session layers, patches, GRU, linear classifier.

    `neural_dim` channels, `n_units` hidden units, `n_days` sessions, `n_classes` outputs; `patch_size` 0
    feeds single time bins.
    """

    def __init__(
        self, *, neural_dim: int, n_units: int, n_days: int, n_classes: int, rnn_dropout: float = 0.0,
        input_dropout: float = 0.0, n_layers: int = 5, patch_size: int = 0, patch_stride: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.neural_dim, self.n_units, self.n_days = neural_dim, n_units, n_days
        self.n_classes, self.n_layers = n_classes, n_layers
        self.rnn_dropout, self.input_dropout = rnn_dropout, input_dropout
        self.patch_size, self.patch_stride = patch_size, patch_stride
        # Identity and zero: at first every session passes through unchanged.
        self.day_weights = nn.ParameterList(nn.Parameter(torch.eye(neural_dim)) for _ in range(n_days))
        self.day_biases = nn.ParameterList(nn.Parameter(torch.zeros(1, neural_dim)) for _ in range(n_days))
        self.gru = nn.GRU(
            neural_dim * max(1, patch_size), n_units, n_layers, batch_first=True,
            dropout=rnn_dropout if n_layers > 1 else 0.0,
        )  # fmt: skip
        self.out = nn.Linear(n_units, n_classes)
        self.h0 = nn.Parameter(torch.zeros(1, 1, n_units))
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.gru.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(parameter)
            elif "weight_ih" in name:
                nn.init.xavier_uniform_(parameter)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.xavier_uniform_(self.h0)

    def forward(self, x: Tensor, day_idx: Tensor, states: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (B, T', K) and final states (layers, B, H) of padded trials (B, T, C); plain torch.

        `states` continues a stream. No dropout is applied between session layer and GRU in evaluation.
        """
        weights = torch.stack([self.day_weights[int(d)] for d in day_idx])
        biases = torch.stack([self.day_biases[int(d)] for d in day_idx])
        x = functional.dropout(
            functional.softsign(torch.bmm(x, weights) + biases), self.input_dropout, self.training
        )
        if self.patch_size > 0:
            x = x.unfold(1, self.patch_size, self.patch_stride).transpose(2, 3).flatten(2)
        if states is None:
            states = self.h0.expand(self.n_layers, len(x), self.n_units).contiguous()
        output, states = self.gru(x, states)
        return self.out(output), states

    def forward_packed(
        self, table: Tensor, layout: BatchLayout, dropout: DropoutSource | None, dtype: torch.dtype
    ) -> Tensor:
        """Logits (P, K) float32 in packed order of a smoothed batch table (rows, C).

        `dropout` None switches dropout off; `dtype` is the precision of the large products.
        """
        active = self._session_layers(table.to(dtype), layout, dropout)
        patch_rows = on_device(layout.patch_rows, table.device)
        stride = self.patch_stride if self.patch_size else 1
        patches = gather_patches(active, patch_rows, max(1, self.patch_size), stride)
        hidden = self._recurrent(patches, layout, dropout, dtype)
        return functional.linear(hidden.to(dtype), self.out.weight.to(dtype), self.out.bias.to(dtype)).float()

    def _session_layers(self, table: Tensor, layout: BatchLayout, dropout: DropoutSource | None) -> Tensor:
        days = [day for day, _, _ in layout.day_spans]
        keep, rate = None, 0.0
        if dropout is not None and self.input_dropout > 0:
            rate = self.input_dropout
            keep = self._mask(table, rate, dropout)
        return session_layers(
            table,
            layout.day_spans,
            [self.day_weights[d] for d in days],
            [self.day_biases[d] for d in days],
            keep,
            rate,
        )

    def _mask(self, like: Tensor, rate: float, dropout: DropoutSource) -> Tensor:
        if like.device.type == "cpu":
            return dropout_mask(like.shape, rate, dropout.generator)
        return torch.rand(like.shape, device=like.device) >= rate

    def _recurrent(
        self, patches: Tensor, layout: BatchLayout, dropout: DropoutSource | None, dtype: torch.dtype
    ) -> Tensor:
        """Hidden states (P, H) of the last GRU layer."""
        if patches.device.type != "cpu":
            return self._recurrent_of_torch(patches, layout, dropout is not None, dtype)
        h0 = self.h0[0].expand(layout.batch_sizes[0], self.n_units)
        hidden = patches
        for layer in range(self.n_layers):
            if layer and dropout is not None and self.rnn_dropout > 0:
                keep = dropout_mask(hidden.shape, self.rnn_dropout, dropout.generator)
                hidden = (hidden * keep).mul_(1.0 / (1.0 - self.rnn_dropout))
            hidden = gru_layer(hidden.to(dtype), h0, self._gru_weights(layer), layout.batch_sizes)
        return hidden

    def _gru_weights(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w_ih, w_hh, b_ih, b_hh = (getattr(self.gru, f"{name}_l{layer}") for name in names)
        return w_ih, w_hh, b_ih, b_hh

    def _recurrent_of_torch(
        self, patches: Tensor, layout: BatchLayout, dropout: bool, dtype: torch.dtype
    ) -> Tensor:
        """The same by torch's own GRU, which on a GPU is cuDNN's or MIOpen's."""
        # Their backward pass exists in training mode only, also where nothing is dropped.
        self.gru.train(dropout or torch.is_grad_enabled())
        self.gru.dropout = self.rnn_dropout if dropout and self.n_layers > 1 else 0.0
        h0 = self.h0.expand(self.n_layers, layout.batch_sizes[0], self.n_units).contiguous()
        compute = gru_dtype(dtype)
        packed = PackedSequence(patches.to(compute), torch.tensor(layout.batch_sizes))
        mixed = compute != torch.float32
        with torch.autocast(patches.device.type, compute) if mixed else contextlib.nullcontext():
            output, _ = self.gru(packed, h0)
        hidden: Tensor = output.data
        return hidden


def gru_dtype(dtype: torch.dtype, amd: bool = torch.version.hip is not None) -> torch.dtype:
    """In what torch's own GRU computes on a GPU where the other products are done in `dtype`.

    cuDNN's takes float16 and float32. For bfloat16 torch before 2.10 leaves cuDNN and takes the time steps one by
    one, in thousands of small kernels; later releases compute in float16 all the same. Its inputs lie in
    (-2, 2), and the loss is scaled so that its gradients do not vanish. With MIOpen mixed precision is not
    to be relied on.
    """
    if dtype == torch.float32 or amd:
        return torch.float32
    return torch.float16


def build_model(config: Config, num_days: int) -> GRUDecoder:
    """The decoder that a configuration describes, its weights drawn from torch's default generator."""
    model = config.model
    return GRUDecoder(
        neural_dim=model.n_input_features, n_units=model.n_units, n_days=num_days,
        n_classes=config.dataset.n_classes, rnn_dropout=model.rnn_dropout,
        input_dropout=model.input_network.input_layer_dropout, n_layers=model.n_layers,
        patch_size=model.patch_size, patch_stride=model.patch_stride,
    )  # fmt: skip


def parameter_counts(parameters: Mapping[str, Tensor]) -> tuple[int, int]:
    """Number of all parameters, and of those that belong to sessions."""
    total = sum(p.numel() for p in parameters.values())
    return total, sum(p.numel() for name, p in parameters.items() if name.startswith("day_"))
