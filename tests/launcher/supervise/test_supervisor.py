"""One supervisor per home: it takes over from a dead one, shares nothing with a live one, and one bad run harms no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from launcher import Kind
from launcher.errors import StoreError
from launcher.store import Intent, RunRow, Store
from launcher.supervise import Supervisor, ensure_supervisor, hold_lock, supervise, supervisor_pid
from launcher.supervise.processes import is_alive, start_mark
from provisioning import files
from tests.system.house import House, eventually, expected_outcome

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "launch.db")


def a_run(store: Store, name: str) -> str:
    store.add_run(RunRow(run_id=f"{name}-aaaa", name=name, state="queued", created_at=NOW, updated_at=NOW))
    return f"{name}-aaaa"


def end(store: Store, run_id: str) -> None:
    store.update_run(run_id, state="stopped", ended_at=NOW)


def test_a_run_that_fails_harms_no_other(store: Store) -> None:
    bad, good = a_run(store, "bad"), a_run(store, "good")
    looks: list[str] = []

    def advance(run_id: str) -> float | None:
        looks.append(run_id)
        if run_id == bad and looks.count(bad) < 3:
            raise RuntimeError("a fault of ours")
        if looks.count(run_id) < 4:
            return 0.0
        end(store, run_id)
        return None

    said: list[str] = []
    supervisor = Supervisor(store, advance, complain=said.append, wait=lambda s: time.sleep(min(s, 0.01)))
    supervisor.monotonic = _fast_clock()
    supervisor.run_until_idle()
    assert looks.count(good) == 4 and looks.count(bad) == 4
    (complaint,) = said
    assert "a fault of ours" in complaint, "with its traceback, once"
    (warning,) = store.events(bad)
    assert warning.kind is Kind.WARNING and warning.data["error"] == "RuntimeError"


def _fast_clock() -> object:
    started = time.monotonic()
    return lambda: started + (time.monotonic() - started) * 100


def test_a_record_that_cannot_be_read_for_a_while_is_waited_for(store: Store) -> None:
    run_id = a_run(store, "demo")
    said: list[str] = []

    class Failing(Store):
        failures = 3

        def live_intents(self) -> dict[str, Intent]:
            if self.failures:
                self.failures -= 1
                raise StoreError("database is locked")
            return super().live_intents()

    failing = Failing(store._database._path)

    def advance(_: str) -> float | None:
        end(failing, run_id)
        return None

    Supervisor(
        failing, advance, complain=said.append, wait=lambda s: time.sleep(min(s, 0.01))
    ).run_until_idle()
    assert len(said) == 1 and "locked" in said[0]
    assert not store.live_runs()


def test_an_intent_is_seen_at_once_also_during_a_long_look(store: Store) -> None:
    run_id = a_run(store, "demo")
    began = threading.Event()
    looks: list[Intent] = []

    def advance(_: str) -> float | None:
        intent = store.run(run_id).intent
        looks.append(intent)
        if intent is Intent.STOP:
            end(store, run_id)
            return None
        began.set()
        time.sleep(0.3)
        return 3600.0

    def ask() -> None:
        began.wait()
        Store(store._database._path).ask(run_id, Intent.STOP)

    asker = threading.Thread(target=ask)
    asker.start()
    Supervisor(store, advance, wait=lambda _: time.sleep(0.01)).run_until_idle()
    asker.join()
    assert looks == [Intent.NONE, Intent.STOP]


def test_a_lease_of_a_dead_process_is_taken_over_and_that_of_a_live_one_is_not(store: Store) -> None:
    run_id = a_run(store, "demo")
    lives = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        mark = start_mark(lives.pid)
        later = datetime.now(timezone.utc) + timedelta(hours=1)
        assert store.take_lease(
            run_id, pid=lives.pid, pid_started=mark, now=NOW, expires_at=later, holder_lives=False
        )
        looks: list[str] = []

        def advance(_: str) -> float | None:
            looks.append(run_id)
            end(store, run_id)
            return None

        def wait(_: float) -> None:
            if not looks and is_alive(lives.pid, mark):
                lives.kill()
                lives.wait()

        supervisor = Supervisor(store, advance, wait=wait)
        supervisor.run_until_idle()
        assert looks == [run_id], "once, after the holder was dead"
    finally:
        lives.kill()
        lives.communicate()


def test_only_one_of_many_supervises(house: House) -> None:
    with hold_lock(house.home) as first:
        assert first
        assert supervisor_pid(house.home) == os.getpid()
        with hold_lock(house.home, patience_s=0.1) as second:
            assert not second
        assert supervise(house.home) is False
    assert supervisor_pid(house.home) is None


def test_many_who_start_it_at_once_get_one(house: House) -> None:
    run = house.launch(house.counting(total=30, pace_s=0.1))
    house.kill_supervisor()
    starters = [
        threading.Thread(target=ensure_supervisor, args=(house.home, house.environ)) for _ in range(6)
    ]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    listing = subprocess.run(
        ["pgrep", "-f", "launcher.supervise"], capture_output=True, text=True, check=False
    )
    ours = [
        int(pid)
        for pid in listing.stdout.split()
        if str(house.state) in _environ_of(int(pid)).get("LAUNCH_HOME", "")
    ]
    eventually(lambda: [pid for pid in ours if Path(f"/proc/{pid}").exists()] == [house.supervisor()], "one")
    assert run.wait(timeout_s=60).state == "succeeded"
    assert house.outcome(run) == expected_outcome(30)


def _environ_of(pid: int) -> dict[str, str]:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def test_a_run_recorded_in_the_moment_of_the_idle_exit_is_followed(house: House) -> None:
    """Runs of one look each, one after the other: the supervisor is always about to end."""
    for number in range(4):
        run = house.launch(house.job("true", name=f"short{number}"))
        assert run.wait(timeout_s=60).state == "succeeded"


def test_a_stopped_supervisor_holds_on_to_its_home(house: House) -> None:
    """SIGSTOP, or a computer that sleeps: no second one acts meanwhile, and it goes on where it was."""
    run = house.launch(house.counting(total=20, pace_s=0.1))
    house.until_step(run, 2)
    pid = house.supervisor()
    os.kill(pid, signal.SIGSTOP)
    ensure_supervisor(house.home, house.environ)
    assert supervisor_pid(house.home) == pid
    os.kill(pid, signal.SIGCONT)
    assert run.wait(timeout_s=60).state == "succeeded"
    house.audit(run)


def test_a_supervisor_that_cannot_start_says_why(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from launcher.errors import LaunchError

    monkeypatch.setattr(sys, "executable", str(house.root / "no-python"))
    with pytest.raises(LaunchError, match="did not start") as caught:
        ensure_supervisor(house.home, house.environ)
    assert caught.value.left_behind and "launch watch" in (caught.value.hint or "")


def test_an_interrupted_watch_leaves_at_once_in_the_middle_of_a_long_step(house: House) -> None:
    """The cloud does not answer the create call; Ctrl-C does not wait for it, and nothing is lost by that."""
    with hold_lock(house.home):
        run = house.launch(house.counting(total=3), provider="fake")
    with files.lock(house.state / "fake" / "lock"):
        watcher = subprocess.Popen(
            [sys.executable, "-m", "launcher.cli", "watch"],
            env=house.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: house.store.unanswered_tries(run.id), "the create call")
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(timeout=10) == 130
        assert supervisor_pid(house.home) is None
    assert run.wait(timeout_s=60).state == "succeeded"
    house.audit(run)


def test_the_computer_is_kept_awake_as_long_as_a_run_needs_it(house: House) -> None:
    tools = house.root / "tools"
    tools.mkdir()
    told = house.root / "told"
    stand_in = tools / "systemd-inhibit"
    stand_in.write_text(f'#!/bin/sh\necho "$@" > {told}\nfor last; do :; done\nexec "$last"\n')
    stand_in.chmod(0o755)
    house.environ["PATH"] = f"{tools}:{house.environ['PATH']}"
    run = house.launch(house.counting(gate=3))
    eventually(lambda: any("kept awake" in event.message for event in run.events()), "the word of it")
    assert "--what=sleep:idle" in told.read_text()
    holder = _child_of(house.supervisor(), "cat")
    house.kill_supervisor()
    eventually(lambda: not Path(f"/proc/{holder}").exists(), "it to sleep again when we are gone")
    house.open_gate()
    assert run.wait(timeout_s=60).state == "succeeded"
    assert len([event for event in run.events() if "kept awake" in event.message]) == 1
    house.audit(run)


def _child_of(parent: int, name: str) -> int:
    listing = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    )
    return next(int(line.split()[0]) for line in listing.stdout.splitlines() if line.split()[1] == name)
