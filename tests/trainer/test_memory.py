"""A device whose memory is full: smaller pieces, the same batch, no step lost."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainer.conftest import TINY, command
from trainer.checkpoint import load, step_files
from trainer.cli import main
from trainer.memory import host_memory, is_out_of_memory

GATES = 3 * TINY["model"]["n_units"]  # type: ignore[index]
HALF, ONE = 57, 19
"""Rows of gates at most, for three trials and for one: up to 19 patches of 4 bins, every 2, in up to 40 bins."""


SHORT = ("--limit-batches", "8")
"""Up to the first validation behind the one before the first step."""
PRODUCTS = ("mm", "addmm")


def name_of(operation: Any) -> str:
    name: str = operation.overloadpacket.__name__
    return name


def allocate_too_much() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def fail_like_a_gpu() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class LittleMemory(TorchDispatchMode):
    """No room for a product of more than `rows` rows of gates: what asks for one gets torch's own error."""

    def __init__(self, rows: int, fail: Callable[[], None] = allocate_too_much) -> None:
        super().__init__()
        self.rows, self.fail = rows, fail

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if name_of(func) in PRODUCTS and result.shape[1] == GATES and len(result) > self.rows:
            self.fail()
        return result


class FailsOnce(TorchDispatchMode):
    """Memory is full at one moment of one step: at the first product after the `count`-th call of `operation`."""

    def __init__(self, operation: str, count: int) -> None:
        super().__init__()
        self.operation, self.left, self.failed = operation, count, False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.left == 0 and not self.failed and name_of(func) in PRODUCTS:
            self.failed = True
            allocate_too_much()
        self.left -= name_of(func) == self.operation and self.left > 0
        return func(*args, **(kwargs or {}))


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, Tensor]:
    model: dict[str, Tensor] = load(step_files(run / "checkpoints")[-1])["model"]
    return model


def micro_batch_size(run: Path) -> int:
    return int(load(step_files(run / "checkpoints")[-1])["progress"]["micro_batch_size"])


Train = Callable[..., str]


@pytest.fixture
def train(
    config_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Train]:
    def run(folder: str, *more: str, code: int = 0) -> str:
        assert main(command(config_file, data, tmp_path / folder, *more)[3:]) == code
        captured = capsys.readouterr()
        return captured.out + captured.err

    return run


def test_the_step_that_found_no_memory_is_taken_again_in_smaller_pieces(train: Train, tmp_path: Path) -> None:
    """From the first step on, and in a run that had all its memory before: the size is part of the state."""
    with LittleMemory(HALF):
        output = train("little", *SHORT)
    said = "out of memory at step 1: going on with micro-batches of 3, 6 trials per step as before"
    assert output.count("out of memory") == output.count(said) == 1
    train("small pieces", "--set", "compute.micro_batch_size=3", *SHORT)
    assert (tmp_path / "little" / "metrics.csv").read_bytes() == (
        tmp_path / "small pieces" / "metrics.csv"
    ).read_bytes()
    ours, theirs = weights(tmp_path / "little"), weights(tmp_path / "small pieces")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert "out_of_memory" in (tmp_path / "little" / "events.jsonl").read_text()

    train("later", "--limit-batches", "4")
    assert micro_batch_size(tmp_path / "later") == 6
    with LittleMemory(HALF, fail_like_a_gpu):
        output = train("later", *SHORT)
    assert "out of memory at step 5:" in output
    assert "out of memory" not in train(
        "later", "--limit-batches", "11"
    )  # the memory is back, the size stays: the same bits
    assert micro_batch_size(tmp_path / "later") == 3
    assert [row["step"] for row in rows(tmp_path / "later")] == [str(step) for step in range(12)]


def test_where_in_a_step_memory_ran_out_changes_nothing(train: Train, tmp_path: Path) -> None:
    """In the forward pass of step 6, and deep in its backward pass, where half of the gradients exist."""
    five_steps = 3 * 5  # the optimiser has three groups of parameters
    for folder, operation, count in (
        ("forward", "_fused_adamw_", five_steps),
        ("backward", "_ctc_loss_backward", 6),
    ):
        with FailsOnce(operation, count) as memory:
            output = train(folder, *SHORT)
        assert memory.failed
        assert "out of memory at step 6: going on with micro-batches of 3" in output
    forward, backward = (weights(tmp_path / name) for name in ("forward", "backward"))
    assert all(torch.equal(forward[name], backward[name]) for name in forward)
    assert rows(tmp_path / "forward") == rows(tmp_path / "backward")


def test_a_validation_that_finds_no_memory_takes_smaller_pieces_too(train: Train, tmp_path: Path) -> None:
    plain = ("--set", "model.rnn_dropout=0", "--set", "model.input_network.input_layer_dropout=0")
    train("enough", *plain, *SHORT)
    with LittleMemory(ONE):
        output = train("little", *plain, *SHORT)
    assert "out of memory: 3 trials were decoded in 3 pieces" in output
    assert "going on with micro-batches of 1, 6 trials" in output
    for a, b in zip(rows(tmp_path / "enough"), rows(tmp_path / "little"), strict=True):
        assert a["val_per"] == b["val_per"]
        for name in ("loss", "val_loss"):
            assert a[name] == b[name] == "" or float(a[name]) == pytest.approx(float(b[name]), rel=1e-3)


def test_a_device_too_small_for_one_trial_is_an_error_and_the_steps_before_are_kept(
    train: Train, tmp_path: Path
) -> None:
    train("run", "--limit-batches", "4")
    with LittleMemory(3):
        output = train("run", code=1)
    assert "error: step 5 does not fit the memory of cpu, even one trial at a time" in output
    assert int(step_files(tmp_path / "run" / "checkpoints")[-1].stem.partition("_")[2]) == 4
    train("run", *SHORT)
    assert rows(tmp_path / "run")[-1]["step"] == "8"


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    for words in (
        "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory",
        "HIP error: out of memory",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ):
        assert is_out_of_memory(RuntimeError(words))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def test_memory_that_the_system_does_not_pin_is_taken_as_it_is() -> None:
    table = host_memory((3, 4), torch.float32, pinned=True)
    assert (table.shape, table.dtype) == ((3, 4), torch.float32)
    assert table.is_pinned() is torch.cuda.is_available()
