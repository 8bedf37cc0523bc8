"""Reading checkpoints in the official form, ours or the baseline's own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.checkpoint import why_unreadable
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
        with _allowing(_numpy_scalars()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointCorrupt(f"{path} cannot be read: {why_unreadable(path, error)}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model_state_dict"), Mapping):
        is_state = isinstance(checkpoint, dict) and {"model", "progress"} <= checkpoint.keys()
        raise CheckpointMismatch(
            f"{path} is not a checkpoint in the official form: it has no model_state_dict",
            hint=f"it is a resume state: trainer convert {path} FOLDER makes one" if is_state else None,
        )
    weights = checkpoint["model_state_dict"]
    if not all(isinstance(n, str) and isinstance(v, Tensor) for n, v in weights.items()):
        raise CheckpointMismatch(f"{path}: its model_state_dict holds more than named tensors")
    checkpoint["model_state_dict"] = without_wrappers(weights)
    for name in ("val_PER", "val_loss"):
        if name in checkpoint:
            try:
                checkpoint[name] = float(checkpoint[name])
            except (TypeError, ValueError, RuntimeError) as error:
                raise CheckpointMismatch(f"{path}: {name} is not a number: {checkpoint[name]!r}") from error
    return checkpoint


def load_official_weights(path: Path) -> dict[str, Tensor]:
    """Only the parameters, by plain name."""
    weights: dict[str, Tensor] = load_official(path)["model_state_dict"]
    return weights


def without_wrappers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters without the prefixes that DataParallel (``module.``) and torch.compile (``_orig_mod.``) add."""
    return {WRAPPERS.sub("", name): value for name, value in weights.items()}


@contextlib.contextmanager
def _allowing(types: list[Any]) -> Iterator[None]:
    """Let ``weights_only=True`` accept `types` meanwhile; torch 2.4 lacks `safe_globals` for this."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(types)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _numpy_scalars() -> list[Any]:
    """What a pickled NumPy scalar refers to, under the names of NumPy 1 and 2."""
    dtypes = [type(np.dtype("float64")), type(np.dtype("float32"))]
    scalars = [_scalar_maker(module) for module in ("numpy.core.multiarray", "numpy._core.multiarray")]
    return [*scalars, _bytes_maker(), np.dtype, *dtypes, np.float64, np.float32]


def _scalar_maker(module: str) -> Callable[..., Any]:
    """NumPy's own function under the name that it had when the file was written.

    Before 2.6 torch takes that name from the function alone, so each name needs a function of its own.
    """
    make = np.float64(0).__reduce__()[0]

    def scalar(dtype: np.dtype[Any], data: bytes) -> Any:
        return make(dtype, data)

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


def _bytes_maker() -> Callable[..., Any]:
    """How pickle writes the bytes of a scalar; torch allows it by itself only since 2.5."""

    def encode(text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise ValueError(f"bytes in a checkpoint are latin1, found {encoding!r}")
        return text.encode("latin1")

    encode.__module__, encode.__qualname__ = "_codecs", "encode"
    return encode
