"""A ridge regression on the features.

python baseline.py --features features.h5 --out outputs/baseline
"""

import argparse

import numpy as np
from night_data import nrmse, read, save, tell

RIDGE = 1e-2


def main():
    """Solve it once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", default="features.h5")
    parser.add_argument("--out", default="outputs/baseline")
    given = parser.parse_args()
    (x, y), (val_x, val_y) = read(given.features)
    wide = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    weights = np.linalg.solve(wide.T @ wide + RIDGE * np.eye(wide.shape[1]), wide.T @ y)
    score = nrmse(val_x @ weights[:-1] + weights[-1], val_y)
    save(given.out, score, weights=weights)
    tell(val_nrmse=score)
    print(f"baseline: NRMSE {score:.4f}")


if __name__ == "__main__":
    main()
