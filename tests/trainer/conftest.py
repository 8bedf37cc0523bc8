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

from trainer.cli import main

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


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed trials of all tests; each file has a name of its own there."""
    return tmp_path_factory.mktemp("cache")


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
    "compute": {"threads": 1, "precision": "fp32"},
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


FORKER = """
import json, os, runpy, sys
import torch
torch.set_num_threads(1)
import torch._dynamo  # which optimisers import on their first step
import trainer.commands
from trainer.cli import main

for line in sys.stdin:
    order = json.loads(line)
    children = []
    for rank in range(order["count"]):
        children.append(os.fork())
        if not children[-1]:
            output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if order["count"] > 1:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(order["count"]))
            os.environ.update(order["environment"])
            sys.argv = order["argv"]
            if sys.argv[0] == "trainer":
                sys.exit(main(sys.argv[1:]))
            runpy.run_path(sys.argv[0], run_name="__main__")
            sys.exit(0)
    print(children[0], flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(max(codes, key=abs), flush=True)
"""
"""Forks programs that have their imports behind them: a start costs a tenth of a second instead of three."""


class Forked:
    """A process, the only one of its forker's at a time."""

    def __init__(self, forker: subprocess.Popen[str], output: Path) -> None:
        assert forker.stdout is not None
        self._forker_output = forker.stdout
        self._output = output
        self.pid = int(forker.stdout.readline())
        self.returncode: int | None = None

    def lives(self) -> bool:
        self._look(0)
        return self.returncode is None

    def output(self) -> str:
        """What it has written so far."""
        return self._output.read_text()

    def wait(self, deadline_s: float = 120.0) -> str:
        """All that it has written, at its end."""
        self._look(deadline_s)
        assert self.returncode is not None, f"still running after {deadline_s:g} s"
        return self.output()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def _look(self, deadline_s: float) -> None:
        if self.returncode is None and select.select([self._forker_output], [], [], deadline_s)[0]:
            self.returncode = int(self._forker_output.readline())


Fork = Callable[..., Forked]


@pytest.fixture(scope="session")
def forker(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAUNCH_")}
    process = subprocess.Popen(
        [sys.executable, "-c", FORKER], cwd=tmp_path_factory.mktemp("forker"), stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(cache)},
    )  # fmt: skip
    with process:
        yield process
        process.kill()


@pytest.fixture
def fork(forker: subprocess.Popen[str], tmp_path: Path) -> Iterator[Fork]:
    """Start a real process quickly: ``trainer`` with arguments, or the path of a script with its own.

    ``count``: so many that know of each other, as ``torchrun`` starts them; the first is signalled, the worst code counts.
    """
    forked: list[Forked] = []

    def run(argv: list[str], count: int = 1, **environment: str) -> Forked:
        output = tmp_path / f"output{len(forked)}.txt"
        output.touch()
        order = {"argv": argv, "count": count, "environment": environment, "output": str(output)}
        assert forker.stdin is not None
        forker.stdin.write(json.dumps(order) + "\n")
        forker.stdin.flush()
        forked.append(Forked(forker, output))
        return forked[-1]

    yield run
    if forked and forked[-1].lives():
        forked[-1].kill()


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
