"""Which entries of a checkpoint folder are checkpoints, by what they are called and what they hold."""

from __future__ import annotations

import os
import re
from typing import Iterable, List, Set, Tuple

from .digests import DIGEST_SUFFIX

OF_LIBRARIES = ("runs", "logs", "lightning_logs", "tensorboard", "wandb")
"""Where libraries write curves, beside the checkpoints that they are told to keep."""
MARKS = ("trainer_state.json", "random_states_0.pkl")
"""What makes a folder a checkpoint of the Trainer of transformers, or of accelerate."""
SAVED_BY_HAND = (".pt", ".pth", ".ckpt", ".tar")
"""Files that these libraries never lay beside their checkpoints: a program's own."""


def is_checkpoint_name(name: str) -> bool:
    """Digests, hidden names, the usual names of files in the making and of folders of curves are none."""
    is_made = not name.endswith((DIGEST_SUFFIX, ".tmp", ".part", ".partial", "~"))
    return is_made and not name.startswith(".") and name not in OF_LIBRARIES


def sort_out(folder: str, names: Iterable[str]) -> Tuple[List[str], List[str]]:
    """Those of the ``names`` in ``folder`` that may be checkpoints, and those that are a library's results; both sorted.

    Where a library keeps ``checkpoint-<number>``, its results come to lie beside them: the model without what a
    resumed run needs, its configuration, tables. There a folder counts that is a checkpoint of the library or has
    ``best`` in its name, and a file that only the program itself can have saved.
    """
    found = sorted(name for name in names if is_checkpoint_name(name))
    marked = {name for name in found if _is_marked(os.path.join(folder, name))}
    if not any(_is_numbered(name) for name in marked):
        return found, []
    counted = [name for name in found if _counts(folder, name, marked)]
    return counted, [name for name in found if name not in counted]


def _counts(folder: str, name: str, marked: Set[str]) -> bool:
    if name in marked or _is_numbered(name) or name.endswith(SAVED_BY_HAND):
        return True
    return is_best(name) and os.path.isdir(os.path.join(folder, name))


def _is_marked(entry: str) -> bool:
    return any(os.path.exists(os.path.join(entry, mark)) for mark in MARKS)


def _is_numbered(name: str) -> bool:
    return re.match(r"checkpoint-\d+$", name) is not None


def is_best(name: str) -> bool:
    """Is this the best one rather than the newest? It may lack what a resumed run needs, so others come first."""
    return re.search(r"(^|[^a-z])best($|[^a-z])", name.lower()) is not None


def natural(name: str) -> List[Tuple[int, str]]:
    """Sorts step_9 before step_10."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]
