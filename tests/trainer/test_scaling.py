"""Loss scaling, which GPUs need for 16 bits, on the CPU: by powers of two, so that float32 shows every mistake."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.conftest import SESSIONS
from tests.trainer.test_memory import FailsOnce
from trainer.checkpoint import load, step_files
from trainer.config import Config
from trainer.config_reader import load_config
from trainer.contract import Exit, JobEnvironment
from trainer.interrupt import Interrupt
from trainer.loop import TrainingLoop
from trainer.precision import Precision
from trainer.progress import Console
from trainer.run_folder import locate_run
from trainer.setup import Compute, RunRequest, prepare
from trainer.training_run import TrainingRun

PLAIN, SCALED = Precision("fp32", "a test"), Precision("fp32", "a test", needs_scaler=True)
Train = Callable[..., dict[str, Tensor]]


@contextlib.contextmanager
def begun(
    config: Config, run: Path, precision: Precision, data: Path, console: Console | None = None
) -> Iterator[TrainingRun]:
    job = JobEnvironment.read({})
    folder = locate_run(config, run, job)
    folder.create()
    with contextlib.closing(console or Console(folder.log, quiet=True)) as console:
        request = RunRequest(config=config, folder=folder, data_dir=data, job=job, console=console)
        training = prepare(request, Compute(torch.device("cpu"), precision))
        with contextlib.closing(training):
            yield training


@pytest.fixture
def train(config_file: Path, data: Path, tmp_path: Path) -> Train:
    """Train to `steps` in a folder, from where it stands, beginning with a scale; returns the weights."""

    def run(
        folder: str, precision: Precision, steps: int, on: Path = data, scale: float | None = None,
        patience: int = 20,
    ) -> dict[str, Tensor]:  # fmt: skip
        sets = (f"num_training_batches={steps}", "lr_decay_steps=20", "compute.micro_batch_size=4",
                "grad_norm_clip_value=0.5", "safety.validate_first=false",
                f"safety.max_nonfinite_steps={patience}")  # fmt: skip
        with begun(load_config(config_file, sets), tmp_path / folder, precision, on) as training:
            if scale is not None and training.progress.step == 0:
                training.runner.restore_scale({**training.runner.scale_state(), "scale": scale})
            assert TrainingLoop(training, Interrupt()).run() is Exit.DONE
        weights: dict[str, Tensor] = load(step_files(training.folder.checkpoints)[-1])["model"]
        return weights

    return run


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert all(torch.equal(a[name], value) for name, value in b.items())


def test_a_scaled_loss_trains_the_same_model_wherever_a_run_goes_on(train: Train, tmp_path: Path) -> None:
    """Accumulated, clipped, with a step that ran out of memory, and resumed on a device of the other kind."""
    plain = train("plain", PLAIN, 12)
    with FailsOnce("_fused_adamw_", 3 * 5) as memory:
        reference = train("plain, little memory", PLAIN, 12)
    with FailsOnce("_fused_adamw_", 3 * 5) as memory:
        assert_equal(train("scaled, little memory", SCALED, 12), reference)
    assert memory.failed
    train("moved", PLAIN, 5)
    train("moved", SCALED, 9)
    assert load(tmp_path / "moved" / "checkpoints" / "step_00000009.pt")["scaler"]["scale"] == 65536.0
    assert_equal(train("moved", PLAIN, 12), plain)
    train("moved", SCALED, 13)  # the processor between had no use for the scale and kept it
    assert load(tmp_path / "moved" / "checkpoints" / "step_00000013.pt")["scaler"]["_growth_tracker"] == 5


def test_a_process_without_a_trial_of_the_batch_keeps_the_scale_with_the_others(
    config_file: Path, data: Path, tmp_path: Path
) -> None:
    with begun(load_config(config_file), tmp_path, SCALED, data) as training:
        loss = training.runner.accumulate(0, [], 6)
        for parameter in training.trained_parameters(0):
            parameter.grad = torch.zeros_like(parameter)  # as `Peers.sum_gradients` does
        assert float(training.runner.update(loss).grad_norm) == 0.0
        assert training.runner.scaler.state_dict()["_growth_tracker"] == 1


def test_the_scale_is_searched_for_from_above_and_that_is_no_divergence(train: Train, tmp_path: Path) -> None:
    """Scaled by 2^127 the loss overflows, and not by much less; a run in two pieces searches like a whole one."""
    whole = train("whole", SCALED, 12, scale=2.0**127, patience=1)
    train("pieces", SCALED, 8, scale=2.0**127, patience=1)
    assert_equal(train("pieces", SCALED, 12, patience=1), whole)
    states = [load(tmp_path / run / "checkpoints" / "step_00000012.pt") for run in ("whole", "pieces")]
    progress, scaler = states[0]["progress"], states[0]["scaler"]
    assert (states[1]["progress"], states[1]["scaler"]) == (progress, scaler)
    assert 1 < progress["skipped_steps"] == progress["scale_search_steps"] < 12
    assert scaler["scale"] == 2.0 ** (127 - progress["skipped_steps"])
    for run in ("whole", "pieces"):
        assert (tmp_path / run / "metrics.csv").read_bytes() == (
            tmp_path / "whole" / "metrics.csv"
        ).read_bytes()
        assert "were skipped" not in (tmp_path / run / "training_log").read_text()


def test_a_loss_that_is_not_finite_is_no_reason_to_lower_the_scale(
    train: Train, own_data: Path, tmp_path: Path
) -> None:
    with h5py.File(own_data / SESSIONS[0] / "data_train.hdf5", "a") as file:
        file["trial_0000/input_features"][...] = np.float32(3e38)
    weights = train("run", SCALED, 12, own_data)
    assert all(torch.isfinite(value).all() for value in weights.values())
    state = load(tmp_path / "run" / "checkpoints" / "step_00000012.pt")
    assert 0 < state["progress"]["skipped_steps"] < 12
    assert state["progress"]["scale_search_steps"] == 0
    assert state["scaler"]["scale"] == 65536.0


def test_gradients_that_stay_infinite_lower_the_scale_to_one_and_then_count(
    config_file: Path, data: Path, tmp_path: Path
) -> None:
    with begun(load_config(config_file), tmp_path, SCALED, data) as training:
        runner = training.runner
        runner.restore_scale({**runner.scale_state(), "scale": 4.0})
        lowered = []
        for _ in range(4):
            loss = runner.accumulate(0, [], 6)
            for parameter in training.trained_parameters(0):
                parameter.grad = torch.full_like(parameter, torch.inf)
            lowered.append(float(runner.update(loss).lowered_scale))
        assert lowered == [1, 1, 0, 0]
        assert runner.scale_state()["scale"] == 1.0
