"""Features of a synthetic series into HDF5: what a forecast may look at, what it has to say, and where validation begins.

python features.py --out features.h5 [--length 3000]

The series is Mackey and Glass's: it oscillates without repeating itself, and a linear forecast finds only some of it.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np

LAGS = 24
AHEAD = 12
DELAY = 17


def series(length):
    """(length,) float32; the same for the same length."""
    values = [1.2] * (DELAY + 1)
    while len(values) < length + DELAY + 1:
        late = values[-DELAY - 1]
        values.append(values[-1] + 0.2 * late / (1 + late**10) - 0.1 * values[-1])
    return np.array(values[DELAY + 1 :], dtype=np.float32)


def main():
    """Write the file beside and rename it: whoever finds it finds all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="features.h5")
    parser.add_argument("--length", type=int, default=3000)
    given = parser.parse_args()
    values = series(given.length)
    windows = np.lib.stride_tricks.sliding_window_view(values[:-AHEAD], LAGS)
    means = np.stack([windows[:, -size:].mean(axis=1) for size in (6, 12)], axis=1)
    target = values[LAGS + AHEAD - 1 :]
    beside = Path(f"{given.out}.incoming")
    with h5py.File(beside, "w") as file:
        file["x"] = np.concatenate([windows, means], axis=1)
        file["y"] = target
        file.attrs["validation_from"] = int(0.8 * len(target))
    beside.replace(given.out)
    print(f"{len(target)} rows of {LAGS + 2} features")


if __name__ == "__main__":
    main()
