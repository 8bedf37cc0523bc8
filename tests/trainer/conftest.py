"""A data set small enough to train on in a second, and ways to run the trainer on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from tests.forking import REPOSITORY
from trainer.cli import main

CHANNELS = 8
CLASSES = 5
SESSIONS = ("t15.2023.08.11", "t15.2023.08.13", "t15.2023.08.18")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need a GPU are no part of the suite where there is none; the summary counts them as deselected."""
    if torch.cuda.is_available():
        return
    without = [item for item in items if item.get_closest_marker("gpu") is not None]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item.get_closest_marker("gpu") is None]


@contextlib.contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Away from the user's cache and from a surrounding run, and on one core."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        for name in list(os.environ):
            if name.startswith("LAUNCH_"):
                patch.delenv(name)
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _alone(cache: Path) -> Iterator[None]:
    with alone(cache):
        yield


def write_trial(
    file: h5py.File, index: int, rng: np.random.Generator, *, bins: int = 0, **changes: object
) -> None:
    """One trial in the official layout whose channels say its labels; `changes` replace parts of it."""
    labels = rng.integers(1, CLASSES, size=int(rng.integers(2, 5))).astype(np.int32)
    num_bins = bins or int(rng.integers(24, 40))
    features = rng.normal(0, 0.3, (num_bins, CHANNELS)).astype(np.float32)
    for k, span in enumerate(np.array_split(np.arange(num_bins), len(labels))):
        features[span[: max(1, len(span) - 2)], labels[k]] += 2.0
    group = file.create_group(f"trial_{index:04d}")
    group.create_dataset("input_features", data=changes.get("input_features", features))
    group.create_dataset(
        "seq_class_ids", data=changes.get("seq_class_ids", np.pad(labels, (0, 20 - len(labels))))
    )
    text = np.frombuffer(f"sentence {index}".encode(), dtype=np.uint8).astype(np.int64)
    group.create_dataset("transcription", data=np.pad(text, (0, 40 - len(text))))
    attributes = {
        "n_time_steps": num_bins, "seq_len": len(labels), "block_num": 1 + index // 4, "trial_num": index,
        "session": file.filename, "sentence_label": f"sentence {index}",
    }  # fmt: skip
    for name, value in attributes.items():
        if changes.get(name, value) is not None:
            group.attrs[name] = changes.get(name, value)


def write_split(path: Path, num_trials: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        for index in range(num_trials):
            write_trial(file, index, rng)


def write_data(root: Path, sessions: tuple[str, ...] = SESSIONS) -> Path:
    for number, session in enumerate(sessions):
        write_split(root / session / "data_train.hdf5", 8, seed=10 * number)
        write_split(root / session / "data_val.hdf5", 3, seed=10 * number + 1)
    return root


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: to be read and not to be changed."""
    return write_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """The same trials, for a test that changes them."""
    return write_data(tmp_path / "data")


TINY = {
    "model": {
        "n_input_features": CHANNELS, "n_units": 12, "n_layers": 2, "patch_size": 4, "patch_stride": 2,
        "rnn_dropout": 0.1, "input_network": {"input_layer_dropout": 0.1},
    },
    "num_training_batches": 20, "lr_max": 0.02, "lr_warmup_steps": 2, "epsilon": 1e-8,
    "batches_per_train_log": 3, "batches_per_val_step": 8, "batches_per_save": 5,
    "dataset": {"batch_size": 6, "days_per_batch": 2, "n_classes": CLASSES, "data_transforms": {"white_noise_std": 0.2}},
    "compute": {"device": "cpu", "threads": 1, "precision": "fp32"},  # bit for bit is promised on CPUs
    "records": {"curves": False, "tensorboard": False},
}  # fmt: skip


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


Runs = Callable[..., Path]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, config_file: Path, data: Path, cache: Path) -> Runs:
    """The folder of a run that was left alone, with these options; made once, to be read and not to be changed."""
    known: dict[tuple[str, ...], Path] = {}

    def find(*options: str) -> Path:
        if options not in known:
            run = tmp_path_factory.mktemp("finished") / "run"
            with alone(cache):
                assert main(command(config_file, data, run, *options)[3:]) == 0
            known[options] = run
        return known[options]

    return find


def trainer(config: Path, data: Path, run: Path, *more: str) -> list[str]:
    """The command as typed."""
    return ["trainer", *command(config, data, run, *more)[3:]]


def command(config: Path, data: Path, run: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "trainer", "train", "--config", str(config), "--data-dir", str(data),
            "--run-dir", str(run), *more]  # fmt: skip


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a real trainer process; whatever still lives at the end of the test is killed."""
    processes: list[subprocess.Popen[str]] = []

    def launch(
        argv: list[str], stdin: int | None = None, stderr: int = subprocess.STDOUT, **environment: str
    ) -> subprocess.Popen[str]:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **environment}
        process = subprocess.Popen(
            argv, env=env, cwd=tmp_path, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 120.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.002)


def last_step(run: Path) -> int:
    """Step of the last whole line of metrics.csv; 0 before there is one."""
    try:
        lines = (run / "metrics.csv").read_text().splitlines()
    except FileNotFoundError:
        return 0
    cell = lines[-1].partition(",")[0] if lines else ""
    return int(cell) if cell.isdigit() else 0
