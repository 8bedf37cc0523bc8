"""The two input layers of the decoder over a batch table: one affine map per session, then patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from trainer.memory import host_memory

__all__ = ["dropout_mask", "gather_patches", "on_device", "session_layers"]


def on_device(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """A NumPy array as a tensor on `device`, without waiting for what a GPU is busy with."""
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    pinned = host_memory(tensor.shape, tensor.dtype, pinned=True)
    return pinned.copy_(tensor).to(device, non_blocking=True)


def dropout_mask(shape: Sequence[int], rate: float, generator: np.random.Generator) -> Tensor:
    """Boolean mask on the CPU, False with probability `rate` (in steps of 1/65536).

    Sixteen random bits per element: an order of magnitude faster than drawing a float for each.
    """
    count = int(np.prod(shape))
    bits = generator.bit_generator.random_raw(-(-count // 4)).view(np.uint16)[:count]
    return torch.from_numpy(bits >= np.uint16(round(rate * 65536))).view(*shape)


def session_layers(
    table: Tensor,
    day_spans: Sequence[tuple[int, int, int]],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    keep: Tensor | None,
    rate: float,
) -> Tensor:
    """softsign(x W + b) with the session's own W and b, then dropout.

    `table` (rows, C) in the precision to compute in; `weights` (C, C) and `biases` (1, C), one per entry
    of `day_spans`; `keep` (rows, C) the dropout mask. Rows outside the spans come back as zeros.
    """
    spans = tuple((first, last) for _, first, last in day_spans)
    result: Tensor = _SessionLayers.apply(table, spans, keep, 1.0 / (1.0 - rate), *weights, *biases)
    return result


class _SessionLayers(Function):
    """One product per session, and a backward pass that needs only the activations.

    With y = softsign(a), the derivative is (1 - |y|)²: neither a nor the intermediate steps of the
    activation are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        spans: tuple[tuple[int, int], ...],
        keep: Tensor | None,
        scale: float,
        *params: Tensor,
    ) -> Tensor:
        weights, biases = params[: len(spans)], params[len(spans) :]
        active = torch.zeros_like(table)
        for (first, last), weight, bias in zip(spans, weights, biases, strict=True):
            torch.addmm(
                bias.to(table.dtype), table[first:last], weight.to(table.dtype), out=active[first:last]
            )
        active.div_(active.abs().add_(1.0))
        ctx.spans, ctx.scale = spans, scale
        ctx.save_for_backward(table, active, keep)
        return active if keep is None else (active * keep).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        table, active, keep = ctx.saved_tensors
        slope = active.abs().neg_().add_(1.0)
        slope.mul_(slope).mul_(grad)
        if keep is not None:
            slope.mul_(keep).mul_(ctx.scale)
        weights = [(table[a:b].t() @ slope[a:b]).float() for a, b in ctx.spans]
        biases = [slope[a:b].sum(0, keepdim=True, dtype=torch.float32) for a, b in ctx.spans]
        return None, None, None, None, *weights, *biases


def gather_patches(table: Tensor, patch_rows: Tensor, patch_size: int, patch_stride: int) -> Tensor:
    """(P, patch_size × C): `patch_size` neighbouring rows from each of `patch_rows`, time-major.

    Rows must start at multiples of the stride, and no row twice.
    """
    if patch_size <= 1 and patch_stride <= 1:
        return table[patch_rows]
    result: Tensor = _Patches.apply(table, patch_rows, patch_size, patch_stride)
    return result


class _Patches(Function):
    """A gather whose backward pass adds whole blocks of rows, because patches overlap in whole blocks."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, patch_rows: Tensor, size: int, stride: int) -> Tensor:
        ctx.save_for_backward(patch_rows)
        ctx.shape, ctx.size, ctx.stride = table.shape, size, stride
        rows, channels = table.shape
        if size == stride:
            return table.view(rows // stride, stride * channels)[patch_rows // stride]
        windows = table.as_strided((rows - size + 1, size * channels), (channels, 1))
        return windows[patch_rows]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (patch_rows,) = ctx.saved_tensors
        (rows, channels), size, stride = ctx.shape, ctx.size, ctx.stride
        blocks = grad.new_zeros(rows // stride, stride * channels)
        index = patch_rows // stride
        for block in range(-(-size // stride)):
            part = grad[:, block * stride * channels : (block + 1) * stride * channels]
            blocks[index + block, : part.shape[1]] += part
        return blocks.view(rows, channels), None, None, None
