"""A run that was trained for a moment on a few synthetic sentences, and a graph of their words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from trainer.cli import main
from trainer.synthetic import SyntheticSpec, write_dataset

CONFIG = {
    "model": {"n_units": 16, "n_layers": 1, "rnn_dropout": 0.0},
    "num_training_batches": 2, "batches_per_val_step": 2, "lr_warmup_steps": 1,
    "dataset": {"batch_size": 4, "days_per_batch": 2},
    "compute": {"device": "cpu", "threads": 1, "precision": "fp32", "cache": "none"},
    "records": {"curves": False, "tensorboard": False},
    "safety": {"validate_first": False},
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    data: Path
    run: Path
    other: Path
    """A second run, with another seed."""
    graph: Path

    def arguments(self, *more: str) -> list[str]:
        return [
            "evaluate",
            "--run-dir",
            str(self.run),
            "--data-dir",
            str(self.data),
            "--graph",
            str(self.graph),
            *more,
        ]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("words")
    write_dataset(root / "data", SyntheticSpec.tiny())
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for name, seed in (("run", "1"), ("other", "2")):
        train = ["train", "--config", str(root / "config.yaml"), "--data-dir", str(root / "data")]
        assert main([*train, "--run-dir", str(root / name), "--seed", seed, "--device", "cpu"]) == 0
    assert (
        main(["lm", "build", "--data-dir", str(root / "data"), "--out", str(root / "graph"), "--order", "2"])
        == 0
    )
    return Place(root / "data", root / "run", root / "other", root / "graph")
