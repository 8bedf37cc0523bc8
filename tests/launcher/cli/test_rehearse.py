"""Real programs, rehearsed for real: one that keeps the contract, and one that knows nothing of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher import Job, UsageError, list_runs
from launcher.rehearse import Grade, rehearse
from tests.launcher.cli.conftest import Cli
from tests.system.house import House

IGNORANT = """\
import json, os, time
for step in range(1, 2000):
    with open(os.environ["LAUNCH_METRICS_FILE"], "a") as out:
        print(json.dumps({"step": step}), file=out, flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


def test_a_program_that_keeps_the_contract_survives(house: House) -> None:
    said: list[str] = []
    job = house.counting(total=60, pace_s=0.1, every=5)
    result = rehearse(job, minutes=3, environ=house.environ, say=said.append)
    grades = {finding.check: finding.grade for finding in result.findings}
    assert result.passed, [finding for finding in result.findings if finding.grade is Grade.FAILED]
    assert {"notice", "resume", "kill", "outputs", "whole files"} <= grades.keys()
    assert "it is killed without notice" in said
    assert list_runs(environ=house.environ) == [], "nothing of it is on record"
    assert not house.results.exists()


def test_a_program_that_knows_nothing_is_told_what_to_change(cli: Cli) -> None:
    (cli.cwd / "train.py").write_text(IGNORANT)
    ended = cli("rehearse", "--minutes", "1", "--json", "--", "python", "train.py")
    assert ended.code == 1, ended.err
    findings = {one["check"]: one for one in ended.document["findings"]}
    assert findings["checkpoints"]["grade"] == Grade.FAILED.value
    assert "LAUNCH_CHECKPOINT_DIR" in findings["checkpoints"]["fix"]
    assert "does not listen to SIGTERM" in findings["notice"]["words"]
    assert findings["resume"]["grade"] == Grade.FAILED.value
    assert ended.document["losses"], "it loses the whole run, which is hours where nothing is known of it"
    assert all(loss["usd"] > 0.5 * loss["usd_per_hour"] for loss in ended.document["losses"])
    assert not ended.document["passed"]


def test_a_program_that_fails_by_itself_is_quoted(cli: Cli) -> None:
    ended = cli("rehearse", "--minutes", "1", "--", "python", "-c", "raise SystemExit('no such column')")
    assert ended.code == 1
    assert "no such column" in ended.out
    assert "does not run" in ended.out


def test_stages_need_a_small_run(tmp_path: Path) -> None:
    job = Job.from_dict({"stages": [{"name": "a", "run": "true"}]}, base_dir=tmp_path)
    with pytest.raises(UsageError, match=r"smoke\.run"):
        rehearse(job, environ=dict(os.environ))
