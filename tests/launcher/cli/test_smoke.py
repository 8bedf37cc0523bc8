"""A small run on the real machine before the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import Job, JobFileError
from launcher.job.built_in import built_in_job
from launcher.job.smoke import run_to_rehearse, small_run_of
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


def test_the_trainer_in_the_box_is_rehearsed_with_a_small_model(tmp_path: Path) -> None:
    script = "trainer train --set checkpoints.every_s=300 \\\n  --config a.yaml | tee log\ntrainer evaluate"
    run, words = run_to_rehearse(Job(run=script, base_dir=tmp_path))
    first, second, last = str(run).split("\n")
    assert first == "trainer train --set checkpoints.every_s=300 \\"
    assert second.startswith("  --config a.yaml --set model.n_units=64 ")
    assert second.endswith(" | tee log"), "what comes later wins, so ours comes last"
    assert last == "trainer evaluate"
    assert "small model" in words
    bare, _ = run_to_rehearse(built_in_job(tmp_path))
    assert "checkpoints.keep=3 --set model.n_units=64" in str(bare)
    assert run_to_rehearse(Job(run="python train.py", base_dir=tmp_path)) == ("python train.py", "")
    assert run_to_rehearse(Job(run="x", smoke={"run": "y"}, base_dir=tmp_path))[0] == "y"  # type: ignore[arg-type]
