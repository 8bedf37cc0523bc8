"""How jobs end: by themselves, when asked, when killed, and what happens to the processes that they leave behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from launcher.runners.base import Signal
from tests.launcher.remote.jobs import SAVES_ON_SIGTERM, Machine, wait_until
from trainer.contract import Cause, Phase


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_the_exit_code_is_the_programs(machine: Machine, code: int) -> None:
    progress = machine.ended(machine.submit(f"python3 -c 'import sys; sys.exit({code})'"))
    assert progress.exit_code == code
    assert progress.cause is Cause.NONE
    assert not progress.alive


def test_a_failure_in_the_middle_of_a_script_or_pipe_ends_it(machine: Machine) -> None:
    progress = machine.ended(machine.submit("false | cat\necho never"))
    assert progress.exit_code == 1


def test_a_killed_program_is_128_plus_its_signal(machine: Machine) -> None:
    handle = machine.submit("python3 job.py")
    machine.said(handle, "ready")
    os.kill(machine.pid(handle, "job"), signal.SIGKILL)
    progress = machine.ended(handle)
    assert progress.exit_code == 137
    assert progress.cause is Cause.NONE
    assert "signal 9" in progress.reason


def test_asked_to_save_the_program_decides_its_exit_code(machine: Machine) -> None:
    handle = machine.submit("python3 job.py")
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    machine.runner.signal(handle, Signal.SAVE)
    progress = machine.ended(handle)
    assert (progress.exit_code, progress.cause) == (75, Cause.STOP)
    assert machine.log(handle).count("saving") == 1


def test_the_cause_is_written_before_the_signal_is_sent(machine: Machine) -> None:
    program = """
import json, os, signal, sys
path = os.environ["LAUNCH_RUN_DIR"] + "/control/main/1-1/status.json"
def leave(*_):
    print("cause was", json.load(open(path))["cause"], flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
signal.pause()
"""
    handle = machine.submit("python3 job.py", {"job.py": program})
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE, cause=Cause.DEADLINE)
    assert machine.ended(handle).cause is Cause.DEADLINE
    assert "cause was deadline" in machine.log(handle)


def test_a_shell_script_can_be_the_program(machine: Machine) -> None:
    script = """
trap 'echo saved; exit 75' TERM
echo ready
while true; do sleep 60; done
"""
    handle = machine.submit(script)
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    assert machine.ended(handle).exit_code == 75
    assert "saved" in machine.log(handle)


@pytest.mark.parametrize("run", ["bash inner.sh", "sh -c 'python3 job.py; exit $?'", "./inner.sh"])
def test_shells_in_between_live_to_pass_the_exit_code_on(machine: Machine, run: str) -> None:
    files = {
        "inner.sh": "#!/bin/bash\npython3 job.py\n",
        "job.py": SAVES_ON_SIGTERM,
    }
    handle = machine.submit("chmod +x inner.sh\n" + run, files)
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    assert machine.ended(handle).exit_code == 75


def test_what_the_program_says_while_saving_gets_through_tee(machine: Machine) -> None:
    handle = machine.submit("python3 job.py 2>&1 | tee train.log")
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    assert machine.ended(handle).exit_code == 75
    assert "saving" in machine.log(handle)
    assert (machine.workdir(handle) / "train.log").read_text() == "ready\nsaving\n"


def test_workers_are_left_to_their_program(machine: Machine) -> None:
    program = """
import signal, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
def leave(*_):
    time.sleep(0.3)
    print("worker", "lives" if worker.poll() is None else "died", flush=True)
    worker.kill()
    worker.wait()
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
while True:
    time.sleep(60)
"""
    handle = machine.submit("python3 job.py", {"job.py": program})
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    assert machine.ended(handle).exit_code == 75
    assert "worker lives" in machine.log(handle)


def test_a_grandchild_that_lost_its_parent_is_asked_and_waited_for(machine: Machine) -> None:
    orphan = """
import signal, sys, time
def leave(*_):
    time.sleep(0.3)
    open("orphan", "w").write("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("orphan ready", flush=True)
while True:
    time.sleep(60)
"""
    parent = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "orphan.py"], start_new_session=True)
time.sleep(60)
"""
    handle = machine.submit("python3 parent.py", {"parent.py": parent, "orphan.py": orphan})
    machine.said(handle, "orphan ready")
    machine.runner.signal(handle, Signal.SAVE)
    progress = machine.ended(handle)
    assert progress.exit_code == 128 + signal.SIGTERM
    assert (machine.workdir(handle) / "orphan").read_text() == "saved"


def test_who_does_not_listen_is_killed_after_the_grace_period(machine: Machine) -> None:
    program = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)"
    handle = machine.submit("python3 job.py", {"job.py": program}, grace_s=0.3)
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    progress = machine.ended(handle)
    assert (progress.exit_code, progress.cause) == (137, Cause.STOP)
    assert "killed" in progress.reason


def test_kill_does_not_wait_for_the_grace_period(machine: Machine) -> None:
    program = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(600)"
    handle = machine.submit("python3 job.py", {"job.py": program}, grace_s=600)
    machine.said(handle, "ready")
    machine.runner.signal(handle, Signal.SAVE)
    machine.wait(handle, lambda progress: progress.phase is Phase.LEAVING, "leaving")
    machine.runner.signal(handle, Signal.KILL)
    assert machine.ended(handle).exit_code == 137


def test_work_that_a_script_left_running_is_waited_for(machine: Machine) -> None:
    busy = (
        "import time\nend = time.time() + 1\nwhile time.time() < end: pass\nopen('late', 'w').write('done')"
    )
    handle = machine.submit("nohup python3 late.py > /dev/null 2>&1 &", {"late.py": busy})
    progress = machine.ended(handle)
    assert progress.exit_code == 0
    assert (machine.workdir(handle) / "late").read_text() == "done"


def test_a_forgotten_server_does_not_keep_the_machine_for_ever(machine: Machine) -> None:
    handle = machine.submit("sleep 600 &\nexit 0")
    assert machine.ended(handle).exit_code == 0
    assert "idle" in machine.log(handle)


def test_after_a_failure_the_rest_is_ended_at_once(machine: Machine) -> None:
    handle = machine.submit("sleep 600 &\nexit 3")
    assert machine.ended(handle).exit_code == 3


def test_sigterm_to_the_watchdog_is_the_machine_shutting_down(machine: Machine) -> None:
    handle = machine.submit("python3 job.py")
    machine.said(handle, "ready")
    os.kill(machine.pid(handle), signal.SIGTERM)
    progress = machine.ended(handle)
    assert (progress.exit_code, progress.cause) == (75, Cause.NOTICE)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP])
def test_keys_pressed_in_the_session_do_not_end_the_watchdog(
    machine: Machine, number: signal.Signals
) -> None:
    handle = machine.submit("python3 job.py")
    machine.said(handle, "ready")
    os.kill(machine.pid(handle), number)
    machine.runner.signal(handle, Signal.SAVE)
    assert machine.ended(handle).exit_code == 75


def test_a_session_stopped_by_a_key_holds_nothing_up(machine: Machine) -> None:
    flood = "import sys, time\ntime.sleep(0.5)\nsys.stdout.write('x' * 3_000_000)\nprint('done', flush=True)"
    handle = machine.submit("echo ready; python3 flood.py; exit 75", {"flood.py": flood})
    machine.said(handle, "ready")
    tmux, session = machine.runner.attach_command(handle)[:5], machine.runner.attach_command(handle)[-1]
    machine.runner.execute(handle, [*tmux, "send-keys", "-t", session + ":", "C-s"])
    progress = machine.ended(handle)
    assert progress.exit_code == 75
    assert progress.log_bytes > 3_000_000


def test_the_end_of_tmux_is_not_the_end_of_the_job(machine: Machine) -> None:
    handle = machine.submit("python3 job.py")
    machine.said(handle, "ready")
    socket = machine.runner.attach_command(handle)[2]
    machine.runner.execute(handle, ["tmux", "-L", socket, "kill-server"])
    machine.runner.execute(handle, ["sh", "-c", "echo still here"])
    assert machine.runner.poll(handle).alive
    machine.runner.signal(handle, Signal.SAVE)
    assert machine.ended(handle).exit_code == 75


def test_the_watchdog_killed_is_seen_and_two_copies_never_run(machine: Machine) -> None:
    program = """
import os, time
def lives(pid):
    try:
        with open("/proc/" + pid + "/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
with open("copies", "a") as copies:
    print(os.getpid(), file=copies)
alive = [pid for pid in open("copies").read().split() if lives(pid)]
print("ready", len(alive), flush=True)
time.sleep(600)
"""
    handle = machine.submit("python3 job.py", {"job.py": program}, grace_s=0.5)
    machine.said(handle, "ready 1\n")
    os.kill(machine.pid(handle), signal.SIGKILL)
    progress = machine.wait(handle, lambda progress: not progress.alive, "the loss of the watchdog")
    assert progress.phase is Phase.RUNNING
    assert progress.exit_code is None
    first = int((machine.workdir(handle) / "copies").read_text())
    os.kill(first, 0)  # the job itself still runs

    again = machine.submit("python3 job.py", {"job.py": program}, start=2)
    wait_until(lambda: machine.log(again).count("ready 1\n") == 2, "the second start, alone")
    log = machine.log(again)
    assert "an earlier watchdog had been killed" in log
    wait_until(lambda: not Path(f"/proc/{first}").exists(), "the end of the first copy")


def test_end_kills_what_a_dead_watchdog_left(machine: Machine) -> None:
    handle = machine.submit("env -i setsid python3 job.py & python3 job.py")
    wait_until(lambda: machine.log(handle).count("ready") == 2, "both programs")
    os.kill(machine.pid(handle), signal.SIGKILL)
    machine.wait(handle, lambda progress: not progress.alive, "the loss of the watchdog")
    machine.runner.end(handle)
    machine.runner.end(handle)
    assert not [pid for pid in machine.processes() if "job.py" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_end_ends_a_running_job(machine: Machine) -> None:
    handle = machine.submit("python3 job.py")
    machine.said(handle, "ready")
    machine.runner.end(handle)
    assert machine.runner.poll(handle).phase is Phase.ENDED
    assert not machine.processes()


def test_a_start_that_did_and_said_what_the_one_before_did_is_told_of(machine: Machine) -> None:
    """Seen from the disk and the output alone: exit 75 without steps and checkpoints could go on for ever."""

    def leaves(run: str, start: int, **changes: Any) -> bool:
        return machine.ended(machine.submit(run, start=start, **changes)).repeated

    assert not leaves("echo nothing to do; exit 75", 1), "there is nothing to compare with"
    assert leaves("echo nothing to do; exit 75", 2)
    assert not leaves("echo nothing to do; date >> outputs/found.txt; exit 75", 3)
    assert not leaves("echo something else; exit 75", 4)
    assert not leaves("echo something else; exit 1", 5), "what fails is counted as an error"
