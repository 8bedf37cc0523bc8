"""What is wrong around a run: names, folders, disks, locks."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher import HomeError, Kind, NameTaken, Run, RunNotFound, UsageError, attach, launch
from launcher.errors import StoreError
from launcher.store import Store
from provisioning.models import utc_now
from tests.system.house import House, environ_with, eventually, expected_outcome


def test_two_launches_of_one_name_at_once(house: House) -> None:
    launched: list[Run] = []
    refused: list[NameTaken] = []
    together = threading.Barrier(4)

    def start() -> None:
        together.wait()
        try:
            launched.append(house.launch(house.counting(gate=3)))
        except NameTaken as err:
            refused.append(err)

    starters = [threading.Thread(target=start) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert (len(launched), len(refused)) == (1, 3)
    assert launched[0].id in str(refused[0]) and "--name" in (refused[0].hint or "")
    assert [path.name for path in (house.state / "runs").iterdir()] == [launched[0].id], "nothing left behind"
    house.open_gate()
    assert launched[0].wait(timeout_s=60).state == "succeeded"


def test_a_name_may_be_used_again_and_resume_minds_it(house: House) -> None:
    first = house.launch(house.counting(gate=3))
    house.until_step(first, 3)
    first.stop()
    first.wait(timeout_s=60)
    second = house.launch(house.counting(gate=3))
    with pytest.raises(NameTaken, match="is live"):
        first.resume()
    assert first.status().state == "stopped", "left as it was"
    house.open_gate()
    assert second.wait(timeout_s=60).state == "succeeded"
    first.resume()
    assert first.status().is_live
    first.down(discard=True)
    first.wait(timeout_s=60)


def test_a_run_that_does_not_exist(house: House) -> None:
    with pytest.raises(RunNotFound, match="nobody"):
        attach("nobody", environ=house.environ)
    told = house.command("status", "nobody")
    assert told.returncode == 2
    assert "no run 'nobody'" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_home_that_cannot_be_written(house: House) -> None:
    taken = house.root / "a-file"
    taken.write_text("")
    environ = environ_with(house.environ, LAUNCH_HOME=str(taken / "below"))
    with pytest.raises(HomeError, match="LAUNCH_HOME"):
        launch(house.counting(), provider="local", environ=environ)
    assert taken.read_text() == ""


def test_a_results_folder_that_holds_something_else(house: House) -> None:
    run = house.launch(house.counting(gate=3))
    house.until_step(run, 3)
    foreign = house.results / run.id
    foreign.mkdir(parents=True)
    (foreign / "precious.txt").write_text("mine")
    house.open_gate()
    house.until(run, "pulling")
    eventually(lambda: "was not made for a run" in run.status().reason, "the reason")
    assert house.store.instances(run.id)[-1].ended_at is None, "the machine is kept"
    (foreign / "precious.txt").rename(house.root / "precious.txt")
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(10)


def test_pull_into_a_foreign_folder_is_refused(house: House) -> None:
    run = house.launch(house.counting(gate=3))
    house.until_step(run, 3)
    elsewhere = house.root / "elsewhere"
    (elsewhere / run.id).mkdir(parents=True)
    (elsewhere / run.id / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not made for a run"):
        run.pull(elsewhere)
    assert (elsewhere / run.id / "mine.txt").read_text() == "mine"
    run.down(discard=True)
    run.wait(timeout_s=60)


def test_a_record_that_is_locked_for_a_while(house: House) -> None:
    run = house.launch(house.counting(gate=3))
    house.until_step(run, 3)
    holder = sqlite3.connect(house.home.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    house.open_gate()
    eventually(lambda: _steps_on_disk(house) == 10, "the job to go on to its end meanwhile")
    assert run.status().step == 3
    holder.execute("ROLLBACK")
    holder.close()
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(10)
    house.audit(run)


SMALL = "300m"
"""Enough for the preflight."""


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_for_the_results_keeps_the_machine_until_there_is_room(house: House) -> None:
    with small_disk(house.results, SMALL):
        filler = house.results / "filler"
        job = house.job("head -c 200000 /dev/urandom > $LAUNCH_OUTPUT_DIR/model.bin; sleep 2")
        run = house.launch(job, provider="fake")
        _fill(filler)
        house.until(run, "pulling")
        eventually(lambda: "outputs are not home yet" in run.status().reason, "the reason")
        assert house.machines()[0]["state"] == "running", "the machine is kept"
        filler.unlink()
        assert run.wait(timeout_s=60).state == "succeeded"
        house.audit(run)


def test_a_full_home_loses_nothing_and_the_run_goes_on(house: House) -> None:
    """Log, mirror, record and export share a disk that fills up in the middle of the run."""
    with small_disk(house.state, SMALL):
        run = house.launch(house.counting(total=20, gate=5), provider="local")
        house.until_step(run, 5)
        filler = house.state / "filler"
        _fill(filler)
        eventually(lambda: _is_full(house, run), "a record that cannot be written")
        house.open_gate()
        eventually(lambda: not house.pids(run, "counter.py"), "the end of the job")
        filler.unlink()
        result = run.wait(timeout_s=90)
        if result.state == "failed":  # the job itself could not write its metrics any more
            run.resume()
            result = run.wait(timeout_s=90)
        assert result.state == "succeeded"
        assert house.outcome(run) == expected_outcome(20)
        house.audit(run)


def _is_full(house: House, run: Run) -> bool:
    """Appending to the record fails, as it does for the supervisor."""
    try:
        house.store.append(run.id, Kind.WARNING, "x" * 100_000, utc_now(), {})
    except StoreError:
        return True
    return False


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 16, 1 << 12):
            try:
                while True:
                    os.write(file.fileno(), b"x" * size)
            except OSError:
                continue


def _steps_on_disk(house: House) -> int:
    found = house.state.glob("local/launch/*/logs/*/metrics.jsonl")
    return max((path.read_bytes().count(b"\n") for path in found), default=0)


def test_the_record_opens_under_many_processes_at_once(house: House) -> None:
    path = house.home.database
    stores: list[Store] = []
    threads = [threading.Thread(target=lambda: stores.append(Store(path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 16
