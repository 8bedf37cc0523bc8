"""Writes the table of paces that ships with the launcher, from the raw outputs in this folder:

    python -m benchmarks.train_step.paces > launcher/data/paces.csv

Our own trainer's pace of every size and host, by the newest output of each; and what others have published, by hand.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

__all__ = ["main", "measured", "write"]

HEADER = (
    "# Steps per second that were measured, by workload and hardware; the basis of `work: {steps: …, like: …}`.",
    "# Written anew from the raw outputs in benchmarks/train_step by: python -m benchmarks.train_step.paces",
)
COLUMNS = ("workload", "gpu", "vcpus", "steps_per_s", "precision", "measured_on", "source")
PUBLISHED = (
    # 120 000 steps in about 3.5 h, with the official trainer: its README.
    ("b2t25-full", "RTX 4090", "", f"{120_000 / 3.5 / 3600:.4g}", "bf16", "2025", "published by its authors"),
)


def measured(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield a row for every size of every raw output, newest outputs last; those of ``trainer bench --json`` too."""
    for path in sorted(folder.glob("*.json")):
        raw = json.loads(path.read_text(encoding="utf-8"))
        host = raw["host"]
        is_gpu = host["device"] != "cpu"
        for result in raw["results"]:
            yield (
                f"b2t25-{result['size']}",
                str(host["device"]) if is_gpu else "",
                "" if is_gpu else str(host["cores"]),
                f"{result.get('ours_steps_per_s', result.get('steps_per_s')):.4g}",
                result["precision"],
                raw["date"][:10],
                f"benchmarks/train_step/{path.name}",
            )


def write(folder: Path, out: TextIO) -> None:
    """Write the table; of several outputs of one workload, hardware and precision the newest counts."""
    newest: dict[tuple[str, ...], tuple[str, ...]] = {}
    for row in (*PUBLISHED, *measured(folder)):
        newest[(row[0], row[1], row[2], row[4])] = row
    out.writelines(f"{line}\n" for line in HEADER)
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(newest[key] for key in sorted(newest))


def main() -> int:
    """Write the table of this folder to standard output."""
    write(Path(__file__).parent, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
