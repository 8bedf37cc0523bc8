"""How long the command takes to answer: `launch --help`, `--version`, and `estimate`, `offers` and `ls` without a network.

    python benchmarks/startup/measure.py > benchmarks/startup/<date>.txt

Every command is a fresh process, in turn with the others, so that a busy moment of the machine hits all alike. The
first round warms the disk cache and writes the compiled modules, as an installation does, and is not counted.
`python -c pass` is the floor that no command can go below. On a busy machine the seconds of CPU are what can be compared.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20
JOB = "run: python train.py\nwork: {steps: 120000}\nresources: {cloud: fake, accelerators: T4}\n"
TARGETS_S = {
    "launch --help": 0.15,
    "launch estimate": 0.40,
    "launch estimate --offline": 0.40,
    "launch ls": 0.30,
}

LAUNCH = [sys.executable, "-m", "launcher.cli"]
COMMANDS: dict[str, Sequence[str]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "launch --version": [*LAUNCH, "--version"],
    "launch --help": [*LAUNCH, "--help"],
    "launch ls": [*LAUNCH, "ls"],
    "launch estimate": [*LAUNCH, "estimate"],
    "launch estimate --offline": [*LAUNCH, "estimate", "--offline", "--set", "resources=null"],
}


def measure(argv: Sequence[str], folder: Path) -> tuple[float, float]:
    """Run once; return seconds on the clock and seconds of CPU."""
    environ = {**os.environ, "LAUNCH_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(argv, cwd=folder, env=environ, stdout=subprocess.DEVNULL, check=True)
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_model() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def main() -> None:
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(f"date     {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip()}")
    print(
        f"machine  {cpu_model()}, {os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}"
    )
    print(f"load     {os.getloadavg()[0]:.1f} before")
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "launch.yaml").write_text(JOB)
        for n in range(ROUNDS + 1):
            for name, argv in COMMANDS.items():
                once = measure(argv, Path(folder))
                if n:
                    taken[name].append(once)
    print(f"load     {os.getloadavg()[0]:.1f} after\n")
    print(
        f"{'command':26}{'best':>8}{'median':>8}{'CPU':>8}{'target':>8}   seconds, {ROUNDS} rounds; CPU is the median"
    )
    for name, rounds in taken.items():
        walls, cpus = zip(*rounds, strict=True)
        target = f"{TARGETS_S[name]:.2f}" if name in TARGETS_S else ""
        print(
            f"{name:26}{min(walls):8.3f}{statistics.median(walls):8.3f}{statistics.median(cpus):8.3f}{target:>8}"
        )
    print("\nraw, seconds on the clock")
    for name, rounds in taken.items():
        print(f"{name:26}" + " ".join(f"{wall:.3f}" for wall, _ in rounds))


if __name__ == "__main__":
    main()
