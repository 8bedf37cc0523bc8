"""The sweep of the examples: several runs at once, one budget, the same command again goes on."""

from __future__ import annotations

import subprocess
import sys

from launcher import attach
from tests.system.house import REPOSITORY, House


def test_a_sweep_runs_side_by_side_and_again_costs_nothing(house: House) -> None:
    argv = [sys.executable, str(REPOSITORY / "examples/sweep.py"), "--at-once", "3"]
    first = subprocess.run(
        argv, env=house.environ, cwd=house.project, capture_output=True, text=True, check=False
    )
    assert first.returncode == 0, first.stderr
    table = [line.split() for line in first.stdout.splitlines() if " loss " in line and "$" in line]
    assert [row[0] for row in table] == ["sweep-middle", "sweep-high", "sweep-low"], "the best first"
    again = subprocess.run(
        argv, env=house.environ, cwd=house.project, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0
    for name in ("sweep-low", "sweep-middle", "sweep-high"):
        house.audit(attach(name, environ=house.environ))
    assert len(list((house.state / "runs").iterdir())) == 3, "nothing was started twice"


def test_a_sweep_stops_at_its_budget(house: House) -> None:
    argv = [
        sys.executable,
        str(REPOSITORY / "examples/sweep.py"),
        "--provider",
        "fake",
        "--gpu",
        "T4",
        "--budget",
        "0.01",
    ]
    told = subprocess.run(
        argv, env=house.environ, cwd=house.project, capture_output=True, text=True, check=False
    )
    assert told.returncode == 5
    assert "of the budget are left" in told.stderr
    assert house.machines() == []
