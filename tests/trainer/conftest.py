"""A data set small enough to train on in a second, and ways to run the trainer on it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
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

CHANNELS = 8
CLASSES = 5
SESSIONS = ("t15.2023.08.11", "t15.2023.08.13", "t15.2023.08.18")
REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need a GPU are no part of the suite where there is none; the summary counts them as deselected."""
    if torch.cuda.is_available():
        return
    without = [item for item in items if item.get_closest_marker("gpu") is not None]
    if without:
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item.get_closest_marker("gpu") is None]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the user's cache or a surrounding run, and none takes more than one core."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in list(os.environ):
        if name.startswith("LAUNCH_"):
            monkeypatch.delenv(name)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


TINY = {
    "model": {
        "n_input_features": CHANNELS, "n_units": 12, "n_layers": 2, "patch_size": 4, "patch_stride": 2,
        "rnn_dropout": 0.1, "input_network": {"input_layer_dropout": 0.1},
    },
    "num_training_batches": 20, "lr_max": 0.02, "lr_warmup_steps": 2, "epsilon": 1e-8,
    "batches_per_train_log": 3, "batches_per_val_step": 8, "batches_per_save": 5,
    "dataset": {"batch_size": 6, "days_per_batch": 2, "n_classes": CLASSES, "data_transforms": {"white_noise_std": 0.2}},
    "compute": {"threads": 1, "precision": "fp32"},
    "records": {"curves": False, "tensorboard": False},
}  # fmt: skip


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


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


FORKER = """
import json, os, sys
import torch
torch.set_num_threads(1)
import trainer.commands
from trainer.cli import main

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(main(json.loads(line)))
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""
"""Forks trainers that have their imports behind them: a start costs a tenth of a second instead of three."""


class Forked:
    """A trainer's process, the only one of its forker's at a time."""

    def __init__(self, forker: subprocess.Popen[str]) -> None:
        assert forker.stdout is not None
        self._forker_output = forker.stdout
        self.pid = int(forker.stdout.readline())

    def lives(self) -> bool:
        return not select.select([self._forker_output], [], [], 0)[0]

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        assert self._forker_output.readline() == "gone\n"


Fork = Callable[[list[str]], Forked]


@pytest.fixture
def fork(start: Start) -> Fork:
    """Start a real trainer process quickly, with the arguments of its command line."""
    forker: list[subprocess.Popen[str]] = []

    def run(arguments: list[str]) -> Forked:
        if not forker:
            process = start([sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
            forker.append(process)
        stdin = forker[0].stdin
        assert stdin is not None
        stdin.write(json.dumps(arguments) + "\n")
        stdin.flush()
        return Forked(forker[0])

    return run


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 60.0) -> None:
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
