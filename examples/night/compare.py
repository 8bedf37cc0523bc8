"""Compares whatever models are finished, and lays the best one out to be promoted.

python compare.py --models outputs --out outputs/comparison.csv --best models/forecast.npz
"""

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path

from night_data import tell


def main():
    """One row a model, the best first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=Path("outputs"))
    parser.add_argument("--out", type=Path, default=Path("outputs/comparison.csv"))
    parser.add_argument("--best", type=Path, default=Path("models/forecast.npz"))
    given = parser.parse_args()
    rows = sorted(
        (json.loads(score.read_text())["val_nrmse"], score.parent.name)
        for score in given.models.glob("*/score.json")
    )
    if not rows:
        sys.exit("no model is finished: there is nothing to compare")
    with given.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "val_nrmse"])
        writer.writerows([name, f"{value:.6f}"] for value, name in rows)
    given.best.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(given.models / rows[0][1] / "model.npz", given.best)
    tell(val_nrmse=rows[0][0], models=len(rows))
    for value, name in rows:
        print(f"{name:10} NRMSE {value:.4f}")


if __name__ == "__main__":
    main()
