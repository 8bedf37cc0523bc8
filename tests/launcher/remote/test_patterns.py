"""Reading somebody else's output: its progress, and that memory ran out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher.remote.onboard import patterns
from launcher.remote.onboard.exhaustion import out_of_memory
from launcher.remote.onboard.patterns import Patterns
from launcher.runners.base import Best, LogReading, MemoryKind
from tests.launcher.remote.jobs import Machine

STEP = r"step (?P<step>[\d,]+)/(?P<total>[\d,]+).* loss[ =]+(?P<loss>\S+)"
BLEU = r"BLEU = (?P<val_bleu>[\d.]+)"


class Reader:
    def __init__(self, folder: Path, *expressions: str) -> None:
        self.file = folder / "metrics.jsonl"
        self.patterns = Patterns(list(expressions), str(self.file))

    def read(self, *pieces: str, last: bool = True) -> list[dict[str, Any]]:
        for piece in pieces:
            self.patterns.feed(piece.encode())
        self.patterns.look(last=last)
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def told(self) -> dict[str, Any]:
        told = self.patterns.summary()
        assert told is not None
        return told


def test_numbers_are_found_wherever_a_line_is_cut(tmp_path: Path) -> None:
    reader = Reader(tmp_path, STEP, BLEU)
    assert reader.read("start\nstep 1/2,000 lo", last=False) == []
    first = {"step": 1, "total": 2000, "loss": 0.5}
    assert reader.read("ss = 0.5\n", last=False) == [first]
    bar = "step 2/2,000 loss=0.25\rstep 1,003/2,000 loss=nan\r\n"
    found = reader.read(bar, "\x1b[32mBLEU = \x1b[1m21.5\x1b[0m", last=True)
    assert found[1] == {"step": 2, "total": 2000, "loss": 0.25}
    assert found[2]["step"] == 1003
    assert found[3] == {"step": 1003, "val_bleu": 21.5}
    assert reader.told == {"lines": 5, "matched": 4, "passed_over_bytes": 0, "trouble": ""}
    steps = "".join(f"step {n}/2000 loss 0.5" + "\b" * 20 for n in range(2001, 2004))
    assert reader.read(steps)[-1]["step"] == 2003, "a bar that goes back letter by letter"


def test_what_matches_nothing_and_what_is_no_number_are_told(tmp_path: Path) -> None:
    assert Patterns([], str(tmp_path / "m")).summary() is None
    reader = Reader(tmp_path, r"loss (?P<loss>\w+)")
    assert reader.read("epoch 1\nepoch 2\n") == []
    assert (reader.told["lines"], reader.told["matched"]) == (2, 0)
    assert reader.read("loss high\n") == []
    assert reader.told["trouble"] == "the group loss matched 'high', which is no number"
    broken = Reader(tmp_path, r"(?P<loss>\d")
    assert broken.read("loss 1\n") == []
    assert "does not take it: missing )" in broken.told["trouble"]


def test_an_expression_that_never_comes_to_an_end_is_not_tried_for_ever(tmp_path: Path) -> None:
    reader = Reader(tmp_path, r"(?P<loss>a+)+$", STEP)
    line = "step 7/9 loss 1 " + "a" * 50 + "b\n"
    for _ in range(2 * patterns.MOST_SLOW_LINES):
        reader.read(line)
    assert "not tried any more" in reader.told["trouble"]
    assert "a+" in reader.told["trouble"], "which of them"
    assert reader.told["lines"] == reader.told["matched"] > patterns.MOST_SLOW_LINES, "the other one goes on"
    assert reader.read("step 8/9 loss 1\n")[-1]["step"] == 8


def test_of_a_flood_the_newest_is_read_and_little_is_written(tmp_path: Path) -> None:
    reader = Reader(tmp_path, STEP)
    lines = 4 * patterns.WAITING_BYTES // 32
    found = reader.read(*(f"step {n}/{lines} loss 0.{n}\n" for n in range(lines)))
    told = reader.told
    assert told["passed_over_bytes"] > patterns.WAITING_BYTES
    assert told["matched"] == told["lines"] > 0
    assert len(found) == patterns.RECORDS_PER_LOOK
    endless = Reader(tmp_path, STEP)
    assert len(endless.read("x" * (patterns.WAITING_BYTES + 5), "\nstep 8/9 loss 1")) > len(found)


TORCH = """Traceback (most recent call last):
  File "train.py", line 3, in <module>
    model(batch)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB
"""


@pytest.mark.parametrize(
    ("output", "of"),
    [
        (TORCH, "gpu"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", "gpu"),
        ("RuntimeError: CUDA out of memory. Tried to allocate 2.00 MiB", "gpu"),
        ("RuntimeError: CUDA error: out of memory", "gpu"),
        ("[rank1]: torch.OutOfMemoryError: HIP out of memory. Tried", "gpu"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "gpu"),
        ("tensorflow.python.framework.errors_impl.ResourceExhaustedError: {{}} failed to allocate memory", "gpu"),
        ("2026 W tensorflow: OOM when allocating tensor with shape[512,512] and type float", "gpu"),
        ("jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying", "gpu"),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array", "memory"),
        ("MemoryError", "memory"),
        ("error: step 5 does not fit the memory of cuda:0, even one trial at a time", "gpu"),
        ("RuntimeError: DataLoader worker (pid 12) is killed by signal: Killed. ", "memory"),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory", "memory"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "memory"),
        ("OSError: [Errno 12] Cannot allocate memory", "memory"),
        ("ValueError: bad", None),
        ("out of memory: 64 utterances per micro-batch do not fit, 32 from here on", None),
        ("WARNING: the GPU has little memory; MemoryErrors are handled", None),
        ("", None),
    ],
)  # fmt: skip
def test_libraries_say_in_their_own_words_that_memory_ran_out(output: str, of: str | None) -> None:
    found = out_of_memory(f"step 3\n{output}\nlast words\n".encode())
    assert (found and found["of"]) == of
    assert found is None or found["words"] in output


def test_a_program_that_was_not_changed_is_followed_and_its_end_is_named(machine: Machine) -> None:
    train = (
        "import sys\n"
        "for n in (1, 2, 3):\n    print(f'step {n}/9 loss {1 / n}', flush=True)\n"
        "print('BLEU = 30.5')\nprint('BLEU = 12')\nprint('nothing of interest')\n"
        f"sys.exit({TORCH.strip().splitlines()[-1]!r})\n"
    )
    submission = machine.submission(
        "true",
        {"train.py": train},
        setup="echo step 999/999 loss 9",
        progress=(STEP, BLEU),
        best_of=("val_bleu", "max"),
    )
    seen = machine.ended(machine.start(replace(submission, run="python3 train.py")))
    assert (seen.step, seen.total, seen.metrics["val_bleu"]) == (3, 9, 12.0)
    assert seen.best == Best(value=30.5, step=3)
    assert seen.log_reading == LogReading(lines=7, matched=5)
    assert seen.out_of_memory is MemoryKind.GPU
    assert (
        "exit code 1: the GPU ran out of memory (torch.OutOfMemoryError: CUDA out of memory." in seen.reason
    )
    # The next start on this machine knows what was best before.
    again = machine.ended(machine.start(replace(submission, start=2, progress=())))
    assert (again.best, again.log_reading, again.out_of_memory) == (seen.best, None, None)
