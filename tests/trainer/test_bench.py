"""``trainer bench``: real steps with given or random trials, and numbers that the table of paces understands."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
import yaml

from benchmarks.train_step.paces import measured
from tests.trainer.conftest import TINY
from trainer.cli import main


@pytest.mark.parametrize("given", [True, False])
def test_bench_measures_steps_and_its_json_is_a_row_of_paces(
    given: bool,
    config_file: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    source = ["--data-dir", str(data)] if given else ["--bins", "30"]
    options = ["--config", str(config_file), "--steps", "3", "--warm-up", "2", "--workload", "tiny", "--json"]
    assert main(["bench", *options, *source]) == 0
    captured = capsys.readouterr()
    assert "precision: fp32 (asked for)" in captured.err
    report = json.loads(captured.out)
    (result,) = report["results"]
    assert (result["steps"], result["warm_up_steps"], result["precision"]) == (3, 2, "fp32")
    assert result["reason"] == "asked for"
    assert result["data"] == ("given" if given else "synthetic")
    assert result["steps_per_s"] * result["seconds"] == pytest.approx(3)
    assert result["trials_per_s"] == pytest.approx(TINY["dataset"]["batch_size"] * result["steps_per_s"])
    assert result["memory_peak_gib"] > 0
    assert not list(scratch.glob("trainer-bench-*")), "everything that was written is gone"

    kept = tmp_path / "outputs" / "2026-01-02-here.json"
    kept.parent.mkdir()
    kept.write_text(captured.out)
    (row,) = measured(kept.parent)
    assert row[:2] == ("b2t25-tiny", "")
    assert row[3:5] == (f"{result['steps_per_s']:.4g}", "fp32")


def test_random_trials_suit_configurations_that_name_sessions_and_channels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = {**TINY, "dataset": {
        **TINY["dataset"], "sessions": ["t15.a", "t15.b", "t15.c"], "dataset_probability_val": [1, 0, 1],
        "neural_dim": 20, "feature_subset": [0, 3, 5, 7, 11, 13, 17, 19], "bad_trials_dict": {"t15.a": {"1": [0]}},
    }}  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree))
    options = ["--config", str(tmp_path / "c.yaml"), "--steps", "1", "--warm-up", "0", "--bins", "1"]
    assert main(["bench", *options]) == 0
    shown = capsys.readouterr().out
    assert "synthetic data" in shown and " steps/s, " in shown and "memory: " in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--steps", "0"], "--steps must be at least 1, found 0"),
        (["--warm-up", "-1"], "--warm-up must be at least 0, found -1"),
        (["--bins", "0"], "--bins must be at least 1, found 0"),
        (["--data-dir", "nowhere"], "data folder nowhere does not exist"),
        (["--device", "cuda:99"], "cuda:99 was asked for"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], expected: str, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--config", str(config_file), "--bins", "30", *arguments]) == 2
    assert expected in capsys.readouterr().err
