"""What the stages share: reading the features, the metric, and telling it."""

import json
import os
from pathlib import Path

import h5py
import numpy as np


def read(path):
    """((x, y) to learn from, (x, y) to judge by), float32."""
    with h5py.File(path) as file:
        x, y, cut = file["x"][:], file["y"][:], int(file.attrs["validation_from"])
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def nrmse(said, true):
    """Root mean square error over the standard deviation of what was to be said: 1 is no better than the mean."""
    import torch
    from torchmetrics.functional.regression import (
        normalized_root_mean_squared_error,  # here: the comparison judges nothing anew, and needs neither
    )

    said, true = (torch.as_tensor(np.asarray(values, dtype=np.float64)) for values in (said, true))
    return normalized_root_mean_squared_error(said, true, normalization="std").item()


def tell(**numbers):
    """Append to the metrics of the run; print where there is none."""
    line = json.dumps(numbers)
    path = os.environ.get("LAUNCH_METRICS_FILE")
    if path is None:
        print(line)
        return
    with Path(path).open("a") as file:
        file.write(line + "\n")


def save(folder, val_nrmse, **arrays):
    """``model.npz`` and ``score.json``, the score last: a model without one is not finished."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "model.npz", **arrays)
    (folder / "score.json").write_text(json.dumps({"val_nrmse": val_nrmse}) + "\n")
