from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.metrics import MetricsWriter


def test_numbers_of_any_library_are_lines_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCH_METRICS_FILE", str(tmp_path / "logs" / "metrics.jsonl"))
    metrics = MetricsWriter.from_environment()
    logs = {"loss": np.float32(0.5), "accuracy": np.float64(0.25), "lr": None, "worst": float("nan")}
    metrics.write(1, 3, **logs)
    metrics.result(val_bleu=21, samples=np.int64(7))
    lines = (tmp_path / "logs" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "total": 3, "loss": 0.5, "accuracy": 0.25},
        {"val_bleu": 21, "samples": 7.0},
    ]
    monkeypatch.delenv("LAUNCH_METRICS_FILE")
    MetricsWriter.from_environment().write(1, 1, loss=0.0)
