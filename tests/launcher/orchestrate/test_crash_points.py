"""The orchestrator dies before or after any of its writes, a new one goes on from the record, and nothing is lost."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.orchestrate.orchestrator import Orchestrator
from launcher.store import Store
from launcher.store.connection import Connections
from launcher.supervise import hold_lock
from tests.system.house import House, expected_outcome


class Crash(BaseException):
    """The process is gone: nothing of ours may catch this."""


class CrashingConnections(Connections):
    """Dies at random just before a transaction begins, or just after it was committed."""

    def __init__(self, path: Path, chance: random.Random) -> None:
        super().__init__(path)
        self._chance = chance
        self.crashes = 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        outermost = not self.get().in_transaction
        if outermost:
            self._perhaps()
        with super().transaction() as connection:
            yield connection
        if outermost:
            self._perhaps()

    def _perhaps(self) -> None:
        if self._chance.random() < 0.25:
            self.crashes += 1
            raise Crash


@pytest.mark.parametrize(
    ("provider", "seed", "script"),
    [
        ("local", 1, {}),
        ("fake", 2, {"terminate_s": 0.3, "faults": [{"call": "create", "kind": "lost_answer"}]}),
        ("fake", 3, {"interruptions": [{"attempt": 1, "after_s": 3, "notice_s": 4}]}),
        ("fake", 4, {"interruptions": [{"attempt": 1, "after_s": 3}], "capacity": [{"machines": 1}]}),
    ],
)
def test_a_crash_at_any_write(house: House, provider: str, seed: int, script: dict[str, object]) -> None:
    job = house.counting(
        total=15,
        pace_s=0.1,
        every=2,
        checkpoint={"dir": "saved", "mirror_every": "1s"},
        provider_options={"fake": script},
    )
    chance = random.Random(seed)
    with hold_lock(house.home) as held:  # this test is the supervisor
        assert held
        run = house.launch(job, provider=provider)
        crashes = 0
        give_up_at = time.monotonic() + 90
        next_look_s: float | None = 0.0
        while next_look_s is not None:
            assert time.monotonic() < give_up_at, f"{crashes} crashes, and it is {run.status()}"
            time.sleep(min(next_look_s, 0.3))
            store = Store(house.home.database)
            store._database = database = CrashingConnections(house.home.database, chance)
            orchestrator = Orchestrator(house.home, store, house.environ)
            try:
                next_look_s = 0.0
                while next_look_s is not None:
                    next_look_s = orchestrator.advance(run.id)
                    time.sleep(min(next_look_s or 0.0, 0.3))
            except Crash:
                crashes += database.crashes
                next_look_s = 0.05
            finally:
                store.close()
                database.close()
    Orchestrator(house.home, house.store, house.environ)._export(run._context())
    assert crashes >= 8
    assert run.status().state == "succeeded", run.status().reason
    assert house.outcome(run) == expected_outcome(15)
    house.audit(run)
