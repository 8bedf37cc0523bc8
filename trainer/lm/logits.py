"""Logits of a whole split, from one checkpoint or an ensemble of several, kept on disk to be decoded many times."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.batches import Assembler
from trainer.config import Config
from trainer.corpus import Corpus, load_corpus
from trainer.ctc import edit_distance, greedy_decode
from trainer.durable import file_digest, replace_text
from trainer.errors import ConfigError, DataError
from trainer.evaluate import load_model, run_config
from trainer.evaluation import evaluate
from trainer.lm.scores import average_in_probability
from trainer.lm.symbols import NUM_COLUMNS
from trainer.progress import Console
from trainer.sessions import data_root, find_test_sessions, split_file
from trainer.setup import cache_dir, choose_compute
from trainer.smoothing import Smoother

__all__ = ["Member", "Utterance", "collect", "fingerprint_digest"]


@dataclass(frozen=True, slots=True)
class Member:
    """One model: a run folder, and its best checkpoint or another one."""

    run_dir: Path
    checkpoint: Path

    @classmethod
    def of(cls, run_dir: Path, checkpoint: Path | None = None) -> Member:
        """The run's best checkpoint unless another is named."""
        return cls(run_dir, checkpoint or run_dir / "checkpoint" / "best_checkpoint")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Utterance:
    """One trial: what the model heard, and what was said where that is known."""

    id: int
    """Place in the official order: sessions as configured, trials as in their file."""
    session: str
    block_num: int
    trial_num: int
    sentence: str
    """Empty in the test split."""
    labels: np.ndarray[Any, np.dtype[np.int32]]
    logits: np.ndarray[Any, np.dtype[np.float32]]
    """(T', 41) in the model's order."""

    @property
    def phoneme_edits(self) -> int:
        """Edits between the greedy phonemes and the labels."""
        return edit_distance(greedy_decode(self.logits.argmax(1)), self.labels)


def collect(
    members: Sequence[Member], data_dir: Path, split: str, *, device: str | None, cache: Path, console: Console,
    limit_batches: int | None = None,
) -> list[Utterance]:  # fmt: skip
    """Run the models over a split, or take the logits of an earlier run with the same weights and data.

    Several members are averaged in probability space. `cache` is the file that keeps the logits. Raises `ConfigError`
    for members that do not go together, `DataError`, and a `CheckpointError`.
    """
    configs = [run_config(member.run_dir, device) for member in members]
    root = data_root(data_dir)
    sessions = _common_sessions(members, configs)
    if split == "test":
        find_test_sessions(root, sessions)
    compute = choose_compute(configs[0], console)
    corpora = [
        load_corpus(
            config, root, config.dataset.sessions, split, cache_dir=cache_dir(config), say=console.warn
        )
        for config in configs
    ]
    if not len(corpora[0]):
        raise DataError(f"{root}: no session of this run has trials in the split {split}")
    fingerprint = _fingerprint(members, root, sessions, split, compute.precision.name, limit_batches)
    kept = _read(cache, fingerprint)
    if kept is None:
        each = [
            _logits(member, config, corpus, compute, limit_batches, console)
            for member, config, corpus in zip(members, configs, corpora, strict=True)
        ]
        kept = {key: _average([found[key] for found in each], key) for key in each[0]}
        _write(cache, fingerprint, kept)
    else:
        console.say(f"logits of {len(kept)} trials: as computed before ({cache})")
    return _utterances(corpora[0], configs[0].dataset.sessions, kept)


def _common_sessions(members: Sequence[Member], configs: Sequence[Config]) -> tuple[str, ...]:
    first = configs[0].dataset.sessions
    for member, config in zip(members, configs, strict=True):
        if set(config.dataset.sessions) != set(first):
            odd = sorted(set(config.dataset.sessions) ^ set(first))
            raise ConfigError(
                f"{member.run_dir} was trained on other sessions than {members[0].run_dir}: {', '.join(odd[:3])}"
            )
        if config.dataset.n_classes != NUM_COLUMNS:
            raise ConfigError(
                f"{member.run_dir} has {config.dataset.n_classes} classes; words need {NUM_COLUMNS}"
            )
        if config.dataset.bad_trials_dict != configs[0].dataset.bad_trials_dict:
            raise ConfigError(f"{member.run_dir} leaves other trials out than {members[0].run_dir}")
    return first


def _fingerprint(
    members: Sequence[Member], root: Path, sessions: Sequence[str], split: str, precision: str, limit: int | None
) -> dict[str, Any]:  # fmt: skip
    files = [split_file(root, session, split) for session in sessions]
    stats = [(path.parent.name, path.stat()) for path in files if path.is_file()]
    return {
        "checkpoints": [file_digest(member.checkpoint) for member in members if member.checkpoint.is_file()],
        "data": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
        "split": split, "precision": precision, "limit_batches": limit,
    }  # fmt: skip


Key = tuple[str, int, int]
"""Session, block, trial."""


def _key(corpus: Corpus, config_sessions: Sequence[str], position: int) -> Key:
    item = corpus.trials[position]
    return config_sessions[item.day], item.trial.block_num, item.trial.trial_num


def _logits(
    member: Member, config: Config, corpus: Corpus, compute: Any, limit: int | None, console: Console
) -> dict[Key, np.ndarray[Any, Any]]:
    model = load_model(member.checkpoint, config, compute.device)
    smoother = Smoother(config.dataset.data_transforms)
    assembler = Assembler(corpus, config, smoother, seed=0, noise_on_host=False)
    console.say(f"logits of {len(corpus)} trials: {member.checkpoint}")
    evaluation = evaluate(
        model, corpus, assembler, smoother, dtype=compute.precision.dtype, batch_size=config.dataset.batch_size,
        device=compute.device, limit_batches=limit, keep_logits=True,
    )  # fmt: skip
    found = {
        _key(corpus, config.dataset.sessions, trial.position): trial.logits
        for trial in evaluation.trials
        if trial.logits is not None
    }
    if len(found) != len(evaluation.trials):
        raise DataError(f"{corpus.split}: two trials have the same session, block and number")
    return found


def _average(logits: Sequence[np.ndarray[Any, Any]], key: Key) -> np.ndarray[Any, Any]:
    if len(logits) == 1:
        return logits[0]
    if len({len(member) for member in logits}) > 1:
        raise ConfigError(
            f"the members of the ensemble give {' and '.join(str(len(m)) for m in logits)} frames for "
            f"trial {key[2]} of block {key[1]} of {key[0]}",
            hint="only models with the same patch_size and patch_stride can be averaged",
        )
    return average_in_probability(logits)


def _utterances(
    corpus: Corpus, sessions: Sequence[str], kept: dict[Key, np.ndarray[Any, Any]]
) -> list[Utterance]:
    found = []
    for position, item in enumerate(corpus.trials):
        key = _key(corpus, sessions, position)
        if key in kept:
            found.append(
                Utterance(
                    id=position, session=key[0], block_num=key[1], trial_num=key[2], sentence=item.trial.sentence,
                    labels=item.trial.labels, logits=kept[key],
                )
            )  # fmt: skip
    return found


def fingerprint_digest(path: Path) -> str:
    """A digest of what kept logits were made of: equal for the same weights, data and precision."""
    with np.load(path, allow_pickle=False) as file:
        return hashlib.sha256(str(file["about"]).encode()).hexdigest()


def _read(path: Path, fingerprint: dict[str, Any]) -> dict[Key, np.ndarray[Any, Any]] | None:
    """Logits kept for exactly this; None for anything else, a damaged file included."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            if about["fingerprint"] != fingerprint:
                return None
            table, ends = file["logits"], np.cumsum(file["lengths"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
    parts = np.split(table, ends[:-1])
    keys: list[Key] = [(str(s), int(b), int(t)) for s, b, t in about["keys"]]
    return dict(zip(keys, parts, strict=True))


def _write(path: Path, fingerprint: dict[str, Any], kept: dict[Key, np.ndarray[Any, Any]]) -> None:
    out = io.BytesIO()
    np.savez(
        out, about=np.asarray(json.dumps({"fingerprint": fingerprint, "keys": list(kept)})),
        logits=np.concatenate(list(kept.values())), lengths=np.asarray([len(v) for v in kept.values()]),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, out.getvalue())
