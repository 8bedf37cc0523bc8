"""A GRU layer over packed sequences for the CPU, with a hand-written backward pass.

torch's own GRU on the CPU runs one small autograd graph per time step and adds up the weight gradient
one step at a time. Here the products that do not depend on the previous step are done once for the
whole batch, padding is never computed, and the weight gradients are two large products at the end.
The equations and the order of the gates (reset, update, new) are those of `torch.nn.GRU`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

__all__ = ["gru_layer"]


def gru_layer(
    x: Tensor, h0: Tensor, weights: tuple[Tensor, Tensor, Tensor, Tensor], batch_sizes: Sequence[int]
) -> Tensor:
    """Hidden states (P, H) float32 of one layer for inputs (P, I) in packed order, from h0 (B, H).

    `weights` are weight_ih (3H, I), weight_hh (3H, H), bias_ih and bias_hh (3H,), as torch names them.

    The two large products are done in the precision of `x`, the gates and the state in float32.
    """
    result: Tensor = _GruLayer.apply(x, h0, *weights, tuple(batch_sizes))
    return result


class _GruLayer(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        batch_sizes: tuple[int, ...],
    ) -> Tensor:
        compute = x.dtype
        w_ih, w_hh = weight_ih.to(compute), weight_hh.to(compute)
        # The bias of the recurrent side joins the input side where the equations allow it: r and z.
        hidden = h0.shape[1]
        bias = bias_ih + functional.pad(bias_hh[: 2 * hidden], (0, hidden))
        gates = functional.linear(x, w_ih, bias.to(compute)).float()
        output, recurrent_n = _scan(gates, h0, w_hh, bias_hh[2 * hidden :], batch_sizes)
        ctx.save_for_backward(x, h0, w_ih, w_hh, gates, recurrent_n, output)
        ctx.batch_sizes = batch_sizes
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Any:
        x, h0, w_ih, w_hh, gates, recurrent_n, output = ctx.saved_tensors
        compute = x.dtype
        previous = _previous_states(output, h0, ctx.batch_sizes)
        grad_gates, grad_recurrent, grad_h0 = _scan_backward(
            grad_output, previous, gates, recurrent_n, w_hh, ctx.batch_sizes
        )
        low_gates, low_recurrent = grad_gates.to(compute), grad_recurrent.to(compute)
        return (
            low_gates @ w_ih if ctx.needs_input_grad[0] else None,
            grad_h0,
            (low_gates.t() @ x).float(),
            (low_recurrent.t() @ previous.to(compute)).float(),
            grad_gates.sum(0),
            grad_recurrent.sum(0),
            None,
        )


def _scan(
    gates: Tensor, h0: Tensor, w_hh: Tensor, bias_n: Tensor, batch_sizes: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Run the recurrence; `gates` (P, 3H) turns in place from input products into r, z and n.

    Returns the states (P, H) and the recurrent part of n before the reset gate (P, H).
    """
    hidden = h0.shape[1]
    output = torch.empty(gates.shape[0], hidden)
    recurrent_n = torch.empty_like(output)
    w_t, compute = w_hh.t(), w_hh.dtype
    state = h0
    rows = zip(
        *(torch.split(t, list(batch_sizes)) for t in (gates, output, recurrent_n)), batch_sizes, strict=True,
    )  # fmt: skip
    for gate, out, inner, size in rows:
        state = state[:size]
        product = torch.mm(state.to(compute), w_t).float()
        rz, n = gate[:, : 2 * hidden], gate[:, 2 * hidden :]
        rz.add_(product[:, : 2 * hidden]).sigmoid_()
        torch.add(product[:, 2 * hidden :], bias_n, out=inner)
        n.addcmul_(rz[:, :hidden], inner).tanh_()
        torch.lerp(n, state, rz[:, hidden:], out=out)
        state = out
    return output, recurrent_n


def _previous_states(output: Tensor, h0: Tensor, batch_sizes: tuple[int, ...]) -> Tensor:
    """(P, H): the state that each packed row started from."""
    previous = torch.empty_like(output)
    previous[: batch_sizes[0]] = h0
    start = batch_sizes[0]
    for before, size in itertools.pairwise(batch_sizes):
        previous[start : start + size] = output[start - before : start - before + size]
        start += size
    return previous


def _scan_backward(
    grad_output: Tensor, previous: Tensor, gates: Tensor, recurrent_n: Tensor, w_hh: Tensor,
    batch_sizes: tuple[int, ...],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the gates' input side (P, 3H), of their recurrent side (P, 3H), and of h0 (B, H)."""
    hidden = previous.shape[1]
    r, z, n = gates.chunk(3, dim=1)
    # What multiplies the state's gradient is known for all steps before the first is taken.
    keep = 1.0 - z
    to_n = keep * (1.0 - n * n)
    to_z = (previous - n) * z * keep
    to_r = recurrent_n * r * (1.0 - r)
    grad_gates = torch.empty_like(gates)
    grad_recurrent = torch.empty_like(gates)
    compute = w_hh.dtype
    grad_state = torch.zeros(batch_sizes[0], hidden)
    parts = [
        torch.split(t, list(batch_sizes))
        for t in (grad_output, to_n, to_z, to_r, r, z, grad_gates, grad_recurrent)
    ]
    for size, (out, f_n, f_z, f_r, reset, update, g_in, g_rec) in zip(
        reversed(batch_sizes), list(zip(*parts, strict=True))[::-1], strict=True
    ):
        grad = grad_state[:size]
        grad.add_(out)
        d_n = torch.mul(grad, f_n, out=g_in[:, 2 * hidden :])
        torch.mul(grad, f_z, out=g_in[:, hidden : 2 * hidden])
        torch.mul(d_n, f_r, out=g_in[:, :hidden])
        g_rec[:, : 2 * hidden] = g_in[:, : 2 * hidden]
        torch.mul(d_n, reset, out=g_rec[:, 2 * hidden :])
        grad.mul_(update).add_(torch.mm(g_rec.to(compute), w_hh))
    return grad_gates, grad_recurrent, grad_state
