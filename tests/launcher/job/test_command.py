"""``launch -- CMD``: through a real bash, exactly the arguments that were typed arrive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.errors import JobFileError
from launcher.job import Job

ARGUMENT = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")
    | st.sampled_from(" '\"\\$`\n!*~#;&|<>=%{}")
)
ECHO = "import sys; sys.stdout.buffer.write(b'\\0'.join(a.encode() for a in sys.argv[1:]) + b'\\0')"


@settings(max_examples=30, deadline=None)
@given(st.lists(ARGUMENT, min_size=1, max_size=5))
def test_every_argument_arrives(arguments: list[str]) -> None:
    job = Job.from_command([sys.executable, "-c", ECHO, *arguments])
    assert job.run is not None
    out = subprocess.run(["bash", "-eo", "pipefail", "-c", job.run], capture_output=True, check=True).stdout
    assert out == b"".join(argument.encode() + b"\0" for argument in arguments)


@pytest.mark.parametrize("name", ["if", "for", "100%", "a b", "it's", "~x", "=x"])
def test_a_program_of_any_name_runs(name: str, tmp_path: Path) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    job = Job.from_command([name, "-v"])
    assert job.run is not None
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert (
        subprocess.run(["bash", "-c", job.run], env=path, capture_output=True, check=True).stdout == b"ran\n"
    )


def test_an_assignment_is_no_program() -> None:
    with pytest.raises(JobFileError, match=r"'LR=0\.1' is an assignment") as caught:
        Job.from_command(["LR=0.1", "python", "train.py"])
    assert caught.value.hint == "launch --env LR=0.1 -- …"


@pytest.mark.parametrize("argv", [[], [""]])
def test_no_command(argv: list[str]) -> None:
    with pytest.raises(JobFileError, match="there is no command"):
        Job.from_command(argv)


def test_an_argument_that_is_no_text() -> None:
    with pytest.raises(JobFileError, match="not valid Unicode"):
        Job.from_command(["cat", "\udcff"])


def test_named_after_the_program_with_further_fields(tmp_path: Path) -> None:
    job = Job.from_command(
        ["python", "src/train_model.py", "--lr", "1"], base_dir=tmp_path, fields={"max_cost": 2, "name": None}
    )
    assert (job.name, job.max_cost, job.base_dir) == ("train-model", 2.0, tmp_path)
