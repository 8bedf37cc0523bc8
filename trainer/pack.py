"""The packed cache: every HDF5 file becomes one flat, memory-mapped file of float32 features.

Reading a trial from HDF5 costs milliseconds and a lock; from the packed file it is a memory copy. A
packed file is named after its source's path, size and modification time, so a changed source is packed
again. It is written beside, fsynced and renamed; each trial carries a CRC that is checked the first time
the trial is used. When the disk has no room the trials are read from HDF5, and the reason is said.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trainer.hdf5 import Expectation, Trial, iterate_trials, read_features

__all__ = ["HdfSource", "PackedSource", "TrialSource", "default_cache_dir", "open_source"]

FORMAT = 1
RESERVE_BYTES = 1 << 30
"""Disk space that packing never takes: checkpoints are worth more than speed."""


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/gpu-launch/trials``, by the usual rules for an unset variable."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gpu-launch" / "trials"


class HdfSource:
    """The trials of one file, features read from HDF5 each time."""

    def __init__(self, trials: list[Trial]) -> None:
        self.trials = trials

    def features(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(num_bins, channels) of one trial."""
        return read_features(self.trials[index])


class PackedSource:
    """The trials of one file, features memory-mapped from their packed copy."""

    def __init__(self, trials: list[Trial], data: Path, crcs: list[int], warn: Callable[[str], None]) -> None:
        self.trials = trials
        self._data = data
        self._crcs = crcs
        self._warn = warn
        self._starts = np.concatenate([[0], np.cumsum([t.num_bins for t in trials])])
        self._frames: np.ndarray[Any, np.dtype[np.float32]] | None = None
        self._sound = [False] * len(trials)
        self._lost: set[int] = set()

    def features(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(num_bins, channels) of one trial; a damaged copy is replaced by the original, with a warning."""
        if index in self._lost:
            return read_features(self.trials[index])
        if self._frames is None:
            rows = int(self._starts[-1])
            self._frames = np.memmap(self._data, dtype=np.float32, mode="r").reshape(rows, -1)
        frames = self._frames[self._starts[index] : self._starts[index + 1]]
        if not self._sound[index]:
            if zlib.crc32(np.ascontiguousarray(frames).data.cast("B")) != self._crcs[index]:
                return self._replace(index)
            self._sound[index] = True
        return frames

    def _replace(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        self._lost.add(index)
        self._warn(
            f"the packed copy of {self.trials[index]} is damaged: reading the original, packing again next time"
        )
        _index_path(self._data).unlink(missing_ok=True)
        return read_features(self.trials[index])


TrialSource = HdfSource | PackedSource


def open_source(
    path: Path,
    expected: Expectation,
    cache_dir: Path | None,
    warn: Callable[[str], None],
    reserve_bytes: int = RESERVE_BYTES,
    on_trial: Callable[[Trial], None] | None = None,
) -> TrialSource:
    """The checked trials of `path`, packed under `cache_dir` (None: read directly). Raises `DataError`.

    `on_trial` is told of each trial that is read; of a file that was packed before it hears nothing.
    """

    def read() -> Iterator[tuple[Trial, np.ndarray[Any, np.dtype[np.float32]]]]:
        for trial, features in iterate_trials(path, expected):
            if on_trial is not None:
                on_trial(trial)
            yield trial, features

    def direct() -> HdfSource:
        return HdfSource([trial for trial, _ in read()])

    if cache_dir is None:
        return direct()
    data = cache_dir / f"{_name(path, expected)}.f32"
    packed = _load(data, path, warn)
    if packed is not None:
        return packed
    free = _free_bytes(cache_dir)
    size = path.stat().st_size if path.exists() else 0
    if free is None or free < 2 * size + reserve_bytes:  # compressed sources grow; twice is a fair guess
        room = "cannot be written" if free is None else f"has {free / 2**30:.1f} GiB free"
        warn(f"not packing {path}: {cache_dir} {room}; reading HDF5 directly, which is slower")
        return direct()
    try:
        return _pack(read(), data, warn)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG):
            raise
        warn(f"not packing {path}: {error.strerror}; reading HDF5 directly, which is slower")
        return direct()


def _name(path: Path, expected: Expectation) -> str:
    """A name that changes with the source and with what was checked while packing."""
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    try:
        stat = path.stat()
        version = f"{stat.st_size} {stat.st_mtime_ns} {expected} {FORMAT}"
    except OSError:
        version = "absent"
    return f"{place}-{hashlib.sha256(version.encode()).hexdigest()[:12]}"


def _index_path(data: Path) -> Path:
    return data.with_suffix(".json")


def _free_bytes(folder: Path) -> int | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _load(data: Path, source: Path, warn: Callable[[str], None]) -> PackedSource | None:
    try:
        index = json.loads(_index_path(data).read_text(encoding="utf-8"))
        if data.stat().st_size != index["bytes"]:
            return None
        trials = [_trial_from_json(entry, source) for entry in index["trials"]]
        return PackedSource(trials, data, index["crcs"], warn)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pack(
    source: Iterator[tuple[Trial, np.ndarray[Any, np.dtype[np.float32]]]],
    data: Path,
    warn: Callable[[str], None],
) -> PackedSource:
    """Write the packed pair of a file's trials; the index, renamed last, is what makes it count."""
    trials: list[Trial] = []
    crcs: list[int] = []
    temporary = data.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            for trial, features in source:
                block = features.data.cast("B")
                out.write(block)
                crcs.append(zlib.crc32(block))
                trials.append(trial)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
        temporary.replace(data)
        entries = [_trial_to_json(t) for t in trials]
        temporary.write_text(json.dumps({"bytes": size, "crcs": crcs, "trials": entries}), encoding="utf-8")
        temporary.replace(_index_path(data))
    finally:
        temporary.unlink(missing_ok=True)
    _forget_older(data)
    return PackedSource(trials, data, crcs, warn)


def _forget_older(data: Path) -> None:
    place = data.name.partition("-")[0]
    for old in data.parent.glob(f"{place}-*"):
        if old.stem != data.stem and not old.name.endswith(".tmp"):
            with contextlib.suppress(OSError):
                old.unlink()


def _trial_to_json(trial: Trial) -> dict[str, Any]:
    return {
        "name": trial.name, "session": trial.session, "block_num": trial.block_num,
        "trial_num": trial.trial_num, "num_bins": trial.num_bins, "labels": trial.labels.tolist(),
        "transcription": trial.transcription.tolist(), "sentence": trial.sentence,
    }  # fmt: skip


def _trial_from_json(entry: dict[str, Any], source: Path) -> Trial:
    return Trial(
        path=source, name=entry["name"], session=entry["session"], block_num=entry["block_num"],
        trial_num=entry["trial_num"], num_bins=entry["num_bins"], sentence=entry["sentence"],
        labels=np.asarray(entry["labels"], dtype=np.int32),
        transcription=np.asarray(entry["transcription"], dtype=np.int64),
    )  # fmt: skip
