"""What only a GPU can show; deselected without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.conftest import command
from trainer.cli import main
from trainer.layout import lay_out
from trainer.model import GRUDecoder

pytestmark = pytest.mark.gpu
CUDA = torch.device("cuda")


def test_the_gpu_gives_the_logits_and_gradients_of_the_cpu() -> None:
    torch.manual_seed(0)
    model = GRUDecoder(
        neural_dim=8, n_units=16, n_days=2, n_classes=5, n_layers=2, patch_size=14, patch_stride=4
    )
    layout = lay_out([50, 90, 70], [0, 0, 1], patch_size=14, patch_stride=4, gap=4)
    table = torch.randn(layout.rows, 8)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    here = model.forward_packed(table, layout, None, torch.float32)
    here.square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.to(CUDA)
    there = model.forward_packed(table.to(CUDA), layout, None, torch.float32)
    there.square().sum().backward()
    torch.testing.assert_close(there.cpu(), here, atol=1e-5, rtol=1e-4)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.cpu(), expected[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_gru_is_cudnns_in_every_precision(dtype: torch.dtype) -> None:
    model = GRUDecoder(neural_dim=8, n_units=16, n_days=1, n_classes=5, n_layers=2, rnn_dropout=0.4).to(CUDA)
    layout = lay_out([50, 90], [0, 0], patch_size=0, patch_stride=0, gap=0)
    patches = torch.randn(sum(layout.batch_sizes), 8, device=CUDA, dtype=dtype)
    hidden = model._recurrent_of_torch(patches, layout, True, dtype)
    assert hidden.grad_fn is not None
    assert hidden.grad_fn.name().startswith("CudnnRnn")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_learns_in_every_precision_and_resumes(
    precision: str, config_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, sets = tmp_path / "run", ("--set", f"compute.precision={precision}", "--set", "lr_decay_steps=150")
    arguments = command(config_file, data, run, "--device", "cuda", *sets)[3:]
    assert main([*arguments, "--limit-batches", "80"]) == 0
    assert main([*arguments, "--limit-batches", "150"]) == 0
    output = capsys.readouterr().out
    assert "going on after step 80" in output
    assert "train trials are kept in GPU memory" in output
    lines = (run / "metrics.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(151))
    losses = [float(line.split(",")[2]) for line in lines[2:]]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) / 2
