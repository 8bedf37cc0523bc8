"""The trials of one split over all sessions, checked, filtered and countable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import Config, DatasetConfig
from trainer.ctc import output_length, required_outputs
from trainer.errors import ConfigError, DataError
from trainer.hdf5 import Expectation, Trial
from trainer.pack import TrialSource, open_source
from trainer.sessions import split_file

__all__ = ["Corpus", "CorpusTrial", "load_corpus"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CorpusTrial:
    """One trial and the index of the session layer it belongs to."""

    trial: Trial
    day: int
    source: TrialSource
    index: int
    """Position in `source`."""

    def features(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(num_bins, channels); from the packed file a view that must not be written to."""
        return self.source.features(self.index)


class Corpus:
    """Trials of one split in a fixed order: by session, then as in the file."""

    def __init__(self, split: str, trials: Sequence[CorpusTrial], num_skipped: int = 0) -> None:
        self.split = split
        self.trials = tuple(trials)
        self.num_skipped = num_skipped
        """Trials left out because their labels cannot fit their output."""
        by_day: dict[int, list[int]] = {}
        for position, item in enumerate(self.trials):
            by_day.setdefault(item.day, []).append(position)
        self.by_day = {day: np.asarray(positions) for day, positions in by_day.items()}

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def fingerprint(self) -> str:
        """The trials in few words, for a run that goes on: equal for equal names, lengths and labels."""
        digest = hashlib.blake2b(digest_size=8)
        for item in self.trials:
            digest.update(f"{item.day} {item.trial.name} {item.trial.num_bins} ".encode())
            digest.update(item.trial.labels.tobytes())
        return f"{len(self.trials)} trials, {digest.hexdigest()}"


def load_corpus(
    config: Config,
    root: Path,
    sessions: Sequence[str],
    split: str,
    *,
    cache_dir: Path | None,
    say: Callable[[str], None],
    on_trial: Callable[[Trial], None] | None = None,
    to_train: bool = False,
) -> Corpus:
    """Read and check one split of all sessions; `on_trial` is told of each trial that had to be read.

    Sessions without a file for this split are left out, except for training; those without a folder are named.
    Raises `DataError` for bad files and, with `to_train`, where the training split has no trial left of a
    session, whose layer would stay as it was drawn; `ConfigError` when a patch does not fit a trial.
    """
    expected = _expectation(config, root, sessions, split)
    trials: list[CorpusTrial] = []
    if split == "train":
        _say_unknown_bad_trials(config.dataset, sessions, say)
    elif absent := [session for session in sessions if not (root / session).is_dir()]:
        named = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
        say(f"{len(absent)} of {len(sessions)} sessions have no folder in {root} and are left out: {named}")
    for day, session in enumerate(sessions):
        path = split_file(root, session, split)
        if split != "train" and not path.is_file():
            continue
        source = open_source(path, expected, cache_dir, say, on_trial=on_trial)
        bad = _bad_trials(config.dataset, session)
        for index, trial in enumerate(source.trials):
            if (trial.block_num, trial.trial_num) not in bad:
                trials.append(CorpusTrial(trial=trial, day=day, source=source, index=index))
    if split != "train":
        _check_patch_fits(config, trials, cut=0)
        return Corpus(split, trials)
    cut = max(0, config.dataset.data_transforms.random_cut - 1)
    _check_patch_fits(config, trials, cut)
    corpus = _without_overlong(config, trials, cut, say)
    if to_train:
        _check_no_session_is_empty(corpus, sessions)
    return corpus


def _expectation(config: Config, root: Path, sessions: Sequence[str], split: str) -> Expectation:
    dataset, width = config.dataset, config.model.n_input_features
    if dataset.feature_subset is not None:
        width = dataset.neural_dim or _stored_width(split_file(root, sessions[0], "train"))
        if max(dataset.feature_subset) >= width:
            raise ConfigError(
                f"dataset.feature_subset: channel {max(dataset.feature_subset)} does not exist in files "
                f"that are {width} channels wide"
            )
    return Expectation(
        neural_dim=width,
        n_classes=dataset.n_classes,
        max_seq_elements=dataset.max_seq_elements,
        labelled=split != "test",
    )


def _stored_width(path: Path) -> int:
    """Channels of the first trial of a file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return int(next(iter(file.values()))["input_features"].shape[1])
    except (OSError, KeyError, StopIteration, IndexError, TypeError) as error:
        raise DataError(f"{path}: the width of its features cannot be read: {error}") from error


def _bad_trials(dataset: DatasetConfig, session: str) -> set[tuple[int, int]]:
    blocks = (dataset.bad_trials_dict or {}).get(session, {})
    return {(int(block), number) for block, numbers in blocks.items() for number in numbers}


def _say_unknown_bad_trials(
    dataset: DatasetConfig, sessions: Sequence[str], say: Callable[[str], None]
) -> None:
    unknown = sorted(set(dataset.bad_trials_dict or {}) - set(sessions))
    if unknown:
        say(f"dataset.bad_trials_dict: {', '.join(unknown)}: no such session in this run")


def _check_patch_fits(config: Config, trials: Sequence[CorpusTrial], cut: int) -> None:
    if not trials:
        return
    shortest = min(trials, key=lambda t: t.trial.num_bins).trial
    patch = max(1, config.model.patch_size)
    if shortest.num_bins - cut < patch:
        after = f" ({shortest.num_bins - cut} after random_cut)" if cut else ""
        raise ConfigError(
            f"model.patch_size: {patch} bins do not fit the shortest trial, {shortest}, "
            f"which has {shortest.num_bins}{after}",
            hint="lower model.patch_size, or leave the trial out with dataset.bad_trials_dict",
        )


def _without_overlong(
    config: Config, trials: Sequence[CorpusTrial], cut: int, say: Callable[[str], None]
) -> Corpus:
    """Leave out trials whose labels CTC cannot align; refuse when there are many."""
    patch, stride = config.model.patch_size, config.model.patch_stride

    def fits(item: CorpusTrial) -> bool:
        outputs = output_length(item.trial.num_bins - cut, patch, stride)
        return required_outputs(item.trial.labels) <= outputs

    kept = [item for item in trials if fits(item)]
    skipped = len(trials) - len(kept)
    if skipped:
        first = next(item for item in trials if not fits(item)).trial
        text = (
            f"{skipped} of {len(trials)} training trials have more labels than outputs, the first is {first}"
        )
        if not kept or skipped > config.safety.max_skipped_fraction * len(trials):
            raise DataError(
                text, hint="lower model.patch_stride, or raise safety.max_skipped_fraction if this is meant"
            )
        say(f"{text}: left out")
    return Corpus("train", kept, skipped)


def _check_no_session_is_empty(corpus: Corpus, sessions: Sequence[str]) -> None:
    empty = sorted(set(range(len(sessions))) - corpus.by_day.keys())
    if empty:
        raise DataError(
            f"no training trial is left in session {sessions[empty[0]]}",
            hint="leave the session out of dataset.sessions",
        )
