"""How near estimates come: real jobs calibrated, estimated, run, and their bill compared with what was told before.

    python benchmarks/estimate/measure.py --out benchmarks/estimate/<date>.jsonl

Jobs of several kinds run in turn: shell scripts that count, our trainer in several sizes on synthetic data; on this
computer, where time is compared, and on the fake cloud, where money is, with machines that are taken away at moments
drawn from an exponential distribution. Each job is calibrated once (`launch calibrate`), then launched ``--rounds``
times. What was told is the estimate that `launch` stored when it asked, what it came to is its account: recorded seconds
times the prices of that estimate. Both are read from the record, as `launch report` shows them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = [sys.executable, "-m", "launcher.cli"]
NEAR = 0.10
COVERED = 0.90
CALIBRATION_MINUTES = 0.2
SEED = 20261128
TAKEN_AWAY_PER_HOUR = 240.0
"""Of the machines of the spot job; the offer says 0.02, so that the record has to teach it."""
NOTICE_S = 2.0
"""Enough for a script to save."""
TO_LEARN = 5
"""Interruptions in the record before its own rate counts."""

COUNT = """
n=0
if [ -n "${{LAUNCH_RESUME_FROM:-}}" ]; then n=$(cat "$LAUNCH_RESUME_FROM"); fi
save() {{ echo "$n" > "$LAUNCH_CHECKPOINT_DIR/.n"; mv "$LAUNCH_CHECKPOINT_DIR/.n" "$LAUNCH_CHECKPOINT_DIR/n_$n"; }}
trap 'save; exit 75' TERM
while [ "$n" -lt {steps} ]; do
  sleep {step_s} & wait $!
  n=$((n + 1))
  echo "{{\\"step\\": $n, \\"total\\": {steps}}}" >> "$LAUNCH_METRICS_FILE"
  if [ $((n % {save_every})) -eq 0 ]; then save; fi
done
head -c {output_bytes} /dev/zero > "$LAUNCH_OUTPUT_DIR/result.bin"
"""
TRAINER = """\
model: {{n_units: {units}, n_layers: {layers}, patch_size: 14, patch_stride: 4}}
num_training_batches: {steps}
batches_per_train_log: 10
batches_per_val_step: {validate_every}
dataset: {{batch_size: {batch}, days_per_batch: 2}}
checkpoints: {{every_s: 10, keep: 2}}
"""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One job of the benchmark."""

    name: str
    fields: Mapping[str, Any]
    files: Mapping[str, str]
    is_taken_away: bool = False


def counting(name: str, *, steps: int, step_s: float, where: Mapping[str, Any], **more: Any) -> Work:
    """A shell script: steps that take their time, a checkpoint now and then, a result of a few megabytes."""
    script = COUNT.format(
        steps=steps, step_s=step_s, save_every=max(1, int(2.0 / step_s)), output_bytes=5_000_000
    )
    fields = {
        "run": "bash count.sh",
        "work": {"steps": steps},
        "max_cost": 20.0,
        "resources": where,
        "file_outputs": {"outputs/": "results/"},
        "checkpoint": {"every": "2s", "mirror_every": "5s", "keep": 2},
    }
    return Work(name=name, fields=fields, files={"count.sh": script}, **more)


def training(name: str, data: Path, *, where: Mapping[str, Any], steps: int, **sizes: int) -> Work:
    """Our trainer on synthetic data, with validation and checkpoints as in any other training."""
    fields = {
        "run": 'trainer train --config config.yaml --run-dir "$LAUNCH_OUTPUT_DIR"',
        "file_mounts": {"data": str(data)},
        "work": {"steps": steps},
        "resources": where,
        "file_outputs": {"outputs/": "results/"},
        "checkpoint": {"every": "10s", "keep": 2},
    }
    return Work(name=name, fields=fields, files={"config.yaml": TRAINER.format(steps=steps, **sizes)})


def works(data: Path) -> tuple[Work, ...]:
    """All jobs: each takes some 15 to 30 seconds on two cores."""
    here = {"cloud": "local"}
    rented = {"cloud": "fake", "accelerators": "A100:8"}
    spot = {**rented, "use_spot": True, "max_hourly_cost": 20.0}
    small = {"units": 64, "layers": 1, "batch": 16, "validate_every": 40}
    middle = {"units": 128, "layers": 2, "batch": 16, "validate_every": 25}
    large = {"units": 256, "layers": 2, "batch": 32, "validate_every": 10}
    return (
        counting("script-here", steps=150, step_s=0.1, where=here),
        training("trainer-small", data, where=rented, steps=150, **small),
        counting("script-rented", steps=40, step_s=0.4, where=rented),
        training("trainer-middle", data, where=here, steps=60, **middle),
        training("trainer-large", data, where=rented, steps=20, **large),
        counting("script-spot", steps=75, step_s=0.2, where=spot, is_taken_away=True),
    )


class Desk:
    """The command line with a home of its own, as a person uses it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        bin_dir = Path(sys.executable).parent
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("LAUNCH_")},
            "LAUNCH_HOME": str(root / "home"),
            "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def place(self, work: Work) -> None:
        """Write the job's folder."""
        folder = self.root / work.name
        folder.mkdir()
        for name, text in work.files.items():
            (folder / name).write_text(text)
        (folder / "launch.yaml").write_text(json.dumps({"name": work.name, **work.fields}))  # JSON is YAML

    def __call__(self, work: Work, *args: str) -> dict[str, Any]:
        """Run one command and return its last document."""
        done = subprocess.run(
            [*LAUNCH, *args, "--json"],
            cwd=self.root / work.name,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{work.name}: {' '.join(args)}: exit {done.returncode}\n{done.stderr[-3000:]}")
        try:
            document: dict[str, Any] = json.loads(done.stdout)
        except ValueError:  # a stream: a document per line
            document = json.loads(done.stdout.splitlines()[-1])
        return document


def interruptions(dice: random.Random) -> str:
    """Moments at which machine after machine is taken away, with the notice that the estimate counts on, as the job file says them."""
    moments = [round(dice.expovariate(TAKEN_AWAY_PER_HOUR / 3600.0), 2) for _ in range(12)]
    told = [
        {"attempt": n, "after_s": after_s, "notice_s": NOTICE_S} for n, after_s in enumerate(moments, start=1)
    ]
    return json.dumps(told)


def calibrate(desk: Desk, work: Work) -> dict[str, Any]:
    """Measure the pace for some seconds of steps."""
    found = desk(work, "calibrate", "--minutes", str(CALIBRATION_MINUTES), "--yes")
    return {"kind": "calibration", "job": work.name, "steps_per_s": found["steps_per_s"]}


def run_once(desk: Desk, work: Work, number: int, dice: random.Random) -> dict[str, Any]:
    """Launch, wait, and put what was told beside what it came to."""
    more = (
        ("--set", f"provider_options.fake.interruptions={interruptions(dice)}") if work.is_taken_away else ()
    )
    start = time.monotonic()
    ended = desk(work, "--yes", *more)
    wall_s = time.monotonic() - start
    account = desk(work, "report", ended["run_id"])["account"]
    return {
        "kind": "run",
        "job": work.name,
        "n": number,
        "spot": account["spot"],
        "source": account["source"],
        "told_usd": account["expected_usd"],
        "usd": account["usd"],
        "told_hours": account["expected_hours"],
        "hours": account["hours"],
        "interruptions": account["interruptions"],
        "finished": account["finished"],
        "wall_s": round(wall_s, 2),
        "lines": [
            {
                "item": line["item"],
                "told_s": {key: round(3600 * value, 2) for key, value in line["expected_hours"].items()},
                "s": round(3600 * line["hours"], 2),
                "told_usd": line["expected_usd"]["likely"],
                "usd": line["usd"],
            }
            for line in account["lines"]
        ],
    }


def error_of(row: Mapping[str, Any]) -> float:
    """What it came to against the likely value: of money, or of time where nothing costs anything."""
    told, came = (
        (row["told_usd"], row["usd"]) if row["told_usd"]["high"] else (row["told_hours"], row["hours"])
    )
    return float(came / told["likely"] - 1.0)


def is_inside(row: Mapping[str, Any]) -> bool:
    """Whether it fell into the range that was told."""
    told, came = (
        (row["told_usd"], row["usd"]) if row["told_usd"]["high"] else (row["told_hours"], row["hours"])
    )
    return bool(told["low"] - 1e-9 <= came <= told["high"] + 1e-9)


def summary(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Say in lines how near the estimates came, for each kind of knowledge that they rested on."""
    runs = [row for row in rows if row["kind"] == "run" and row["finished"]]
    steady = [row for row in runs if not row["spot"]]
    seen = 0
    knows_rate, does_not = [], []
    for row in (row for row in runs if row["spot"]):
        (knows_rate if seen >= TO_LEARN else does_not).append(row)
        seen += row["interruptions"]
    groups = {
        "after calibration alone": [row for row in steady if row["n"] == 1],
        "after one run": [row for row in steady if row["n"] == 2],
        "after several": [row for row in steady if row["n"] > 2],
        "all of these": steady,
        "taken away, by the published rate": does_not,
        "taken away, by the rate of its own": knows_rate,
    }
    head = f"{'':36}{'runs':>5}{'error: median':>15}{'worst':>8}{'within 10 %':>13}{'in the range':>14}"
    yield head
    for name, group in groups.items():
        if not group:
            continue
        errors = [error_of(row) for row in group]
        worst = max(errors, key=abs)
        near = sum(abs(error) <= NEAR for error in errors)
        inside = sum(is_inside(row) for row in group)
        median = statistics.median(abs(error) for error in errors)
        yield (
            f"{name:36}{len(group):>5}{median:>15.1%}{worst:>+8.0%}{f'{near} of {len(group)}':>13}"
            f"{f'{inside} of {len(group)}':>14}"
        )
    if knows_rate:
        told = sum(row["told_usd"]["likely"] for row in knows_rate)
        came = sum(row["usd"] for row in knows_rate)
        yield f"taken away, together: ${told:.4f} expected, ${came:.4f} came: {came / told - 1.0:+.0%}"
    yield f"asked for: likely within {NEAR:.0%}, inside the range in {COVERED:.0%} of runs"


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "kind": "machine",
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        "commit": commit.stdout.strip(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="where the raw lines go; a summary is always printed")
    parser.add_argument("--rounds", type=int, default=4, help="launches of each job (4)")
    parser.add_argument(
        "--spot-rounds", type=int, default=8, help="launches of the job that is taken away (8)"
    )
    parser.add_argument("--only", nargs="*", default=[], help="names of jobs; all unless said")
    parser.add_argument("--summary", type=Path, help="print the summary of raw lines, and run nothing")
    args = parser.parse_args()
    if args.summary:
        print("\n".join(summary([json.loads(line) for line in args.summary.read_text().splitlines()])))
        return
    rows: list[dict[str, Any]] = []

    def keep(row: dict[str, Any]) -> None:
        rows.append(row)
        words = f"{row['job']:16}" if "job" in row else ""
        if row["kind"] == "run":
            words += (
                f"{row['n']:3} {row['source']:9}{error_of(row):+7.1%} {'in' if is_inside(row) else 'OUT'}"
            )
            words += f" {row['wall_s']:6.1f} s"
        print(words or json.dumps(row), file=sys.stderr, flush=True)
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")

    keep(machine())
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        wanted = ("--sessions", "2", "--train", "60", "--val", "8", "--test", "0")
        subprocess.run(
            [sys.executable, "-m", "trainer", "synthesize", "--out", str(data), *wanted], check=True
        )
        desk, dice = Desk(Path(folder)), random.Random(SEED)
        jobs = [work for work in works(data) if not args.only or work.name in args.only]
        for work in jobs:
            desk.place(work)
            keep(calibrate(desk, work))
        for number in range(1, max(args.rounds, args.spot_rounds) + 1):
            for work in jobs:
                if number <= (args.spot_rounds if work.is_taken_away else args.rounds):
                    keep(run_once(desk, work, number, dice))
    keep({**machine(), "kind": "machine"})
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
