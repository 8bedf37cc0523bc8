"""What one supervisor costs that follows many real jobs: each with its own tmux, watchdog and program on this computer.

    python benchmarks/supervise/measure.py [--jobs 100] [--seconds 60] > benchmarks/supervise/<date>.txt

The jobs report a step every five seconds and save a checkpoint every thirty. Counted is the supervisor alone, over
``--seconds`` in which all of them run: CPU from ``/proc``, resident memory, writes to the record.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from launcher import Job, Run, launch  # noqa: E402
from launcher.home import Home  # noqa: E402
from launcher.supervise import supervisor_pid  # noqa: E402

TARGET_CORE_SHARE = 0.25
TARGET_MIB = 300
PROGRAM = """
n=0
trap 'exit 75' TERM
while :; do
  n=$((n + 1))
  echo "{\\"step\\": $n, \\"total\\": 100000, \\"loss\\": 0.5}" >> "$LAUNCH_METRICS_FILE"
  echo "step $n"
  if [ $((n % 6)) -eq 0 ]; then echo $n > "$LAUNCH_CHECKPOINT_DIR/.n"; mv "$LAUNCH_CHECKPOINT_DIR/.n" "$LAUNCH_CHECKPOINT_DIR/n_$n"; fi
  sleep 5 & wait $!
done
"""


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def start(jobs: int, project: Path, environ: dict[str, str]) -> list[Run]:
    """Launch so many runs and wait until all their programs live."""
    runs = []
    for number in range(jobs):
        fields = {
            "name": f"job{number}",
            "workdir": str(project),
            "run": PROGRAM,
            "checkpoint": {"dir": "saved"},
        }
        runs.append(launch(Job.from_dict(fields, base_dir=project), provider="local", environ=environ))
    while waiting := [run for run in runs if run.status().state != "running"]:
        ended = [run for run in waiting if not run.status().is_live]
        if ended:
            raise SystemExit(f"{ended[0]}: {ended[0].status().reason}")
        time.sleep(1.0)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), told.jobs, told.seconds)


def measure(folder: Path, jobs: int, seconds: float) -> None:
    """Start, count, print, end."""
    project = folder / "project"
    project.mkdir()
    (project / "readme.txt").write_text("nothing\n")
    environ = {**os.environ, "LAUNCH_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    environ.pop("LAUNCH_MACHINE", None)
    home = Home.open(environ)
    began = time.perf_counter()
    runs = start(jobs, project, environ)
    started_s = time.perf_counter() - began
    pid = supervisor_pid(home)
    assert pid is not None
    record = sqlite3.connect(home.database)
    pages = record.execute("SELECT count(*) FROM events").fetchone()[0]
    cpu, clock = cpu_s(pid), time.perf_counter()
    memory = []
    while time.perf_counter() - clock < seconds:
        time.sleep(2.0)
        memory.append(memory_mib(pid))
    share = (cpu_s(pid) - cpu) / (time.perf_counter() - clock)
    events = record.execute("SELECT count(*) FROM events").fetchone()[0] - pages
    looked = [run.status().looked_at for run in runs]
    now = datetime.now(timezone.utc)
    oldest = max((now - at).total_seconds() for at in looked if at is not None)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    print(
        f"{now:%Y-%m-%d %H:%M} UTC, commit {commit}, Python {platform.python_version()}, {os.cpu_count()} cores"
    )
    print(f"load average while measuring  {os.getloadavg()[0]:.1f}")
    print(f"jobs                          {jobs}, all running after {started_s:.0f} s")
    print(f"measured over                 {seconds:.0f} s")
    print(f"supervisor, share of a core   {share:.1%}   (target {TARGET_CORE_SHARE:.0%})")
    print(f"supervisor, resident memory   {max(memory):.0f} MiB   (target {TARGET_MIB} MB)")
    print(f"oldest look at a run          {oldest:.1f} s")
    print(f"events written                {events}")
    for run in runs:
        run.down(discard=True)
    for run in runs:
        run.wait(timeout_s=300)


if __name__ == "__main__":
    main()
