"""The record: what is written stays, names are unique among live runs, several processes agree."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sqlite3
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from launcher.errors import NameTaken, RunNotFound, StoreError
from launcher.events import Kind
from launcher.store import AttemptRow, InstanceRow, Intent, RunRow, Store, TryOutcome, TryRow
from launcher.store.schema import MIGRATIONS

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "launch.db")


def a_run(run_id: str = "demo-ab12", name: str = "demo", **changes: object) -> RunRow:
    row = RunRow(run_id=run_id, name=name, state="queued", created_at=NOW, updated_at=NOW)
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


def test_every_column_survives_a_round_trip(store: Store, tmp_path: Path) -> None:
    run = a_run(
        reason_code="budget",
        reason="the limit of $5 was reached",
        job={"name": "demo", "envs": {"A": "ü"}},
        intent=Intent.STOP,
        intent_options={"keep_disk": True},
        metrics={"val_per": 0.125},
        steps_per_s=3.5,
        looked_at=NOW + timedelta(seconds=1),
        exit_code=75,
    )
    attempt = AttemptRow(
        run_id=run.run_id, stage="run", n=1, candidate=0, offer={"usd_per_hour": 0.5}, started_at=NOW,
        handle={"pid": 1}, mirrored={"step_1.pt": {"at": "x"}}, has_run=True,
    )  # fmt: skip
    attempt_try = TryRow(
        token="demo-ab12-1-1", run_id=run.run_id, stage="run", attempt=1, try_number=1,
        offer={}, spec={"disk_gib": 50.0}, asked_at=NOW,
    )  # fmt: skip
    instance = InstanceRow(
        ref="fake/here/i-1", run_id=run.run_id, stage="run", attempt=1, token="demo-ab12-1-1",
        offer={}, state="running", created_at=NOW, seen_at=NOW,
    )  # fmt: skip
    store.add_run(run)
    for row in (attempt, attempt_try, instance):
        store.put(row)

    again = Store(tmp_path / "launch.db")

    assert again.run(run.run_id) == run
    assert again.attempts(run.run_id) == [attempt]
    assert again.tries(run.run_id) == [attempt_try]
    assert again.instances(run.run_id) == again.instances() == [instance]


def test_a_name_is_unique_among_live_runs_only(store: Store) -> None:
    store.add_run(a_run())
    with pytest.raises(NameTaken, match="demo-ab12") as caught:
        store.add_run(a_run("demo-cd34"))
    assert "launch stop demo" in str(caught.value.hint)

    store.update_run("demo-ab12", state="succeeded", ended_at=NOW)
    store.add_run(a_run("demo-cd34"))
    assert [row.run_id for row in store.live_runs()] == ["demo-cd34"]


def test_a_run_is_found_by_id_by_unique_prefix_and_by_name_the_newest_one(store: Store) -> None:
    store.add_run(a_run("demo-ab12", ended_at=NOW))
    store.add_run(a_run("demo-ab34", created_at=NOW + timedelta(hours=1)))
    store.add_run(a_run("other-ab34", name="other"))

    assert store.find_run("demo-ab12").run_id == "demo-ab12"
    assert store.find_run("demo-ab1").run_id == "demo-ab12"
    assert store.find_run("demo").run_id == "demo-ab34"
    with pytest.raises(RunNotFound, match="several runs: demo-ab34, demo-ab12"):
        store.find_run("demo-a")
    for nonsense in ("nope", "", "%", "demo_ab12"):
        with pytest.raises(RunNotFound):
            store.find_run(nonsense)


def test_events_are_numbered_and_read_from_a_position(store: Store) -> None:
    store.add_run(a_run())
    for number in range(3):
        store.append("demo-ab12", Kind.PROGRESS, f"step {number}", NOW, {"step": number})

    assert [event.seq for event in store.events("demo-ab12")] == [1, 2, 3]
    (last,) = store.events("demo-ab12", after=2)
    assert (last.message, last.data, last.kind) == ("step 2", {"step": 2}, Kind.PROGRESS)


def test_a_try_is_answered_and_an_intent_is_noted(store: Store) -> None:
    store.add_run(a_run())
    store.put(
        TryRow(
            token="demo-ab12-1-1",
            run_id="demo-ab12",
            stage="run",
            attempt=1,
            try_number=1,
            offer={},
            spec={},
            asked_at=NOW,
        )
    )
    store.update_try(store.tries("demo-ab12")[0], outcome=TryOutcome.CREATED, instance="fake/here/i-1")
    store.ask("demo-ab12", Intent.DOWN, discard=True)

    (answered,) = store.tries("demo-ab12", attempt=1)
    assert (answered.outcome, answered.instance) == (TryOutcome.CREATED, "fake/here/i-1")
    assert store.run("demo-ab12").intent_options == {"discard": True}


def test_a_lease_belongs_to_one_who_lives_until_it_expires(store: Store) -> None:
    store.add_run(a_run())
    later = NOW + timedelta(seconds=60)
    first = {"pid": 10, "pid_started": "a", "expires_at": later}
    second = {"pid": 11, "pid_started": "b", "expires_at": later}

    assert store.take_lease("demo-ab12", now=NOW, holder_lives=False, **first)
    assert not store.take_lease("demo-ab12", now=NOW, holder_lives=True, **second)
    assert store.take_lease("demo-ab12", now=NOW, holder_lives=True, **first)
    assert store.take_lease("demo-ab12", now=NOW, holder_lives=False, **second), (
        "the dead one's lease is taken over"
    )
    assert store.lease_holder("demo-ab12") == (11, "b")
    assert store.take_lease("demo-ab12", now=later, holder_lives=True, **first), "an expired one too"
    store.drop_lease("demo-ab12", pid=10)
    assert store.lease_holder("demo-ab12") is None


def test_a_record_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "launch.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StoreError, match="schema version"):
        Store(path)


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "launch.db"
    path.write_bytes(b"not a database, but long enough to look like one" * 100)
    with pytest.raises(StoreError, match=r"launch\.db"):
        Store(path)


def test_the_first_commands_of_a_home_may_come_at_once(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def first(path: Path, together: threading.Barrier) -> None:
        together.wait()
        try:
            Store(path).close()
        except StoreError as err:
            failed.append(err)

    for number in range(60):
        together = threading.Barrier(8)
        commands = [
            threading.Thread(target=first, args=(tmp_path / f"{number}.db", together)) for _ in range(8)
        ]
        for command in commands:
            command.start()
        for command in commands:
            command.join()
    assert failed == []


def _append_many(path: Path, count: int) -> None:
    store = Store(path)
    for number in range(count):
        store.append("demo-ab12", Kind.PROGRESS, str(number), NOW, {})


def test_several_processes_append_without_losing_or_repeating_a_position(
    store: Store, tmp_path: Path
) -> None:
    store.add_run(a_run())
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(tmp_path / "launch.db", 25)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [event.seq for event in store.events("demo-ab12")] == list(range(1, 76))


def test_file_names_that_are_no_text_are_kept_as_they_are(store: Store) -> None:
    store.add_run(a_run())
    odd = os.fsdecode(b"/results/\xff\xfe name")
    store.add_outputs("demo-ab12", [(odd, 1, "0" * 64), ("/results/plain", 2, "1" * 64)], NOW)
    store.append("demo-ab12", Kind.OUTPUT, f"{odd} is home", NOW, {"path": odd})
    store.update_run("demo-ab12", reason=f"{odd} is broken")

    assert {path for path, _, _ in store.outputs("demo-ab12")} == {odd, "/results/plain"}
    (event,) = store.events("demo-ab12")
    assert event.data["path"] == odd
    assert "\\udcff" in event.message
    assert "\\udcff" in store.run("demo-ab12").reason
