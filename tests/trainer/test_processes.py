"""Several processes train one model, started by torchrun, talking through gloo."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch

from tests.trainer.conftest import Start, command
from trainer.checkpoint import load, step_files
from trainer.cli import main

PLAIN = (
    "--set",
    "model.rnn_dropout=0",
    "--set",
    "model.input_network.input_layer_dropout=0",
    "--set",
    "lr_decay_steps=20",
)


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def torchrun(start: Start, arguments: list[str], *options: str) -> str:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *options,
    ]
    process = start([*launcher, "-m", "trainer", *arguments], PYTHONWARNINGS="ignore")
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    return output


def test_two_processes_do_what_one_does_and_hand_over_to_one(
    start: Start, config_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(config_file, data, tmp_path / "one", *PLAIN)[3:]) == 0
    arguments = command(config_file, data, tmp_path / "two", *PLAIN)[3:]
    output = torchrun(start, [*arguments, "--limit-batches", "12"])
    assert "2 processes share each batch of 6" in output
    assert output.count("fresh start") == 1
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one")[:12], rel=1e-4)
    capsys.readouterr()
    assert main(arguments) == 0
    assert "processes 2 → 1" in capsys.readouterr().out
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
    one, two = (load(step_files(tmp_path / name / "checkpoints")[-1])["model"] for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-3, rtol=1e-2, msg=name)
