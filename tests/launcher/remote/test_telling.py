"""What a job is told and what is told about it: environment, secrets, setup, output, metrics, host metrics."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.errors import DependencyMissing, PlacementError
from launcher.remote.runfile import Intervals
from launcher.runners.base import Area, Handle, Signal
from tests.launcher.remote.jobs import FAST, Machine, wait_until
from trainer.contract import Phase


def test_every_variable_of_the_contract_is_there(machine: Machine) -> None:
    handle = machine.submit("env -0 > seen", envs={"MINE": "a 'b'\n$c", "LAUNCH_ATTEMPT": "99"})
    machine.ended(handle)
    seen = dict(
        entry.split("=", 1) for entry in (machine.workdir(handle) / "seen").read_text().split("\0") if entry
    )
    workdir = str(machine.workdir(handle))
    expected = {
        "LAUNCH_RUN_ID": "demo-abcd",
        "LAUNCH_ATTEMPT": "1",
        "LAUNCH_STAGE": "main",
        "LAUNCH_CHECKPOINT_DIR": workdir + "/checkpoints",
        "LAUNCH_OUTPUT_DIR": workdir + "/outputs",
        "LAUNCH_DATA_DIR": workdir + "/data",
        "LAUNCH_RESUME_FROM": "",
        "MINE": "a 'b'\n$c",
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert seen["LAUNCH_METRICS_FILE"].endswith("logs/main/metrics.jsonl")
    assert "TMUX" not in seen


def test_nothing_of_a_job_around_the_launcher_reaches_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_RUN_DIR", "/some/other/run")
    monkeypatch.setenv("LAUNCH_RESUME_FROM", "/some/other/checkpoint")
    machine = Machine(tmp_path)
    try:
        handle = machine.submit('echo "dir=$LAUNCH_RUN_DIR resume=$LAUNCH_RESUME_FROM."')
        machine.ended(handle)
        assert f"dir={machine.paths(handle).folder.root} resume=.\n" in machine.log(handle)
    finally:
        machine.close()


def test_odd_names_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "it's a \"test\"\nwith #{host} $HOME; `id` %H 'é"
    folder.mkdir()
    machine = Machine(folder)
    try:
        handle = machine.submit(
            'pwd > "$LAUNCH_OUTPUT_DIR/here"', workdir_name='my "proj"\n#{session_name};', setup="echo 'a;'"
        )
        assert machine.ended(handle).exit_code == 0
        report = machine.runner.fetch(handle, ["outputs/here"], tmp_path / "home")
        assert report.files[0].path.read_text() == str(machine.workdir(handle)) + "\n"
    finally:
        machine.close()


def test_secrets_reach_the_program_and_nothing_else(machine: Machine) -> None:
    value = "hunter2-'\"\n-end"
    # Everything written by us or the watchdog, and every command line, is searched.
    handle = machine.submit(
        'python3 job.py "$(printf %s "$TOKEN" | wc -c)"',
        {"job.py": "import sys, time\nprint('length', sys.argv[1], flush=True)\ntime.sleep(600)"},
        secrets={"TOKEN": value},
    )
    machine.said(handle, f"length {len(value)}\n")
    wait_until(lambda: machine.runner.poll(handle).log_bytes, "a status after the output")
    for path in machine.work_root.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path
    for pid in machine.processes():
        assert b"hunter2" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not Path(machine.paths(handle).secrets).exists()


def test_secrets_wait_in_a_private_file(tmp_path: Path) -> None:
    """A tmux that starts nothing: what was placed stays as it was."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "tmux").write_text('#!/bin/sh\ncase "$*" in *has-session*) exit 1;; esac\n')
    (tools / "tmux").chmod(0o755)
    machine = Machine(tmp_path, environ={"PATH": f"{tools}:{os.environ['PATH']}"})
    submission = machine.submission("true", secrets={"TOKEN": "hunter2"})
    with pytest.raises(PlacementError, match="watchdog did not start"):
        machine.start(submission)
    control = machine.work_root / "launch" / "demo-abcd" / "control"
    secrets = control / "main" / "1-1" / "secrets.json"
    assert json.loads(secrets.read_bytes()) == {"TOKEN": "hunter2"}
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert control.stat().st_mode & 0o777 == 0o700
    assert (secrets.parent / "run.json").stat().st_mode & 0o777 == 0o600
    machine.runner.end(
        Handle(
            runner="machines",
            run_id="demo-abcd",
            attempt=1,
            stage="main",
            start=1,
            data={
                "work_root": str(machine.work_root),
                "workdir_name": "project",
                "checkpoint_dir": "checkpoints",
                "segment_bytes": 1,
            },
        )
    )
    assert not secrets.exists()


def test_setup_runs_once_and_its_services_live_on(machine: Machine) -> None:
    setup = "echo setting up\nsleep 600 & echo $! > service"
    handle = machine.submit("kill -0 $(cat service); exit 75", setup=setup)
    first = machine.ended(handle)
    assert first.exit_code == 75
    assert first.setup_s is not None
    again = machine.submit("echo once more", setup=setup, start=2)
    assert machine.ended(again).exit_code == 0
    assert machine.log(again).count("setting up") == 1


def test_a_failed_setup_is_told_apart_and_done_again(machine: Machine) -> None:
    handle = machine.submit("echo never", setup="exit 4")
    progress = machine.ended(handle)
    assert progress.exit_code == 4
    assert "setup" in progress.reason
    assert "never" not in machine.log(handle)


def test_asked_to_leave_during_setup_the_job_never_starts(machine: Machine) -> None:
    handle = machine.submit("echo never", setup="echo begun; sleep 600 || true")
    machine.said(handle, "begun")
    assert machine.runner.poll(handle).phase is Phase.SETUP
    machine.runner.signal(handle, Signal.SAVE)
    assert machine.ended(handle).exit_code == 75
    assert "never" not in machine.log(handle)


def test_output_has_no_gaps_and_no_repeats_over_segments_and_starts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, intervals=replace(FAST, segment_bytes=1000))
    try:
        program = "for i in $(seq 1 500); do echo line $i; done"
        handle = machine.submit(program)
        machine.ended(handle)
        first = read_in_pieces(machine, handle)
        assert [line for line in first.splitlines() if line.startswith(b"line")] == [
            b"line %d" % number for number in range(1, 501)
        ]
        assert len(first) == machine.runner.poll(handle).log_bytes
        again = machine.submit(program, start=2)
        machine.ended(again)
        both = read_in_pieces(machine, again)
        assert both.startswith(first)
        assert both.count(b"line 500\n") == 2
        assert machine.runner.logs(again, len(both)).data == b""
    finally:
        machine.close()


def read_in_pieces(machine: Machine, handle: Handle) -> bytes:
    """As a viewer with little patience and odd sizes would."""
    whole = b""
    while chunk := machine.runner.logs(handle, len(whole), limit=337).data:
        assert len(chunk) <= 337
        whole += chunk
    return whole


def test_a_flood_of_output_is_capped_and_offsets_stay_true(tmp_path: Path) -> None:
    machine = Machine(tmp_path, intervals=replace(FAST, segment_bytes=4096, log_bytes=3 * 4096))
    try:
        handle = machine.submit("for i in $(seq -w 1 9999); do echo $i; done")
        progress = machine.ended(handle)
        kept = sum(file.stat().st_size for file in Path(machine.paths(handle).segments).iterdir())
        assert kept <= 3 * 4096
        chunk = machine.runner.logs(handle, 0)
        assert chunk.offset > 0
        assert chunk.next_offset == progress.log_bytes
        number = int(chunk.data.split(b"\n")[1])
        at = chunk.offset + chunk.data.index(b"\n") + 1
        assert at == (number - 1) * 5
    finally:
        machine.close()


def test_metrics_survive_half_lines_nonsense_and_numbers_json_has_not(machine: Machine) -> None:
    program = """
import os, time
with open(os.environ["LAUNCH_METRICS_FILE"], "a") as metrics:
    for step in range(5):
        print('{"step": %d, "total": 10, "loss": %s, "name": "x", "ok": true}' % (step, 1 / (step + 1)), file=metrics)
        metrics.flush()
        time.sleep(0.15)
    metrics.write('not json\\n[1]\\n{"loss": NaN, "best": -Infinity}\\n{"step": 6, "tot')
    metrics.flush()
    os.kill(os.getpid(), 9)
"""
    handle = machine.submit("python3 job.py", {"job.py": program})
    progress = machine.ended(handle)
    assert (progress.step, progress.total) == (4, 10)
    assert math.isnan(progress.metrics["loss"])
    assert progress.metrics["best"] == -math.inf
    assert set(progress.metrics) == {"step", "total", "loss", "best"}
    assert progress.steps_per_s == pytest.approx(1 / 0.15, rel=0.5)

    line = '{"step": 7}'
    again = machine.submit(f"echo '{line}' >> $LAUNCH_METRICS_FILE", {"job.py": program}, start=2)
    progress = machine.ended(again)
    assert (progress.step, progress.total) == (7, None)
    assert Path(machine.paths(again).metrics).read_text().splitlines()[-1] == line


def test_host_metrics_come_as_csv(machine: Machine) -> None:
    handle = machine.submit("sleep 1")
    machine.ended(handle)
    report = machine.runner.fetch(handle, ["*.csv"], machine.folder / "home", area=Area.LOGS)
    rows = rows_of(report.files[0].path)
    assert len(rows) >= 2
    assert float(rows[-1]["memory_total_gib"]) > float(rows[-1]["memory_used_gib"]) > 0
    assert 0 <= float(rows[-1]["cpu_percent"]) <= 100
    assert float(rows[-1]["disk_free_gib"]) > 0


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fake_tool(folder: Path, name: str, script: str) -> dict[str, str]:
    """A program on PATH that answers as the driver's would."""
    tools = folder / "tools"
    tools.mkdir()
    (tools / name).write_text("#!/bin/sh\n" + script)
    (tools / name).chmod(0o755)
    return {"PATH": f"{tools}:{os.environ['PATH']}"}


def test_an_idle_gpu_stops_the_job_when_asked_to(tmp_path: Path) -> None:
    environ = fake_tool(
        tmp_path, "nvidia-smi", "echo '0, 1024, 16384, 30.5, 41'\necho '2, 1024, 16384, [N/A], 40'\n"
    )
    machine = Machine(tmp_path, environ=environ)
    try:
        handle = machine.submit("python3 job.py", idle_stop_s=0.5)
        progress = machine.ended(handle)
        assert (progress.exit_code, progress.cause.value) == (75, "idle")
        rows = rows_of(Path(machine.paths(handle).logs / "system.csv"))
        newest = rows[-1]
        assert (newest["gpu_percent"], newest["gpu_memory_used_gib"]) == ("1.00", "2.00")
        assert newest["gpu_temperature_c"] == "41.00"
    finally:
        machine.close()


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("nvidia-smi", "echo '97, 1024, 16384, 30.5, 41'"),
        ("nvidia-smi", "echo 'No devices were found'; exit 6"),
        ("nvidia-smi", "sleep 600"),
        ("rocm-smi", """echo '{"card0": {"GPU use (%)": "88"}}'"""),
    ],
)
def test_a_busy_or_unreadable_gpu_is_not_idle(tmp_path: Path, name: str, script: str) -> None:
    machine = Machine(tmp_path, environ=fake_tool(tmp_path, name, script))
    try:
        progress = machine.ended(machine.submit("sleep 1", idle_stop_s=0.3))
        assert (progress.exit_code, progress.cause.value) == (0, "none")
    finally:
        machine.close()


def links_without(folder: Path, *missing: str) -> dict[str, str]:
    """A PATH with the tools of this computer but those."""
    tools = folder / "bin"
    tools.mkdir()
    for place in ("/bin", "/usr/bin"):
        for program in Path(place).iterdir():
            if program.name not in missing and not (tools / program.name).exists():
                (tools / program.name).symlink_to(program)
    return {"PATH": str(tools)}


def test_no_tmux_is_said_with_the_line_that_installs_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, environ=links_without(tmp_path, "tmux"))
    with pytest.raises(DependencyMissing, match="tmux") as caught:
        machine.submit("true")
    assert "tmux" in str(caught.value.hint)
    assert not machine.work_root.exists()


def test_no_word_of_the_job_in_the_environment_of_the_next(machine: Machine) -> None:
    machine.ended(machine.submit("true", envs={"FROM_THE_FIRST": "1"}))
    second = machine.submit("env", stage="second")
    machine.ended(second)
    assert "FROM_THE_FIRST" not in machine.log(second)


def test_a_full_disk_costs_output_and_not_the_job(tmp_path: Path) -> None:
    """In a namespace of its own with a disk of one megabyte."""
    machine = Machine(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
set -e
mount -t tmpfs -o size=1m none {disk}
export PYTHONPATH={Path(__file__).parents[3]}
python3 {tmp_path}/inside.py
"""
    (tmp_path / "inside.py").write_text(INSIDE.format(disk=disk))
    environ = {**os.environ, "TMUX_TMPDIR": "/tmp"}
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        env={**environ, "PATH": f"{Path(__import__('sys').executable).parent}:{environ['PATH']}"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["exit_code"] == 7
    assert told["phase"] == "ended"
    assert "bytes of output are missing here" in told["log"]
    assert "after the flood" in told["log"]
    machine.close()


INSIDE = """
import json
import re
from pathlib import Path
from tests.launcher.remote.jobs import Machine

machine = Machine(Path("{disk}"))
try:
    flood = "head -c 3000000 /dev/zero | tr '\\\\0' 'x'; rm -f filler; sleep 0.3; echo after the flood; exit 7"
    handle = machine.submit("head -c 500000 /dev/zero > filler; " + flood)
    progress = machine.ended(handle)
    log = machine.runner.logs(handle, 0, limit=10_000_000).data.decode()
    print(json.dumps({{"exit_code": progress.exit_code, "phase": progress.phase.value, "log": re.sub("x+", "x", log)}}))
finally:
    machine.close()
"""


def test_stopped_processes_hear_the_signal_too(machine: Machine) -> None:
    handle = machine.submit("python3 job.py")
    machine.said(handle, "ready")
    for pid in machine.processes():
        if b"job.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGSTOP)
    machine.runner.signal(handle, Signal.SAVE)
    assert machine.ended(handle).exit_code == 75


def test_defaults_are_cheap() -> None:
    plain = Intervals()
    assert plain.tick_s >= 1.0
    assert plain.segment_bytes * 2 <= plain.log_bytes


def test_a_status_of_another_boot_is_nobodys(machine: Machine) -> None:
    """After a reboot pids and start times begin anew: a process that has both of the old watchdog is not it."""
    handle = machine.submit("python3 job.py")
    machine.said(handle, "ready")
    os.kill(machine.pid(handle), signal.SIGKILL)
    machine.wait(handle, lambda progress: not progress.alive, "the end of the watchdog")
    status = Path(machine.paths(handle).status)
    told = json.loads(status.read_text())
    told["watchdog"] = told["job"]  # which lives
    status.write_text(json.dumps(told))
    assert machine.another_runner().poll(handle).alive
    status.write_text(json.dumps({**told, "boot_id": str(uuid.uuid4())}))
    assert not machine.another_runner().poll(handle).alive
