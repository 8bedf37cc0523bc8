from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trainer.layers import dropout_mask
from trainer.layout import BatchLayout, lay_out
from trainer.model import DropoutSource, GRUDecoder, gru_dtype

LENGTHS, DAYS, CHANNELS, CLASSES = [40, 57, 33, 57], [0, 0, 2, 1], 6, 5


def decoder(patch_size: int, patch_stride: int, n_layers: int = 2, **changes: float) -> GRUDecoder:
    torch.manual_seed(1)
    model = GRUDecoder(
        neural_dim=CHANNELS, n_units=16, n_days=3, n_classes=CLASSES, n_layers=n_layers, patch_size=patch_size,
        patch_stride=patch_stride, **changes,  # type: ignore[arg-type]
    )  # fmt: skip
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def table_of(trials: list[Tensor], layout: BatchLayout) -> Tensor:
    table = torch.zeros(layout.rows, CHANNELS)
    for start, trial in zip(layout.starts, trials, strict=True):
        table[start : start + len(trial)] = trial
    return table


def dense(packed: Tensor, layout: BatchLayout) -> Tensor:
    """(T', B, K) with zeros behind the end of each trial."""
    flat = torch.zeros(layout.num_outputs * layout.num_trials, packed.shape[1])
    return flat.index_copy(0, torch.from_numpy(layout.padded_index), packed).view(
        layout.num_outputs, -1, packed.shape[1]
    )


@pytest.mark.parametrize(
    ("patch_size", "patch_stride", "n_layers"),
    [(14, 4, 2), (4, 4, 3), (5, 2, 1), (0, 0, 2), (1, 1, 1), (3, 5, 1)],
)
def test_packed_batches_give_the_logits_and_gradients_of_padded_ones(
    patch_size: int, patch_stride: int, n_layers: int
) -> None:
    model = decoder(patch_size, patch_stride, n_layers)
    layout = lay_out(LENGTHS, DAYS, patch_size=patch_size, patch_stride=patch_stride, gap=4)
    trials = [torch.randn(n, CHANNELS) for n in LENGTHS]
    ours = dense(model.forward_packed(table_of(trials, layout), layout, None, torch.float32), layout)
    padded, _ = model.eval()(pad_sequence(trials, batch_first=True), torch.tensor(DAYS))
    running = torch.arange(layout.num_outputs)[:, None] < torch.from_numpy(layout.output_lengths)[None]
    theirs = padded.transpose(0, 1) * running[..., None]
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)

    weight = torch.randn_like(ours)
    (ours * weight).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    (theirs * weight).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_sessions_that_are_not_in_the_batch_get_no_gradient() -> None:
    model = decoder(4, 2)
    layout = lay_out([20, 20], [2, 2], patch_size=4, patch_stride=2, gap=0)
    model.forward_packed(torch.randn(layout.rows, CHANNELS), layout, None, torch.float32).sum().backward()
    assert [p.grad is None for p in model.day_weights] == [True, True, False]


def test_bfloat16_products_stay_close_to_float32() -> None:
    model = decoder(14, 4)
    layout = lay_out(LENGTHS, DAYS, patch_size=14, patch_stride=4, gap=4)
    table = torch.randn(layout.rows, CHANNELS)
    exact = model.forward_packed(table, layout, None, torch.float32)
    rough = model.forward_packed(table, layout, None, torch.bfloat16)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_gru_that_gpus_use_computes_the_same(dtype: torch.dtype) -> None:
    """torch's own, here on the CPU: what a GPU with these products has it compute in, and its gradients."""
    model = decoder(14, 4, rnn_dropout=0.5)
    layout = lay_out(LENGTHS, DAYS, patch_size=14, patch_stride=4, gap=4)
    patches = torch.randn(sum(layout.batch_sizes), 14 * CHANNELS)
    close = {"atol": 1e-6, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 5e-3, "rtol": 1e-2}
    here = model._recurrent(patches, layout, None, torch.float32)
    weight = torch.randn_like(here)
    (here * weight).sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    there = model._recurrent_of_torch(patches.to(dtype), layout, False, dtype)
    (there * weight).sum().backward()
    assert model.gru.training, "cuDNN has no backward pass otherwise"
    with torch.no_grad():
        again = model._recurrent_of_torch(patches.to(dtype), layout, False, dtype)
        assert not model.gru.training, "it would keep what only a backward pass needs"
        dropped = model._recurrent_of_torch(patches.to(dtype), layout, True, dtype)
    torch.testing.assert_close(there.float(), here, **close)
    assert torch.equal(again, there)
    assert not torch.equal(dropped, there)
    for name, gradient in expected.items():
        torch.testing.assert_close(
            model.get_parameter(name).grad, gradient, atol=10 * close["atol"], rtol=close["rtol"], msg=name
        )


def test_no_gpu_is_asked_for_a_gru_in_bfloat16() -> None:
    """cuDNN's takes float16 and float32; MIOpen's is not trusted with a mixture."""
    kinds = (torch.float32, torch.bfloat16, torch.float16)
    assert [gru_dtype(kind, amd=False) for kind in kinds] == [torch.float32, torch.float16, torch.float16]
    assert {gru_dtype(kind, amd=True) for kind in kinds} == {torch.float32}


def test_names_and_shapes_are_those_of_the_official_decoder() -> None:
    model = decoder(14, 4, n_layers=2)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    expected = {"h0": (1, 1, 16), "out.weight": (5, 16), "out.bias": (5,)}
    for day in range(3):
        expected |= {f"day_weights.{day}": (6, 6), f"day_biases.{day}": (1, 6)}
    for layer, width in ((0, 84), (1, 16)):
        expected |= {
            f"gru.weight_ih_l{layer}": (48, width), f"gru.weight_hh_l{layer}": (48, 16),
            f"gru.bias_ih_l{layer}": (48,), f"gru.bias_hh_l{layer}": (48,),
        }  # fmt: skip
    assert shapes == expected


def test_weights_start_as_the_official_ones_do() -> None:
    model = GRUDecoder(neural_dim=4, n_units=8, n_days=2, n_classes=3, n_layers=1)
    torch.testing.assert_close(model.day_weights[1].data, torch.eye(4))
    assert not model.day_biases[0].any()
    hidden = model.gru.weight_hh_l0
    torch.testing.assert_close(hidden.T @ hidden, torch.eye(8), atol=1e-5, rtol=0)
    assert model.gru.weight_ih_l0.abs().max() <= np.sqrt(6 / (24 + 4)) + 1e-6
    assert model.h0.abs().max() > 0


def test_dropout_masks_depend_on_their_stream_alone_and_have_the_rate() -> None:
    first = dropout_mask((1000, 64), 0.3, np.random.Generator(np.random.PCG64(5)))
    again = dropout_mask((1000, 64), 0.3, np.random.Generator(np.random.PCG64(5)))
    assert torch.equal(first, again)
    assert 1 - first.float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_dropout_keeps_the_expected_activation() -> None:
    model = decoder(4, 2, n_layers=1, input_dropout=0.5)
    layout = lay_out([400], [0], patch_size=4, patch_stride=2, gap=0)
    table = torch.randn(layout.rows, CHANNELS)
    source = DropoutSource(np.random.Generator(np.random.PCG64(1)))
    kept = torch.stack([model._session_layers(table, layout, source) for _ in range(400)]).mean(0)
    plain = model._session_layers(table, layout, None)
    torch.testing.assert_close(kept, plain, atol=0.2, rtol=0)


def test_gradients_pass_the_numerical_check_in_double_precision() -> None:
    """The hand-written recurrence against finite differences of torch's own GRU."""
    model = decoder(2, 1, n_layers=1)
    layout = lay_out([9, 5], [0, 1], patch_size=2, patch_stride=1, gap=0)
    table = torch.randn(layout.rows, CHANNELS)
    weight = torch.randn(sum(layout.batch_sizes), CLASSES)

    def loss() -> Tensor:
        return (model.forward_packed(table, layout, None, torch.float32) * weight).sum()

    loss().backward()
    for parameter in (model.h0, model.gru.weight_hh_l0, model.gru.bias_hh_l0):
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None
        direction = torch.randn_like(parameter)
        slope = float((parameter.grad * direction).sum())
        with torch.no_grad():
            parameter.add_(direction, alpha=1e-2)
            above = float(loss())
            parameter.sub_(direction, alpha=2e-2)
            below = float(loss())
            parameter.add_(direction, alpha=1e-2)
        assert (above - below) / 2e-2 == pytest.approx(slope, rel=2e-2, abs=1e-2)
