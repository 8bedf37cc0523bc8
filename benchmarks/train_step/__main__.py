"""``python -m benchmarks.train_step --official CHECKOUT --device cuda --sizes small,full``

Alternates the two trainers, each time in a fresh process, and prints a table; ``--output FILE`` keeps
the raw times of every round as JSON.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.train_step.workload import SIZES, Size, official_arguments, write_data
from trainer.state import environment

WARM_UP = 8
"""Steps before the clock starts on a GPU (compilation, autotuning, first reads); two on a CPU."""


def main() -> int:
    args = _arguments()
    names = args.sizes.split(",")
    with tempfile.TemporaryDirectory(prefix="train_step-") as folder:
        results = [_compare(name, SIZES[name], args, Path(folder)) for name in names]
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "command": _command(args),
        "host": {"cores": os.cpu_count(), "python": platform.python_version(), **environment(torch.device(args.device), "")},
        "results": results,
    }  # fmt: skip
    if args.output:
        args.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))
    print(f"\n{'size':<8} {'official steps/s':>17} {'ours steps/s':>14} {'ratio':>7}   precision (ours)")
    for row in results:
        print(
            f"{row['size']:<8} {row['official_steps_per_s']:>17.3f} {row['ours_steps_per_s']:>14.3f} "
            f"{row['ratio']:>7.2f}   {row['precision']}"
        )
    return 0


def _command(args: argparse.Namespace) -> list[str]:
    """What was called, without the place of the checkout."""
    return [
        "python", "-m", "benchmarks.train_step",
        *("CHECKOUT" if argument == str(args.official) else argument for argument in sys.argv[1:]),
    ]  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step")
    parser.add_argument(
        "--official",
        type=Path,
        required=True,
        metavar="CHECKOUT",
        help="a checkout of the official repository",
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda")
    )
    parser.add_argument("--sizes", default="tiny,small,full", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often the two alternate")
    parser.add_argument("--steps", type=int, help="measured steps per round")
    parser.add_argument("--precision", default="auto", help="of ours: auto, fp32, bf16, fp16")
    parser.add_argument(
        "--no-compile",
        action="store_true",
        help="official without torch.compile, where no compiler is installed",
    )
    parser.add_argument(
        "--workers", type=int, default=4, help="num_dataloader_workers, as the official default"
    )
    parser.add_argument("--output", type=Path, metavar="FILE")
    return parser.parse_args()


def _compare(name: str, size: Size, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Alternate both trainers on one size; the medians over the rounds."""
    print(f"{name}: writing data", file=sys.stderr)
    data = write_data(folder / name, size)
    on_gpu = args.device == "cuda"
    warm_up = WARM_UP if on_gpu else 2
    steps = args.steps or (size.steps if on_gpu else max(3, size.steps // 10))
    rounds = []
    for number in range(args.rounds):
        order = ("official", "ours") if number % 2 == 0 else ("ours", "official")
        measured: dict[str, Any] = {who: _run(who, size, data, folder, args, steps, warm_up) for who in order}
        measured["load"] = os.getloadavg()[0]
        rounds.append(measured)
        print(f"{name} round {number + 1}: {json.dumps(measured)}", file=sys.stderr)
    speed = {who: statistics.median(r[who]["steps_per_s"] for r in rounds) for who in ("official", "ours")}
    return {
        "size": name, "official_steps_per_s": speed["official"], "ours_steps_per_s": speed["ours"],
        "ratio": speed["ours"] / speed["official"], "precision": rounds[0]["ours"]["precision"],
        "steps": steps, "rounds": rounds,
    }  # fmt: skip


def _run(
    who: str, size: Size, data: Path, folder: Path, args: argparse.Namespace, steps: int, warm_up: int
) -> dict[str, Any]:
    """One process of one trainer: steps per second after the warm-up."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        tree = official_arguments(
            size, data, Path(scratch) / "out", steps=steps + warm_up, use_amp=args.device == "cuda" or who == "ours",
            workers=args.workers,
        )  # fmt: skip
        arguments, times = Path(scratch) / "arguments.json", Path(scratch) / "times.json"
        command = [sys.executable, "-m", f"benchmarks.train_step.{who}"]
        if who == "ours":
            tree["warm_up"] = warm_up
            command += [str(arguments), str(times), args.device, args.precision]
        else:
            command += [str(args.official.resolve()), str(arguments), str(times)]
            command += ["--no-compile"] if args.no_compile else []
        arguments.write_text(json.dumps(tree))
        environ = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        if args.device == "cpu":
            environ["CUDA_VISIBLE_DEVICES"] = ""
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{who} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(times.read_text())
    if who == "official":
        marks = result.pop("times")
        result |= {"seconds": marks[-1] - marks[warm_up - 1], "steps": len(marks) - warm_up}
    result["steps_per_s"] = result["steps"] / result["seconds"]
    return result


if __name__ == "__main__":
    raise SystemExit(main())
