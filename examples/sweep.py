"""A sweep from Python: several runs side by side, at most so many at once, within one budget for all.

    python examples/sweep.py --provider local --at-once 2
    python examples/sweep.py --provider aws --gpu T4 --spot --budget 10

Each run has its own record, results folder and limit; Ctrl-C leaves those that run going, and the same command again
goes on with what is missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from launcher import Job, LaunchError, Run, attach, launch, prepare

PROGRAM = f"""
{sys.executable} - <<'END'
import json, os, time
rate, loss = float(os.environ["RATE"]), 1.0
for step in range(1, 21):
    loss *= 1.0 - rate * (1.0 - rate)
    time.sleep(0.1)
    with open(os.environ["LAUNCH_METRICS_FILE"], "a") as metrics:
        metrics.write(json.dumps({{"step": step, "total": 20, "loss": loss}}) + "\\n")
END
"""
RATES = {"low": "0.05", "middle": "0.2", "high": "0.9"}


def main() -> int:
    """Run the sweep and print a table, the best first."""
    told = _arguments()
    place = {"provider": told.provider, "gpu": told.gpu, "spot": told.spot or None}
    waiting = {f"sweep-{name}": rate for name, rate in RATES.items()}
    running: list[Run] = []
    ended: list[Run] = []
    spent = 0.0
    while waiting or running:
        while waiting and len(running) < told.at_once:
            name, rate = waiting.popitem()
            left = (
                told.budget - spent - sum(float(run.status().limits["max_cost_usd"] or 0) for run in running)
            )
            run = _start(name, rate, left, place)
            if run is None:
                return 5
            print(f"{run.id} goes on, its loss rate is {rate}")
            running.append(run)
        for run in [run for run in running if not run.status().is_live]:
            running.remove(run)
            ended.append(run)
            spent += run.status().cost_usd
        time.sleep(0.2)
    for run in sorted(ended, key=lambda run: run.status().metrics.get("loss", float("inf"))):
        status = run.status()
        print(
            f"{run.name:<14} {status.state:<10} loss {status.metrics.get('loss', float('nan')):.4f}  ${status.cost_usd:.2f}"
        )
    return 0 if all(run.status().state == "succeeded" for run in ended) else 1


def _start(name: str, rate: str, left: float, place: dict[str, object]) -> Run | None:
    """Start one, or go on following it when it is there already; None when the budget does not allow it."""
    try:
        known = attach(name)
        if known.status().is_live or known.status().state == "succeeded":
            return known
    except LaunchError:
        pass
    job = Job(name=name, workdir=str(Path(__file__).with_name("shell-job")), run=PROGRAM, envs={"RATE": rate})
    prepared = prepare(job, **place)
    limit = prepared.plan.limits.max_cost_usd or 0.0
    if limit > left:
        print(f"{name} may cost ${limit:.2f}, and ${left:.2f} of the budget are left", file=sys.stderr)
        return None
    return launch(prepared)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--provider", default="local")
    parser.add_argument("--gpu")
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--budget", type=float, default=10.0, help="US dollars, for all runs together")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
