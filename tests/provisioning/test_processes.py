"""Whose a process is, and that ending a machine's processes ends those and no others."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from provisioning import CloudError
from provisioning.processes import MARK, Process, belonging, end_all, module_command, parse_ps, running
from tests.provisioning.machines import eventually, process


@pytest.fixture
def machine() -> str:
    return f"m-{uuid.uuid4().hex[:12]}"


def marked(machine: str) -> dict[str, str]:
    return {**os.environ, MARK: machine}


def test_descendants_belong_unless_they_carry_another_mark() -> None:
    processes = [
        Process(1, 0, None),
        Process(10, 1, "a"),
        Process(11, 10, None),
        Process(12, 11, None),
        Process(13, 11, "b"),
        Process(14, 13, None),
        Process(20, 1, None),
    ]
    assert belonging(processes, "a") == {10, 11, 12}
    assert belonging(processes, "b") == {13, 14}
    assert belonging(processes, "c") == set()


def test_all_of_a_machine_ends_and_nothing_else(machine: str) -> None:
    script = "sleep 601 & env -i sleep 602 & setsid sleep 603 & wait"
    with (
        process(["bash", "-c", script], marked(machine)) as ours,
        process(["sleep", "604"], marked(f"{machine}-other")) as other,
        process(["sleep", "605"]) as stranger,
    ):
        eventually(lambda: len(running(machine)) == 4)
        end_all(machine)
        assert running(machine) == []
        assert ours.wait(timeout=5) == -9
        assert other.poll() is None
        assert stranger.poll() is None


def test_a_job_that_ignores_signals_and_forks_on_ends_too(machine: str) -> None:
    script = "trap '' TERM INT HUP; while :; do sleep 606 & sleep 0.02; done"
    with process(["bash", "-c", script], marked(machine)):
        eventually(lambda: len(running(machine)) > 3)
        end_all(machine)
        assert running(machine) == []


def test_the_calling_process_is_spared(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"from provisioning import processes; processes.end_all({machine!r}); print('still here')"
    root = module_command("provisioning").argv[1].removeprefix("PYTHONPATH=")
    done = subprocess.run(
        [module_command("x").argv[2], "-c", code],
        env={**marked(machine), "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "still here\n", done.stderr


def test_a_zombie_is_no_process(machine: str) -> None:
    child = subprocess.Popen(["true"], env=marked(machine))
    try:
        end_all(machine)  # returns although nobody has reaped the child
    finally:
        child.wait()


def test_what_will_not_die_is_named(machine: str) -> None:
    with process(["sleep", "607"], marked(machine)) as ours:
        eventually(lambda: running(machine))
        with pytest.raises(CloudError) as stuck:
            end_all(machine, deadline_s=0.0)
        assert str(ours.pid) in (stuck.value.left_behind or "")


def test_a_process_list_with_environments_is_read() -> None:
    # As macOS and procps print it: the environment follows the command, a line each, names may hold anything.
    listing = """
    1     0 /sbin/launchd
  501     1 -zsh TERM=xterm-256color HOME=/Users/ann
  777   501 python3 watchdog.py run.json PATH=/usr/bin LAUNCH_MACHINE=demo-abcd-1-1-44bce35a LANG=C
  778   777 sleep 600
  779   501 vi LAUNCH_MACHINES=no.txt HOME=/Users/ann
"""
    assert parse_ps(listing) == [
        Process(1, 0, None),
        Process(501, 1, None),
        Process(777, 501, "demo-abcd-1-1-44bce35a"),
        Process(778, 777, None),
        Process(779, 501, None),
    ]


@pytest.mark.skipif(not shutil.which("ps"), reason="no ps here")
def test_the_real_process_list_is_read(machine: str) -> None:
    with process(["sleep", "608"], marked(machine)) as ours:
        eventually(lambda: running(machine))
        listing = subprocess.run(
            ["ps", "axeww", "-o", "pid=,ppid=,command="],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
        )
        assert belonging(parse_ps(listing.stdout), machine) == {ours.pid}


def test_a_tmux_server_of_the_machine_ends_with_its_windows(machine: str, tmp_path: Path) -> None:
    tmux = ["tmux", "-S", str(tmp_path / "tmux"), "-f", os.devnull]
    started = [*tmux, "new-session", "-d", "-s", "job", "sleep 609"]
    subprocess.run(started, env=marked(machine), check=True, timeout=30)
    eventually(lambda: len(running(machine)) >= 2)
    end_all(machine)
    assert running(machine) == []
    assert subprocess.run([*tmux, "has-session"], capture_output=True, timeout=30).returncode != 0


def test_a_program_in_the_moment_of_its_exec_does_not_escape() -> None:
    for n in range(40):
        machine = f"m-exec-{n}"
        born = subprocess.Popen(
            ["bash", "-c", "exec sh -c 'exec sleep 600'"],
            env={"PATH": os.environ["PATH"], MARK: machine},
        )
        try:
            end_all(machine)
            assert born.wait(timeout=5) == -9
        finally:
            born.kill()
            born.wait()
