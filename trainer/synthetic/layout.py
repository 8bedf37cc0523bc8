"""The Brain-to-Text HDF5 layout, written, and the mark that says where a file came from.

``data_{train,val,test}.hdf5`` per session holds groups ``trial_0000`` ... with ``input_features`` (T, 512) float32
and the attributes ``n_time_steps``, ``block_num``, ``trial_num``, ``session``. Where labels are public there are also
``seq_class_ids`` and ``transcription``, int32 padded with zeros to 500, and ``seq_len`` and ``sentence_label``; the
test split has none of these. The mark is a set of attributes on the file itself, where readers of trials never look.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from trainer.synthetic.errors import CannotWrite

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trainer.synthetic.trial import Trial

__all__ = ["DATA_FOLDER", "GENERATOR", "data_file", "is_synthetic", "write_trials"]

DATA_FOLDER = "hdf5_data_final"
PADDED_LABELS = 500

GENERATOR = 1
"""Version of the generator: a higher number may give other arrays for the same specification."""

_MARK = "synthetic"


def data_file(root: Path, session: str, split: str) -> Path:
    """Where a split of a session lies under the data set's root."""
    return root / DATA_FOLDER / session / f"data_{split}.hdf5"


def is_synthetic(path: Path) -> bool:
    """Whether an HDF5 file carries the mark of this generator. Raises OSError when it is no HDF5 file."""
    with h5py.File(path, "r") as file:
        return bool(file.attrs.get(_MARK, 0))


def _padded(values: np.ndarray) -> np.ndarray:
    row = np.zeros(PADDED_LABELS, np.int32)
    row[: len(values)] = values
    return row


def _write_trial(file: h5py.File, trial: Trial) -> None:
    group = file.create_group(f"trial_{trial.index:04d}")
    group.create_dataset("input_features", data=trial.features)
    group.attrs["block_num"] = np.int64(trial.block_num)
    group.attrs["n_time_steps"] = np.int64(len(trial.features))
    group.attrs["session"] = trial.session
    group.attrs["trial_num"] = np.int64(trial.trial_num)
    if trial.split == "test":
        return
    labels = trial.utterance.labels
    text = np.frombuffer(trial.sentence.encode("ascii"), np.uint8)
    group.create_dataset("seq_class_ids", data=_padded(labels))
    group.create_dataset("transcription", data=_padded(text))
    group.attrs["sentence_label"] = trial.sentence
    group.attrs["seq_len"] = np.int64(len(labels))


def write_trials(path: Path, trials: Iterable[Trial], seed: int) -> int:
    """Write one file, trial by trial as they come; returns its size in bytes. Raises `CannotWrite`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with h5py.File(path, "x") as file:
            file.attrs[_MARK] = np.int64(1)
            file.attrs["synthetic_generator"] = np.int64(GENERATOR)
            file.attrs["synthetic_seed"] = np.int64(seed)
            for trial in trials:
                _write_trial(file, trial)
    except (
        OSError,
        RuntimeError,
    ) as error:  # a full disk shows as the one while writing, the other while closing
        raise CannotWrite(
            f"cannot write {path.parent.name}/{path.name}: {_last_words(error)}",
            hint="look for room on the disk, and for limits on the size of files",
        ) from error
    return path.stat().st_size


def _last_words(error: Exception) -> str:
    """What the system said, out of what the HDF5 library wrapped around it."""
    said = re.search(r"error message = '([^']*)'", str(error))
    return said[1] if said else " ".join(str(error).split())
