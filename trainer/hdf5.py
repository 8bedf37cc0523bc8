"""Reading and checking the official HDF5 layout: one file per session and split, one group per trial.

Every complaint is a `DataError` of one line that names file, trial and field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trainer.errors import DataError

__all__ = ["Expectation", "Trial", "iterate_trials", "read_features"]

TRIAL_NAME = re.compile(r"trial_\d{4,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What a file must hold for this configuration."""

    neural_dim: int
    """Channels of ``input_features``."""
    n_classes: int
    """Labels lie in [1, n_classes)."""
    max_seq_elements: int
    labelled: bool = True
    """False for the test split, which has no labels, transcription or sentence."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trial:
    """All of one trial but its features."""

    path: Path
    name: str
    """Group in the file, ``trial_0007``."""
    session: str
    block_num: int
    trial_num: int
    num_bins: int
    """Valid time bins; the file may hold more."""
    labels: np.ndarray[Any, np.dtype[np.int32]]
    """(seq_len,) class ids; empty in the test split."""
    transcription: np.ndarray[Any, np.dtype[np.int64]]
    """(width,) character codes padded with zeros, as in the file."""
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


def iterate_trials(
    path: Path, expected: Expectation
) -> Iterator[tuple[Trial, np.ndarray[Any, np.dtype[np.float32]]]]:
    """Yield every trial of a file in order with its features (num_bins, channels), both fully checked."""
    with _open(path) as file:
        names = sorted((n for n in file if TRIAL_NAME.fullmatch(n)), key=lambda n: (len(n), n))
        if not names:
            raise DataError(f"{path}: holds no trial_NNNN groups")
        for name in names:
            try:
                yield _read_trial(path, file[name], name, expected)
            except (OSError, RuntimeError, KeyError) as error:
                raise DataError(f"{path}: {name} cannot be read: {_one_line(error)}") from error


def read_features(trial: Trial) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Features (num_bins, channels) of a trial that `iterate_trials` accepted, straight from its file."""
    with _open(trial.path) as file:
        try:
            features = file[trial.name]["input_features"][: trial.num_bins]
        except (OSError, RuntimeError, KeyError) as error:
            raise DataError(f"{trial} cannot be read any more: {_one_line(error)}") from error
    return np.ascontiguousarray(features, dtype=np.float32)


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(
            f"{path}: truncated or not HDF5 ({_one_line(error)})", hint="copy or download the file again"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _read_trial(
    path: Path, group: h5py.Group, name: str, expected: Expectation
) -> tuple[Trial, np.ndarray[Any, np.dtype[np.float32]]]:
    where = f"{path}: {name}"
    if not isinstance(group, h5py.Group):
        raise DataError(f"{where} is no group of datasets")
    attributes = _attributes(group, where, expected.labelled)
    features = _features(group, where, attributes["n_time_steps"], expected.neural_dim)
    labels = _labels(group, where, attributes["seq_len"], expected) if expected.labelled else _NO_LABELS
    transcription = _numbers(group, "transcription", where, ndim=1)[:] if expected.labelled else _NO_TEXT
    trial = Trial(
        path=path, name=name, session=str(attributes["session"]), num_bins=len(features), labels=labels,
        block_num=attributes["block_num"], trial_num=attributes["trial_num"],
        transcription=np.asarray(transcription, dtype=np.int64), sentence=str(attributes["sentence_label"]),
    )  # fmt: skip
    return trial, features


_NO_LABELS = np.empty(0, dtype=np.int32)
_NO_TEXT = np.zeros(1, dtype=np.int64)


def _attributes(group: h5py.Group, where: str, labelled: bool) -> Mapping[str, Any]:
    numbers = ["n_time_steps", "block_num", "trial_num"] + (["seq_len"] if labelled else [])
    texts = ["session"] + (["sentence_label"] if labelled else [])
    for name in numbers + texts:
        if name not in group.attrs:
            raise DataError(f"{where} lacks the attribute {name}")
    found: dict[str, Any] = {"seq_len": 0, "sentence_label": ""}
    for name in numbers:
        raw = group.attrs[name]
        try:
            found[name] = int(raw)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{where}: attribute {name} is not a number: {raw!r}") from error
        if isinstance(raw, (float, np.floating)) and found[name] != raw:
            raise DataError(f"{where}: attribute {name} is {raw}, expected a whole number")
    for name in texts:
        raw = group.attrs[name]
        found[name] = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    return found


def _numbers(group: h5py.Group, name: str, where: str, *, ndim: int) -> h5py.Dataset:
    """A dataset of real numbers."""
    stored = group.get(name)
    if not isinstance(stored, h5py.Dataset):
        raise DataError(f"{where} lacks the dataset {name}")
    if stored.dtype.kind not in "iuf":
        raise DataError(f"{where}: {name} holds values of type {stored.dtype}, expected numbers")
    if stored.ndim != ndim:
        raise DataError(f"{where}: {name} has shape {tuple(stored.shape or ())}, expected {ndim} dimensions")
    return stored


def _features(
    group: h5py.Group, where: str, num_bins: int, neural_dim: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    stored = _numbers(group, "input_features", where, ndim=2)
    if stored.shape[1] != neural_dim:
        shape = "×".join(map(str, stored.shape))
        raise DataError(f"{where}: input_features is {shape}, expected {neural_dim} channels wide")
    if num_bins <= 0 or stored.shape[0] == 0:
        raise DataError(f"{where}: has no time bins (n_time_steps {num_bins}, {stored.shape[0]} rows)")
    if num_bins > stored.shape[0]:
        raise DataError(f"{where}: n_time_steps is {num_bins} but input_features has {stored.shape[0]} rows")
    features = np.ascontiguousarray(stored[:num_bins], dtype=np.float32)
    # One sum instead of a mask over everything: NaN and infinity survive addition.
    if not np.isfinite(features.sum(dtype=np.float64)) and not np.isfinite(features).all():
        row, channel = np.argwhere(~np.isfinite(features))[0]
        raise DataError(
            f"{where}: input_features holds {features[row, channel]} at bin {row}, channel {channel}"
        )
    return features


def _labels(
    group: h5py.Group, where: str, seq_len: int, expected: Expectation
) -> np.ndarray[Any, np.dtype[np.int32]]:
    stored = _numbers(group, "seq_class_ids", where, ndim=1)
    if not 0 < seq_len <= stored.shape[0]:
        raise DataError(f"{where}: seq_len is {seq_len} but seq_class_ids has shape {tuple(stored.shape)}")
    if seq_len > expected.max_seq_elements:
        raise DataError(
            f"{where}: seq_len is {seq_len}, more than dataset.max_seq_elements ({expected.max_seq_elements})"
        )
    found = stored[:seq_len]
    wrong = np.flatnonzero(~((found >= 1) & (found < expected.n_classes) & (found == np.floor(found))))
    if wrong.size:
        raise DataError(
            f"{where}: seq_class_ids[{wrong[0]}] is {found[wrong[0]]}, expected 1 to {expected.n_classes - 1}"
        )
    return np.asarray(found, dtype=np.int32)
