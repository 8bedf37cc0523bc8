"""Checkpoints in the official form, both ways, and warm starts from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from tests.trainer.conftest import CHANNELS, CLASSES, SESSIONS, TINY, Runs, command
from trainer.checkpoint import load, step_files
from trainer.cli import main
from trainer.config_reader import from_mapping
from trainer.errors import CheckpointMismatch
from trainer.evaluate import load_model
from trainer.official_checkpoint import load_official
from trainer.warm_start import warm_start

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> tuple[int, str]:
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


class Baseline(nn.Module):
    """The official architecture from its published description, written with plain torch parts."""

    def __init__(self) -> None:
        super().__init__()
        model = TINY["model"]
        self.day_weights = nn.ParameterList([nn.Parameter(torch.eye(CHANNELS)) for _ in SESSIONS])
        self.day_biases = nn.ParameterList([nn.Parameter(torch.zeros(1, CHANNELS)) for _ in SESSIONS])
        self.gru = nn.GRU(
            CHANNELS * model["patch_size"], model["n_units"], model["n_layers"], batch_first=True
        )
        self.out = nn.Linear(model["n_units"], CLASSES)
        self.h0 = nn.Parameter(torch.zeros(1, 1, model["n_units"]))

    def forward(self, x: Tensor, day: int) -> Tensor:
        model = TINY["model"]
        x = nn.functional.softsign(x @ self.day_weights[day] + self.day_biases[day])
        starts = range(0, x.shape[1] - model["patch_size"] + 1, model["patch_stride"])
        patches = torch.stack([x[:, s : s + model["patch_size"]].flatten(1) for s in starts], dim=1)
        h0 = self.h0.expand(model["n_layers"], len(x), model["n_units"]).contiguous()
        return self.out(self.gru(patches, h0)[0])


def randomised() -> Baseline:
    torch.manual_seed(4)
    model = Baseline()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    return model


def official_file(path: Path, model: nn.Module, prefix: str = "") -> Path:
    """A checkpoint as the official trainer writes one: wrapped names, a NumPy scalar as val_loss."""
    groups = [
        [p for n, p in model.named_parameters() if "gru.bias" in n or "out.bias" in n],
        [p for n, p in model.named_parameters() if "day_" in n],
        [
            p
            for n, p in model.named_parameters()
            if "day_" not in n and "gru.bias" not in n and "out.bias" not in n
        ],
    ]
    optimizer = torch.optim.AdamW([{"params": g} for g in groups], lr=0.005)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda step: 1.0] * 3)
    torch.save(
        {
            "model_state_dict": {prefix + k: v for k, v in model.state_dict().items()},
            "optimizer_state_dict": optimizer.state_dict(), "scheduler_state_dict": scheduler.state_dict(),
            "val_PER": 0.123, "val_loss": np.float64(17.5),
        },
        path,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_official_checkpoints_give_the_official_logits(tmp_path: Path, prefix: str) -> None:
    baseline = randomised()
    path = official_file(tmp_path / "best_checkpoint", baseline, prefix)
    config = from_mapping({**TINY, "dataset": {**TINY["dataset"], "sessions": list(SESSIONS)}})
    ours = load_model(path, config, torch.device("cpu"))
    x = torch.randn(2, 37, CHANNELS)
    with torch.no_grad():
        logits, _ = ours(x, torch.tensor([1, 1]))
        torch.testing.assert_close(logits, baseline(x, 1), atol=1e-5, rtol=0)
    assert load_official(path)["val_loss"] == 17.5


def test_our_best_checkpoint_loads_into_the_official_parts(finished: Runs, tmp_path: Path) -> None:
    run = finished()
    checkpoint = torch.load(run / "checkpoint" / "best_checkpoint", weights_only=True)
    baseline = Baseline()
    baseline.load_state_dict(checkpoint["model_state_dict"])
    fresh = torch.load(official_file(tmp_path / "official", baseline), weights_only=False)
    ours, theirs = checkpoint["optimizer_state_dict"], fresh["optimizer_state_dict"]
    assert [g["params"] for g in ours["param_groups"]] == [g["params"] for g in theirs["param_groups"]]
    assert [len(g["params"]) for g in ours["param_groups"]] == [5, 6, 6]
    assert set(checkpoint["scheduler_state_dict"]) >= {"last_epoch", "base_lrs", "_last_lr", "lr_lambdas"}
    assert checkpoint["scheduler_state_dict"]["lr_lambdas"] == [None, None, None]
    args = yaml.safe_load((run / "checkpoint" / "args.yaml").read_text())
    for key in (
        "n_input_features",
        "n_units",
        "rnn_dropout",
        "n_layers",
        "patch_size",
        "patch_stride",
        "input_network",
    ):
        assert key in args["model"]
    for key in ("lr_decay_steps", "lr_max_day", "lr_min_day", "lr_decay_steps_day", "lr_warmup_steps_day"):
        assert args[key] is not None, "the official trainer computes with every field of the schedule"
    assert args["dataset"]["n_classes"] == CLASSES


def test_convert_turns_every_kind_into_the_official_form(
    call: Call, finished: Runs, data: Path, tmp_path: Path
) -> None:
    run = finished()
    state = step_files(run / "checkpoints")[-1]
    assert call("convert", state, tmp_path / "out")[0] == 0
    best = load_official(run / "checkpoint" / "best_checkpoint")
    converted = load_official(tmp_path / "out" / "checkpoint" / "best_checkpoint")
    assert all(torch.equal(best["model_state_dict"][k], v) for k, v in converted["model_state_dict"].items())
    code, output = call("evaluate", "--run-dir", tmp_path / "out", "--data-dir", data)
    assert code == 0, output
    wrapped = official_file(tmp_path / "wrapped", randomised(), "module._orig_mod.")
    assert call("convert", wrapped, tmp_path / "plain.pt")[0] == 0
    assert "gru.weight_ih_l0" in torch.load(tmp_path / "plain.pt", weights_only=True)["model_state_dict"]
    code, output = call("convert", wrapped, tmp_path / "plain.pt")
    assert code == 2
    assert "exists already" in output


def test_init_from_checkpoint_is_a_warm_start_and_says_so(
    call: Call, config_file: Path, data: Path, tmp_path: Path
) -> None:
    path = official_file(tmp_path / "official", randomised(), "_orig_mod.")
    options = (
        "--set",
        "init_from_checkpoint=true",
        "--set",
        f"init_checkpoint_path={path}",
        "--limit-batches",
        "1",
    )
    code, output = call(*command(config_file, data, tmp_path / "run", *options)[3:])
    assert code == 0, output
    assert f"warm start from {path}: 17 parameters taken, 0 skipped" in output
    assert "fresh start" not in output
    first = load(step_files(tmp_path / "run" / "checkpoints")[0])["model"]
    drift = max(float((first[k] - v).abs().max()) for k, v in randomised().state_dict().items())
    assert drift < 0.05  # one step of warm-up away from the checkpoint
    code, output = call(*command(config_file, data, tmp_path / "run", *options)[3:])
    assert "resume: going on after step 1" in output
    assert "warm start" not in output


def test_a_warm_start_of_which_nothing_or_not_enough_matched_is_refused(
    call: Call, config_file: Path, data: Path, tmp_path: Path
) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    with pytest.raises(CheckpointMismatch, match="nothing matched"):
        warm_start(model, {"other": torch.zeros(1)})
    before = model[0].weight.clone()
    with pytest.raises(CheckpointMismatch, match=r"1\. is required, but 1.weight was not taken"):
        warm_start(model, {"0.weight": torch.zeros(3, 3), "1.weight": torch.zeros(9, 9)}, require=["1."])
    assert torch.equal(model[0].weight, before)
    report = warm_start(
        model, {"0.weight": torch.zeros(3, 3), "1.weight": torch.zeros(9, 9), "x": torch.zeros(1)}
    )
    assert (report.matched, report.skipped) == (("0.weight",), ("1.weight",))
    assert (report.absent, report.unused) == (("0.bias", "1.bias"), ("x",))
    with pytest.raises(CheckpointMismatch, match=r"0.bias holds numbers that are not finite"):
        warm_start(model, {"0.weight": torch.ones(3, 3), "0.bias": torch.full((3,), torch.nan)})
    assert not model[0].weight.any()
    path = official_file(tmp_path / "official", randomised())
    options = (
        "--set",
        "init_from_checkpoint=true",
        "--set",
        f"init_checkpoint_path={path}",
        "--set",
        "model.n_units=16",
        "--require",
        "gru.",
    )
    code, output = call(*command(config_file, data, tmp_path / "run", *options)[3:])
    assert code == 2
    assert "gru. is required" in output


def test_what_a_warm_start_lacks_is_found_before_the_data_are_read(
    call: Call, config_file: Path, own_data: Path, tmp_path: Path
) -> None:
    for session in SESSIONS:
        (own_data / session / "data_val.hdf5").write_bytes(b"would be refused")
    arguments = command(config_file, own_data, tmp_path / "run")[3:]
    code, output = call(*arguments, "--require", "gru.")
    assert code == 2
    assert "error: --require gru.: only a warm start takes parameters" in output
    missing = ("--set", "init_from_checkpoint=true", "--set", f"init_checkpoint_path={tmp_path / 'absent'}")
    code, output = call(*arguments, *missing)
    assert code == 2
    assert f"error: there is no checkpoint {tmp_path / 'absent'}" in output
    (tmp_path / "absent").write_text("no checkpoint")
    code, output = call(*arguments, *missing)
    assert code == 2
    assert f"error: {tmp_path / 'absent'} cannot be read" in output


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"model_state_dict": {"out.bias": [1, 2]}}, "its model_state_dict holds more than named tensors"),
        ({"model_state_dict": {1: torch.zeros(2)}}, "its model_state_dict holds more than named tensors"),
        ({"model_state_dict": {}, "val_PER": "low"}, "val_PER is not a number: 'low'"),
    ],
)
def test_a_file_of_another_program_is_no_official_checkpoint(
    content: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "other")
    with pytest.raises(CheckpointMismatch, match=complaint):
        load_official(tmp_path / "other")


def test_a_resume_state_is_no_official_checkpoint_and_the_way_there_is_said(
    call: Call, finished: Runs, config_file: Path, data: Path, tmp_path: Path
) -> None:
    state = step_files(finished() / "checkpoints")[-1]
    options = ("--set", "init_from_checkpoint=true", "--set", f"init_checkpoint_path={state}")
    code, output = call(*command(config_file, data, tmp_path / "run", *options)[3:])
    assert code == 2
    assert f"hint: it is a resume state: trainer convert {state} FOLDER" in output


def test_a_model_trained_in_fp16_can_be_evaluated_without_a_gpu(
    call: Call, finished: Runs, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished() / "checkpoint", run / "checkpoint")
    args = run / "checkpoint" / "args.yaml"
    args.write_text(args.read_text().replace("precision: fp32", "precision: fp16"))
    code, output = call("evaluate", "--run-dir", run, "--data-dir", data, "--device", "cpu")
    assert code == 0, output


def test_evaluate_names_the_sessions_that_are_missing(
    finished: Runs, own_data: Path, call: Call, tmp_path: Path
) -> None:
    shutil.rmtree(own_data / SESSIONS[1])
    code, output = call(
        "evaluate", "--run-dir", finished(), "--data-dir", own_data, "--output", tmp_path / "t.csv"
    )
    assert code == 0
    assert f"1 of {len(SESSIONS)} sessions have no folder" in output
    assert f"left out: {SESSIONS[1]}" in output


def test_evaluate_reports_by_session_and_writes_a_line_per_trial(
    call: Call, finished: Runs, data: Path, tmp_path: Path
) -> None:
    run, table = finished(), tmp_path / "evaluation.csv"
    code, output = call("evaluate", "--run-dir", run, "--data-dir", data, "--output", table)
    assert code == 0, output
    for session in SESSIONS:
        assert session in output
    lines = table.read_text().splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("session,block_num,trial_num,num_bins,num_phonemes,edits,per")
    best = load_official(run / "checkpoint" / "best_checkpoint")
    edits, phonemes = (sum(int(line.split(",")[c]) for line in lines[1:]) for c in (5, 4))
    assert edits / phonemes == pytest.approx(best["val_PER"])
