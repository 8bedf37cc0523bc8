"""What stages leave at home: for one another, and under one name."""

from __future__ import annotations

import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher import Run
from launcher.events import Event
from launcher.orchestrate.context import RunContext
from launcher.orchestrate.stage_files import keep_of_others
from launcher.remote import transfer
from launcher.remote.onboard.files import sha256_of
from launcher.supervise import hold_lock
from tests.launcher.orchestrate.test_parking import follow
from tests.system.house import House


def csv_in(folder: Path) -> dict[str, str]:
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.csv")}
    return {name: text for name, text in found.items() if not name.startswith("logs/")}


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


def a_long_copy_is_told_and_keeps_nobody_waiting(house: House, run: Run) -> None:
    """A pipe stands for a large file: its copy goes on until the pipe is written to, and nobody holds the lock."""
    told: list[Event] = []
    source = Path(run.status().results_dir, "stages/base/metrics.csv")
    source.unlink()
    os.mkfifo(source)
    with ThreadPoolExecutor(1) as pool:
        pulled = pool.submit(run.pull, house.root / "slowly", on_event=told.append)
        writing = open_when_read(source)
        try:
            with house.home.run(run.id).pull_lock.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.write(writing, b"base\n")
            os.close(writing)
        assert not pulled.result(timeout=60).refused
    assert any(event.data.get("what") == "what is home, copied" for event in told)
    source.unlink()
    source.write_text("base\n")


def open_when_read(pipe: Path) -> int:
    give_up_at = time.monotonic() + 60
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it yet
            assert time.monotonic() < give_up_at
            time.sleep(0.02)


def test_files_of_one_name_are_kept_and_the_right_one_travels(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = {"instance_type": "cpu.4x"}, {"instance_type": "t4.1x"}
    stages = [
        {
            "name": "base",
            "run": "echo base > metrics.csv; echo 1 > x.csv",
            "outputs": "x.csv",
            "resources": small,
        },
        {
            "name": "variant",
            "needs": "base",
            "run": "echo another > metrics.csv; echo 2 >> x.csv",
            "outputs": "x.csv",
        },
        {"name": "last", "needs": ["variant", "base"], "run": "cp x.csv seen.csv"},
        {
            "name": "again",
            "needs": "base",
            "run": f"cp x.csv again.csv; echo waiting; while [ ! -e {house.gate} ]; do sleep 0.02; done",
            "resources": small,
        },
        {"name": "both", "after": ["variant", "base"], "run": "cp x.csv both.csv"},
    ]
    fields = {"file_outputs": {"*.csv": str(house.results)}, "resources": large}
    with hold_lock(house.home) as held:
        assert held
        run = house.launch(house.job(None, stages=stages, **fields), provider="fake")
        follow(house, run, until=lambda: b"waiting" in b"".join(run.logs()))
        before = run._store.outputs(run.id)
        for _ in range(2):
            report = run.pull(house.root / "elsewhere")
            assert not report.refused
            assert csv_in(house.root / "elsewhere" / run.id) == {
                "metrics.csv": "another\n",
                "stages/base/metrics.csv": "base\n",
                "stages/base/x.csv": "1\n",
                "stages/variant/x.csv": "1\n2\n",
                "x.csv": "1\n",
                "seen.csv": "1\n2\n",
                "again.csv": "1\n",
            }, "what the stages before have left is there too"
        assert all(file.was_home for file in report.files)
        assert run._store.outputs(run.id) == before
        monkeypatch.setattr(transfer, "FIRST_TOLD_S", 0.0)
        a_long_copy_is_told_and_keeps_nobody_waiting(house, run)
        house.open_gate()
        follow(house, run)
    assert run.status().state == "succeeded", run.status().reason
    results = Path(run.status().results_dir)
    assert csv_in(results) == {
        "metrics.csv": "another\n",
        "stages/base/metrics.csv": "base\n",
        "stages/base/x.csv": "1\n",
        "stages/variant/x.csv": "1\n2\n",
        "stages/again/x.csv": "1\n",
        "x.csv": "1\n2\n",
        "seen.csv": "1\n2\n",
        "again.csv": "1\n",
        "both.csv": "1\n2\n",
    }
    report = run.pull(house.root / "copies")
    assert csv_in(house.root / "copies" / run.id) == csv_in(results), (
        "of a run without a machine, what is home"
    )
    assert not report.refused and not any(file.was_home for file in report.files)
    said = [event.message for event in run.events() if event.data.get("action") == "kept"]
    assert len(said) == 3
    assert "metrics.csv, x.csv of stage base" in said[0]
    assert f"what stage variant has left: kept in {results}/stages/base" in said[0]

    context = RunContext(house.home, house.store, run.id, house.environ)
    records, metrics = context.run.stages, results / "metrics.csv"
    for _ in range(2):  # a step that is repeated
        keep_of_others(context, "both", results, [metrics])
    assert (results / "stages/variant/metrics.csv").read_text() == "another\n"
    metrics.unlink()
    metrics.write_text("the third")  # of a step that was cut off before it was written down
    keep_of_others(context, "both", results, [metrics])
    assert len(list(results.rglob("metrics.csv"))) == 3
    row = [(str(metrics), 9, sha256_of(metrics))]
    context.store.add_outputs(run.id, row, context.clock(), stage="variant")
    keep_of_others(context, "both", results, [metrics])
    assert (results / "stages/variant.2/metrics.csv").read_text() == "the third", "nothing is lost"
    said = [event.message for event in run.events() if event.data.get("action") == "kept"]
    assert len(said) == 5
    assert context.store.run(run.id).stages == records
    keep_of_others(
        context, "both", results, [results / "stages/base/x.csv"]
    )  # a job that writes there itself
    assert context.stage_records["base"].files[0].kept == "stages/base/stages/base/x.csv"
