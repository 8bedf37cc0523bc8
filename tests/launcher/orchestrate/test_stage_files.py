"""What stages leave at home: for one another, and under one name."""

from __future__ import annotations

from pathlib import Path

from launcher.supervise import hold_lock
from tests.launcher.orchestrate.test_parking import follow
from tests.system.house import House


def test_a_pull_before_the_end_of_the_last_stage_does_not_bring_everything(house: House) -> None:
    waits = f"echo here > else.txt; echo waiting; while [ ! -e {house.gate} ]; do sleep 0.02; done"
    promote = {"file": "best.pt", "metric": "loss"}
    stages = [
        {"name": "first", "run": "true", "promote": promote},
        {"name": "last", "needs": "first", "run": waits},
    ]
    job = house.job(None, stages=stages, file_outputs={"none/": str(house.results)})
    with hold_lock(house.home) as held:  # this test is the supervisor
        assert held
        run = house.launch(job)
        follow(house, run, until=lambda: b"waiting" in b"".join(run.logs()))
        run.pull()
        results = Path(run.status().results_dir)
        assert not (results / "else.txt").exists()
        house.open_gate()
        follow(house, run)
    assert (results / "else.txt").exists(), "no pattern has matched anything"
    assert run.status().state == "succeeded", "what was to be promoted is not what the other stage needs"
