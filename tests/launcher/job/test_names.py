from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.job import Job, derive_name, new_run_id
from launcher.job.names import name_of_command
from provisioning.models import RUN_ID_PATTERN


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Brain to Text '25", "brain-to-text-25"),
        ("b2t25", "b2t25"),
        ("2024_runs", "runs"),
        ("Übung", "ubung"),
        ("脳", "job"),
        ("a-very-long-name-of-a-project", "a-very-long-name-of-a-p"),
        ("--", "job"),
    ],
)
def test_names_from_files_and_folders(text: str, name: str) -> None:
    assert derive_name(text) == name


@given(st.text(), st.integers())
def test_every_id_fits_everywhere(text: str, seed: int) -> None:
    assert RUN_ID_PATTERN.fullmatch(new_run_id(text, Random(seed)))


@given(st.text())
def test_every_derived_name_is_a_name(text: str) -> None:
    assert Job(run="x", name=derive_name(text)).name == derive_name(text)


def test_the_id_starts_with_the_name_and_depends_on_nothing_else() -> None:
    assert new_run_id("demo", Random(7)) == new_run_id("demo", Random(7))
    assert new_run_id("demo", Random(7))[:5] == "demo-"
    assert new_run_id("demo", Random(7)) != new_run_id("demo", Random(8))


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["python", "train.py", "--lr", "1"], "train"),
        (["python3.11", "-u", "./src/fit.py"], "fit"),
        (["bash", "run.sh"], "run"),
        (["trainer", "train"], "trainer"),
        (["python"], "python"),
        (["-x"], "job"),
    ],
)
def test_names_from_commands(argv: list[str], name: str) -> None:
    assert name_of_command(argv) == name
