"""A folder without a job file: the built-in job is offered to a person, and taken by nobody else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from launcher import Job
from launcher.job.built_in import built_in_job
from tests.launcher.cli.conftest import ROOT, Cli
from tests.launcher.cli.test_terminal import on_terminal


def test_it_is_the_pipeline_of_the_repository(tmp_path: Path) -> None:
    built_in, own = built_in_job(tmp_path), Job.from_yaml(ROOT / "launch.yaml")
    assert built_in.run is not None
    assert own.run is not None
    assert dataclasses.replace(built_in, run=own.run, base_dir=own.base_dir) == own
    lines = [line for line in own.run.splitlines() if not line.startswith("#")]
    assert built_in.run.splitlines()[1:] == lines[1:]
    assert built_in.run.startswith("trainer train")


def test_a_guessed_job_is_never_started_unasked(cli: Cli) -> None:
    for args in (("--yes", "--provider", "local"), ("--dry-run",), ("estimate", "--provider", "fake")):
        refused = cli(*args)
        assert refused.code == 2
        assert "no job" in refused.err
        assert "launch init" in refused.err


def test_a_person_is_offered_it(cli: Cli) -> None:
    with on_terminal(cli, "--provider", "fake", "--dry-run") as terminal:
        terminal.until("in ./data? [y/N]")
        terminal.type("n\n")
        assert terminal.end() == 1
    assert "nothing was started" in terminal.text
    (cli.cwd / "data").mkdir()
    with on_terminal(cli, "estimate", "--provider", "fake") as terminal:
        terminal.until("in ./data? [y/N]")
        terminal.type("y\n")
        assert terminal.end() == 0
    assert "b2t25" in terminal.text
