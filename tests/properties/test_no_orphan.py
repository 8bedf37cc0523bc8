"""Whatever moment our processes die at: nothing unrecorded, nothing rented twice, nothing left, every output home.

`make test` kills 15 times here and 5 times against EC2's API (`system/aws/test_faults`), at moments fixed by seeds, and dies
once before and once behind every write of the record in every state of a run, which is more than 200 times, almost 90 of them
at different points (`launcher/orchestrate/test_crash_points`). `make test-long` kills more than 500 times and keeps a line for each run
in the file that ``NO_ORPHAN_LOG`` names.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from launcher import Run
from launcher.supervise import ensure_supervisor, supervisor_pid
from tests.system.house import House, expected_outcome

KILLS = 5
SCRIPTS = {
    "taken away": {"interruptions": [{"attempt": 1, "after_s": 3, "notice_s": 3}]},
    "vanishes": {"interruptions": [{"attempt": 1, "after_s": 4}], "terminate_s": 0.7},
    "bad answers": {
        "boot_s": 0.5,
        "visible_after_s": 0.4,
        "faults": [
            {"call": "create", "kind": "no_capacity"},
            {"call": "create", "kind": "lost_answer", "nth": 2},
            {"call": "terminate", "kind": "lost_answer"},
            {"call": "get", "kind": "unreachable", "nth": 4, "times": 2},
        ],
    },
}
TOTAL = 30


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "house")
    yield house
    house.close()


@pytest.mark.parametrize("script", sorted(SCRIPTS))
@pytest.mark.parametrize("seed", [1])
def test_killed_at_any_moment(house: House, script: str, seed: int) -> None:
    killed_at_any_moment(house, script, seed)


@pytest.mark.long
@pytest.mark.parametrize("script", sorted(SCRIPTS))
@pytest.mark.parametrize("seed", range(100, 135))
def test_killed_at_any_moment_many_times(house: House, script: str, seed: int) -> None:
    killed_at_any_moment(house, script, seed)


def killed_at_any_moment(house: House, script: str, seed: int) -> None:
    """One run, its supervisor killed again and again, then the audit."""
    chance = random.Random(f"{script} {seed}")
    job = house.counting(
        TOTAL,
        pace_s=0.1,
        every=2,
        checkpoint={"dir": "saved", "mirror_every": "1s"},
        provider_options={"fake": SCRIPTS[script]},
    )
    started = time.monotonic()
    run = house.launch(job, provider="fake", instance="t4.1x")
    moments = [_kill_at(house, run, chance) for _ in range(KILLS)]
    result = run.wait(timeout_s=120)
    _keep_record(house, run, script, seed, moments, time.monotonic() - started)
    assert result.state == "succeeded", result.reason
    assert house.outcome(run) == expected_outcome(TOTAL)
    house.audit(run)


def _kill_at(house: House, run: Run, chance: random.Random) -> str:
    """Kill the supervisor at a random moment, or right behind one of the next things that it writes; start the next."""
    ensure_supervisor(house.home, house.environ)
    pid = supervisor_pid(house.home)
    if chance.random() < 0.3:
        pause_s = chance.uniform(0.0, 2.0)
        time.sleep(pause_s)
        moment = f"after {pause_s:.3f} s"
    else:
        target = len(run.events()) + chance.randint(1, 12)
        pause_s = chance.choice([0.0, 0.0, 0.003, 0.01, 0.03])
        give_up_at = time.monotonic() + 2.5
        while len(run.events()) < target and run.status().is_live and time.monotonic() < give_up_at:
            time.sleep(0.002)
        time.sleep(pause_s)
        moment = f"{pause_s} s behind: {run.events()[-1].message}"
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return moment


def _keep_record(house: House, run: Run, script: str, seed: int, moments: list[str], seconds: float) -> None:
    path = os.environ.get("NO_ORPHAN_LOG")
    if path is None:
        return
    status = run.status()
    line = {
        "script": script,
        "seed": seed,
        "kills": moments,
        "state": status.state,
        "reason": status.reason,
        "attempts": len(status.attempts),
        "machines": [machine["state"] for machine in house.machines()],
        "seconds": round(seconds, 1),
    }
    with Path(path).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
