"""The orchestrator dies before and after each of its writes, a new one goes on from the record, and nothing is lost.

A point is a line that writes, in one state of the run, before or behind the write. Each is struck once, where it first
comes: 50 to 80 in each of the five runs, more than 90 different ones in all, from the first create call to the final state.
The last run goes through stages: one finds no machine, one is given up, the third finishes what the fourth is given.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import Job, Run, orchestrate
from launcher.orchestrate.orchestrator import Orchestrator
from launcher.store import Store
from launcher.store.connection import Connections
from launcher.supervise import hold_lock
from tests.system.house import House, expected_outcome

OURS = Path(orchestrate.__file__).parent
SAID_THROUGH = ("context.py", "attention.py")


class Crash(BaseException):
    """The process is gone: nothing of ours may catch this."""


Point = tuple[str, str, str]
"""Which line of ours writes, the state of the run, and whether the write is about to be made or was just made."""


class CrashingConnections(Connections):
    """Dies once at every point: just before a transaction begins, and just after it was committed."""

    def __init__(self, path: Path, struck: set[Point]) -> None:
        super().__init__(path)
        self._struck = struck

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        outermost = not self.get().in_transaction
        if outermost:
            self._strike("before")
        with super().transaction() as connection:
            yield connection
        if outermost:
            self._strike("after")

    def _strike(self, when: str) -> None:
        ((state,),) = self.query("SELECT state FROM runs")
        point = who_writes(), state, when
        if point not in self._struck:
            self._struck.add(point)
            raise Crash


def who_writes() -> str:
    """The line of the orchestrator that wants something written, behind what it says it through."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.parent == OURS and path.name not in SAID_THROUGH:
            return f"{path.name}:{frame.lineno}"
    raise AssertionError("somebody else writes")


@pytest.mark.parametrize(
    ("provider", "script"),
    [
        ("local", {}),
        ("fake", {"terminate_s": 0.3, "faults": [{"call": "create", "kind": "lost_answer"}]}),
        ("fake", {"interruptions": [{"attempt": 1, "after_s": 3, "notice_s": 4}]}),
        ("fake", {"interruptions": [{"attempt": 1, "after_s": 3}], "capacity": [{"machines": 1}]}),
    ],
)
def test_a_crash_at_any_write(house: House, provider: str, script: dict[str, object]) -> None:
    job = house.counting(
        total=15,
        pace_s=0.1,
        every=2,
        checkpoint={"dir": "saved", "mirror_every": "1s"},
        provider_options={"fake": script},
    )
    run = crashing_at_every_write(house, job, provider)
    assert run.status().state == "succeeded", run.status().reason
    assert house.outcome(run) == expected_outcome(15)
    house.audit(run)


def test_a_crash_at_any_write_between_stages(house: House) -> None:
    count = f"{sys.executable} counter.py 8 0.1 3"
    go_on = {"on_failure": "continue"}
    stages = [
        {"name": "large", "run": "echo", "resources": {"instance_type": "a100.8x"}, **go_on},
        {"name": "hopeless", "run": f"{count} 3 {house.gate}", **go_on},
        {"name": "train", "run": f"LAUNCH_METRICS_FILE=/dev/null {count}", "outputs": "outputs/weights.txt"},
        {
            "name": "last",
            "needs": "train",
            "run": "cp outputs/weights.txt outputs/seen.txt",
            "resources": {"instance_type": "cpu.4x"},
        },
    ]
    job = house.job(
        None,
        stages=stages,
        give_up={"after_steps": 3, "unless": {"loss": "< 0.1"}},
        resources={"instance_type": "t4.1x"},
        checkpoint={"dir": "saved", "mirror_every": "1s"},
        provider_options={"fake": {"capacity": [{"machines": 0, "instance_type": "a100.8x"}]}},
    )
    run = crashing_at_every_write(house, job, "fake")
    assert [stage.state for stage in run.status().stages] == ["failed", "failed", "succeeded", "succeeded"]
    results = Path(run.status().results_dir, "outputs")
    assert (results / "seen.txt").read_text() == expected_outcome(8)[0]
    house.audit(run)


def crashing_at_every_write(house: House, job: Job, provider: str) -> Run:
    """Launch it and be its supervisor, as often as that dies; return the run when it has ended."""
    struck: set[Point] = set()
    with hold_lock(house.home) as held:  # this test is the supervisor
        assert held
        run = house.launch(job, provider=provider)
        give_up_at = time.monotonic() + 180
        next_look_s: float | None = 0.0
        while next_look_s is not None:
            assert time.monotonic() < give_up_at, f"{len(struck)} crashes, and it is {run.status()}"
            time.sleep(min(next_look_s, 0.3))
            store = Store(house.home.database)
            store._database = database = CrashingConnections(house.home.database, struck)
            orchestrator = Orchestrator(house.home, store, house.environ)
            try:
                next_look_s = 0.0
                while next_look_s is not None:
                    next_look_s = orchestrator.advance(run.id)
                    time.sleep(min(next_look_s or 0.0, 0.3))
            except Crash:
                next_look_s = 0.05
            finally:
                store.close()
                database.close()
    Orchestrator(house.home, house.store, house.environ)._export(run._context())
    assert len(struck) >= 30, struck
    return run
