"""How long `launch ls` takes when the record holds ten thousand runs.

    python benchmarks/ls/measure.py > benchmarks/ls/<date>.txt

The runs are written through the store, as launches write them: one attempt and one ended machine each. All have
ended: a live one would have a supervisor started for it. Every command is a fresh process; the first round warms the
disk cache and is not counted.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from launcher.home import Home  # noqa: E402  (a checkout that was not installed)
from launcher.records import to_json  # noqa: E402
from launcher.store import AttemptRow, InstanceRow, RunRow, Store  # noqa: E402
from provisioning import Offer  # noqa: E402

RUNS = 10_000
ROUNDS = 15
COMMANDS = {"launch ls": ["ls"], "launch ls --json": ["ls", "--json"], "launch ls --all": ["ls", "--all"]}
TARGETS_S = {"launch ls": 0.30}
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def fill(home: Home) -> None:
    """Write the runs."""
    store = Store(home.database)
    offer = to_json(
        Offer(
            provider="fake",
            instance_type="t4.small",
            location="north-a",
            region="north",
            zone="north-a",
            gpu_name="T4",
            gpu_count=1,
            vcpus=4,
            memory_gib=16,
            usd_per_hour=0.35,
            price_source="benchmark",
            priced_at=BEGIN,
        )
    )
    estimate = {name: {"low": 1.0, "likely": 2.0, "high": 3.0} for name in ("hours", "usd")}
    with store.together():
        for n in range(RUNS):
            run_id, at = f"run{n:05d}-abcd", BEGIN + timedelta(minutes=n)
            ended = at + timedelta(hours=2)
            store.add_run(
                RunRow(
                    run_id=run_id,
                    name=f"run{n:05d}",
                    state="succeeded",
                    reason="the job finished",
                    created_at=at,
                    updated_at=at,
                    ended_at=ended,
                    job={"fields": {"run": "python train.py"}, "base_dir": "/home/somebody/project"},
                    plan={"candidates": [offer], "estimate": estimate, "disk_gib": 60.0},
                    results_dir=f"/home/somebody/project/results/{run_id}",
                    step=1000,
                    total=1000,
                    metrics={"loss": 0.25, "val_per": 12.5},
                )
            )
            store.put(
                AttemptRow(
                    run_id=run_id, stage="main", n=1, candidate=0, offer=offer, started_at=at, ended_at=ended
                )
            )
            store.put(
                InstanceRow(
                    ref=f"fake/north-a/m-{n}",
                    run_id=run_id,
                    stage="main",
                    attempt=1,
                    token=f"{run_id}-1-1",
                    offer=offer,
                    state="terminated",
                    created_at=at,
                    seen_at=ended,
                    ended_at=ended,
                )
            )


def measure(args: list[str], environ: dict[str, str]) -> float:
    """Run one command once; return seconds on the clock."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "launcher.cli", *args], env=environ, stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - start


def main() -> None:
    """Fill a record, measure, print."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(f"date     {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {commit.stdout.strip()}")
    print(f"machine  {os.cpu_count()} CPUs, {platform.system()}, Python {platform.python_version()}")
    print(f"load     {os.getloadavg()[0]:.1f} before")
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "LAUNCH_HOME": folder, "PYTHONPATH": str(ROOT)}
        home = Home.open(environ)
        fill(home)
        print(f"record   {RUNS} runs, {home.database.stat().st_size / 1e6:.0f} MB")
        for n in range(ROUNDS + 1):
            for name, args in COMMANDS.items():
                seconds = measure(args, environ)
                if n:
                    taken[name].append(seconds)
    print(f"load     {os.getloadavg()[0]:.1f} after\n")
    print(f"{'command':20}{'best':>8}{'median':>8}{'target':>8}   seconds, {ROUNDS} rounds")
    for name, walls in taken.items():
        target = f"{TARGETS_S[name]:.2f}" if name in TARGETS_S else ""
        print(f"{name:20}{min(walls):8.3f}{statistics.median(walls):8.3f}{target:>8}")
    print("\nraw, seconds on the clock")
    for name, walls in taken.items():
        print(f"{name:20}" + " ".join(f"{wall:.3f}" for wall in walls))


if __name__ == "__main__":
    main()
