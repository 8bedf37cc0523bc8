"""From the model's logits to what the search adds up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.lm.errors import BadLogits
from trainer.lm.symbols import BLANK_COLUMN, GRAPH_ORDER, NUM_COLUMNS

__all__ = ["average_in_probability", "graph_log_probs", "log_softmax", "to_graph_order"]

Logits = np.ndarray[Any, np.dtype[np.float32]]
Scores = np.ndarray[Any, np.dtype[np.float64]]


def log_softmax(logits: np.ndarray[Any, Any]) -> Scores:
    """Log-probabilities over the last axis, in float64."""
    values = np.asarray(logits, dtype=np.float64)
    values = values - values.max(axis=-1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=-1, keepdims=True)))


def to_graph_order(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(T, 41) from the model's order of classes to the graph's: blank, silence, phonemes."""
    return logits[..., list(GRAPH_ORDER)]


def graph_log_probs(logits: Logits, blank_penalty: float, *, in_graph_order: bool = False) -> Scores:
    """(T, 41) log-probabilities in graph order, the blank's lowered by ln `blank_penalty`; not normalised again.

    Raises `BadLogits` for another shape, NaN or infinity.
    """
    if logits.ndim != 2 or logits.shape[1] != NUM_COLUMNS:
        shape = "×".join(map(str, logits.shape))
        raise BadLogits(f"logits are {shape}, expected T×{NUM_COLUMNS} (blank, 39 phonemes, silence)")
    if not np.isfinite(logits).all():
        frame, column = np.argwhere(~np.isfinite(logits))[0]
        raise BadLogits(f"logits hold {logits[frame, column]} at frame {frame}, class {column}")
    if len(logits) == 0:
        return np.empty((0, NUM_COLUMNS))
    scores = log_softmax(logits if in_graph_order else to_graph_order(logits))
    scores[:, BLANK_COLUMN] -= math.log(blank_penalty)
    return scores


def average_in_probability(members: Sequence[Logits]) -> Logits:
    """Log of the mean of the members' probabilities, each (T, K): an ensemble's logits.

    Raises `BadLogits` when the members do not have the same shape.
    """
    shapes = {member.shape for member in members}
    if len(shapes) != 1:
        listed = " and ".join("×".join(map(str, s)) for s in sorted(shapes))
        raise BadLogits(f"the members of the ensemble give logits of {listed} for one trial")
    stacked = np.stack([log_softmax(member) for member in members])
    top = stacked.max(axis=0)
    # A class that every member gives probability 0 keeps a finite logarithm.
    mean = np.log(np.maximum(np.exp(stacked - top).mean(axis=0), np.finfo(np.float64).tiny)) + top
    return np.asarray(mean, dtype=np.float32)
