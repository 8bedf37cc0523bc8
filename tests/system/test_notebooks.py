"""Notebooks as jobs, executed by a real kernel."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from launcher import Job, JobFileError
from launcher.job.notebook import notebook_of, notebook_problem, with_packages
from tests.system.house import House

GOES_ON = """\
import os, pathlib, time
done = int(pathlib.Path(os.environ["LAUNCH_RESUME_FROM"]).read_text()) if os.environ["LAUNCH_RESUME_FROM"] else 0
try:
    while not done and not pathlib.Path("never").exists():
        time.sleep(0.05)
except KeyboardInterrupt:
    saved = pathlib.Path(os.environ["LAUNCH_CHECKPOINT_DIR"], "one")
    saved.with_suffix(".tmp").write_text("1")
    saved.with_suffix(".tmp").replace(saved)
    raise SystemExit(75)
print("went on from", done)
"""


def notebook(path: Path, cells: Sequence[str], **metadata: Any) -> None:
    listed = [
        {
            "id": f"c{n}",
            "cell_type": "code",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": cell,
        }
        for n, cell in enumerate(cells)
    ]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": listed}))


@pytest.fixture
def house(house: House) -> House:
    """With the Python of the tests as the machine's own: it has a kernel."""
    house.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return house


def copy_of(house: House, run: Any) -> Any:
    return json.loads((Path(run.status().results_dir) / "outputs/a notebook.ipynb").read_text())


def test_cells_are_executed_and_a_failed_one_does_not_lose_the_rest(house: House) -> None:
    cells = ["import os\nprint('in', os.getcwd())", "", "40 + 2", "1 / 0", "print('never')"]
    notebook(house.project / "a notebook.ipynb", cells)
    run = house.launch(house.job("'a notebook.ipynb'"))
    result = run.wait(timeout_s=120)
    assert (result.state, run.status().exit_code) == ("failed", 1)
    log = run.read_log(0).data.decode()
    for words in ("cell 1 of 4", "in /", "42", "ZeroDivisionError: division by zero"):
        assert words in log
    assert "never" not in log
    first, _, third, failed, last = copy_of(house, run)["cells"]
    assert first["outputs"][0]["text"][0].startswith("in ")
    assert third["outputs"][0]["data"]["text/plain"] == ["42"]
    assert failed["outputs"][0]["ename"] == "ZeroDivisionError"
    assert last["execution_count"] is None
    assert (run.status().step, run.status().total) == (2, 4)


def test_a_notebook_that_saves_when_asked_is_resumed(house: House) -> None:
    notebook(house.project / "a notebook.ipynb", [GOES_ON])
    run = house.launch(house.job("'a notebook.ipynb'"))
    house.until_log(run, "cell 1 of 1")
    run.interrupt(notice_s=60)
    assert run.wait(timeout_s=120).state == "succeeded", run.status().reason
    assert "went on from 1" in run.read_log(0).data.decode()
    first, _ = run.status().attempts
    assert first.cause == "notice"


def test_what_cannot_be_executed_is_refused_before_it_starts(house: House) -> None:
    with pytest.raises(JobFileError, match=r"run: .*gone\.ipynb does not exist"):
        house.launch(house.job("gone.ipynb"))
    (house.project / "broken.ipynb").write_text("{")
    with pytest.raises(JobFileError, match=r"broken\.ipynb is no notebook"):
        house.launch(house.job("broken.ipynb"))


@pytest.mark.parametrize(
    ("cells", "metadata", "problem"),
    [
        (["1"], {}, None),
        (["1"], {"language_info": {"name": "julia"}}, "is a notebook in julia; only Python is executed"),
        ([], {}, "has no code"),
    ],
)
def test_which_notebooks_can_be_executed(
    tmp_path: Path, cells: list[str], metadata: dict[str, Any], problem: str | None
) -> None:
    notebook(tmp_path / "a.ipynb", cells, **metadata)
    assert notebook_problem(tmp_path / "a.ipynb") == problem


@pytest.mark.parametrize(
    ("run", "path"),
    [
        ("train.ipynb", "train.ipynb"),
        ("'my notebook.ipynb'\n", "my notebook.ipynb"),
        ("jupyter nbconvert x.ipynb", None),
        ("python train.py", None),
        ("'x.ipynb", None),
        (None, None),
    ],
)
def test_what_counts_as_a_notebook(run: str | None, path: str | None) -> None:
    assert notebook_of(run) == path


def test_what_executes_it_is_added_to_the_requirements(tmp_path: Path) -> None:
    assert with_packages("torch>=2\nIPyKernel==7\n") == "torch>=2\nIPyKernel==7\nnbclient\n"
    assert with_packages("nbclient[x]\nipykernel") == "nbclient[x]\nipykernel\n"
    assert Job(run="x.ipynb").run == "x.ipynb"
