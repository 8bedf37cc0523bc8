"""A small run on the real machine before the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import Job, JobFileError
from launcher.job.smoke import small_run_of
from tests.launcher.cli.conftest import Cli

JOB = """\
name: a-name-of-twenty-three
run: echo long > size.txt
smoke: {run: "%s", max_duration: 5m, max_cost: 0.2}
file_outputs: {size.txt: results/}
max_cost: 4
"""


def sizes(cli: Cli) -> dict[str, str]:
    found = sorted((cli.cwd / "results").glob("*/size.txt"))
    return {
        path.parent.name.rpartition("-")[0]: path.read_text().strip()
        for path in found
        if path.parent.name != "latest"
    }


def test_the_long_run_follows_a_small_one_that_succeeded(cli: Cli) -> None:
    (cli.cwd / "launch.yaml").write_text(JOB % "echo small > size.txt")
    done = cli("--provider", "fake", "--smoke", "--yes")
    assert done.code == 0, done.err
    assert "first a small run" in done.err
    assert "at most 5 min and $0.20" in done.err
    assert sizes(cli) == {"a-name-of-twenty-smoke": "small", "a-name-of-twenty-three": "long"}


def test_the_long_run_does_not_follow_a_small_one_that_failed(cli: Cli) -> None:
    (cli.cwd / "launch.yaml").write_text(JOB % "exit 3")
    done = cli("--provider", "fake", "--smoke", "--yes")
    assert done.code == 1
    assert "the long run was not started" in done.err
    assert [run["name"] for run in cli("ls", "--json").document["runs"]] == ["a-name-of-twenty-smoke"]


def test_the_trainer_in_the_box_knows_a_small_run(tmp_path: Path) -> None:
    job = Job(run="x=1\n  trainer train --config a.yaml\ntrainer evaluate", base_dir=tmp_path)
    small = small_run_of(job)
    assert small.run == "x=1\n  trainer train --limit-batches 5 --config a.yaml\ntrainer evaluate"
    assert small.max_cost == 0.5
    with pytest.raises(JobFileError, match="smoke: is missing"):
        small_run_of(Job(run="python train.py", base_dir=tmp_path))
