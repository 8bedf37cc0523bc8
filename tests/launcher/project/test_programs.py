"""What the text of a program shows."""

from __future__ import annotations

import gc
import json
import threading
import time

from launcher.project.programs import Option, read_notebook, read_program

TRAINING = """
import argparse, signal
import numpy as np, torch
from pathlib import Path
import own_module

parser = argparse.ArgumentParser()
parser.add_argument("config")
parser.add_argument("-l", "--lr", type=float, default=-1e-3)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--data", required=True)
signal.signal(signal.SIGTERM, print)

def main():
    features = np.load("features/train.npy")
    old = open("notes.txt")
    torch.save(old, f"ckpt/step_{features}.pt")
    with open("log.csv", "w") as log:
        log.write("a line")
    return {"val_loss": 1, "sentence with val_loss in it": 2}

if __name__ == "__main__":
    main()
"""


def test_a_training_script() -> None:
    program = read_program("train.py", TRAINING)
    assert program is not None
    assert program.runs_alone
    assert program.trains
    assert program.options == (
        Option(flag="config", required=True),
        Option(flag="--lr", default=-1e-3),
        Option(flag="--resume", is_switch=True),
        Option(flag="--data", required=True),
    )
    assert program.imports == {"numpy", "torch", "own_module"}
    assert program.reads == ("features/train.npy", "notes.txt")
    assert program.writes == ("ckpt/step_*.pt", "log.csv")
    assert program.metrics == ("val_loss",)
    assert program.handles_sigterm
    assert not program.reports_metrics


SAVING = """
import os, torch, keras
from pathlib import Path
from transformers import TrainingArguments
torch.save(a, os.path.join("ck", f"step_{n}.pt"))
torch.save(a, Path(folder) / "last.pt")
(Path("out") / "score.json").write_text("a/b.c")
keras.callbacks.ModelCheckpoint("weights/{epoch:02d}.keras")
lightning.ModelCheckpoint(dirpath="lit/checkpoints")
TrainingArguments(output_dir="out", logging_dir="x")
TrainingArguments(args.output)
"""


def test_paths_that_are_put_together_and_libraries_that_save() -> None:
    program = read_program("train.py", SAVING)
    assert program is not None
    assert program.writes == (
        "ck/step_*.pt",
        "*/last.pt",
        "out/score.json",
        "weights/*.keras",
        "lit/checkpoints",
    )
    assert program.saves_into == ("lit/checkpoints", "out")
    assert program.has_trainer


def test_options_of_click() -> None:
    text = 'import click\n@click.option("--out", default="x/y")\n@click.option("--fast", is_flag=True)\ndef main(): ...\nmain()'
    program = read_program("a.py", text)
    assert program is not None
    assert program.options == (Option(flag="--out", default="x/y"), Option(flag="--fast", is_switch=True))


def test_a_module_is_nothing_to_start() -> None:
    program = read_program("model.py", "import torch\nclass Model(torch.nn.Module): ...\nSIZE = 3\n")
    assert program is not None
    assert not program.runs_alone


def test_what_does_not_parse_is_no_program() -> None:
    assert read_program("old.py", "print 'hello'") is None
    assert read_program("zero.py", "a = 1\0") is None


def test_a_notebook_is_its_cells_without_what_only_ipython_reads() -> None:
    cells = [
        {"cell_type": "markdown", "source": "torch.save(no)"},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install torch\n", "import torch\n"]},
        {"cell_type": "code", "source": "%%bash\nrm -rf x"},
        {"cell_type": "code", "source": "if True:\n    !ls\n    torch.save(1, 'model.pt')"},
    ]
    program = read_notebook("train.ipynb", json.dumps({"cells": cells}))
    assert program is not None
    assert program.is_notebook
    assert program.imports == {"torch"}
    assert program.writes == ("model.pt",)


def test_what_is_no_notebook() -> None:
    for text in ("", "[]", '{"cells": 3}', '{"cells": [{"cell_type": "code"}]}', "not json"):
        assert read_notebook("x.ipynb", text) is None


class Cycle:
    """Collected in the middle of something else, where it lets other threads go on."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        time.sleep(0.0001)


def test_programs_are_read_by_several_threads_at_once() -> None:
    failed: list[BaseException] = []
    text = "x = f(a, [b, (c, {d: e})])\n" * 20

    def reads() -> None:
        for _ in range(20):
            for _ in range(30):
                Cycle()
            try:
                assert read_program("x.py", text) is not None
            except BaseException as err:
                failed.append(err)

    usual = gc.get_threshold()
    gc.set_threshold(50)
    try:
        readers = [threading.Thread(target=reads) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    finally:
        gc.set_threshold(*usual)
    assert failed == []
