"""Reading checkpoints in the official form, ours or the baseline's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.errors import CheckpointCorrupt, CheckpointMismatch, NoCheckpoint

__all__ = ["load_official", "load_official_weights", "without_wrappers"]

WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")


def load_official(path: Path) -> dict[str, Any]:
    """The checkpoint as a dict with plain parameter names.

    Loaded with ``weights_only=True``; the only thing allowed besides torch's own list is a NumPy scalar,
    which is what the baseline stores as ``val_loss``. Raises `NoCheckpoint`, `CheckpointCorrupt`, or
    `CheckpointMismatch` when the file holds something else.
    """
    if not path.is_file():
        raise NoCheckpoint(f"there is no checkpoint {path}")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise CheckpointCorrupt(f"{path} cannot be read: {reason[0][:160] if reason else error!r}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model_state_dict"), Mapping):
        raise CheckpointMismatch(
            f"{path} is not a checkpoint in the official form: it has no model_state_dict"
        )
    checkpoint["model_state_dict"] = without_wrappers(checkpoint["model_state_dict"])
    for name in ("val_PER", "val_loss"):
        if name in checkpoint:
            checkpoint[name] = float(checkpoint[name])
    return checkpoint


def load_official_weights(path: Path) -> dict[str, Tensor]:
    """Only the parameters, by plain name."""
    weights: dict[str, Tensor] = load_official(path)["model_state_dict"]
    return weights


def without_wrappers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters without the prefixes that DataParallel (``module.``) and torch.compile (``_orig_mod.``) add."""
    return {WRAPPERS.sub("", name): value for name, value in weights.items()}


def _numpy_scalars() -> list[Any]:
    """What a pickled NumPy scalar refers to, under the names of NumPy 1 and 2."""
    scalar = np.float64(0).__reduce__()[0]
    allowed: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar")]
    return [*allowed, np.dtype, type(np.dtype("float64")), type(np.dtype("float32")), np.float64, np.float32]
