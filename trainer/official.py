"""Files in the official baseline's form: checkpoints, args.yaml, val_metrics.pkl, train_val_trials.json."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from trainer.config import Config
from trainer.config_reader import to_mapping
from trainer.corpus import Corpus
from trainer.durable import HashingFile, publish, replace_text
from trainer.evaluation import Evaluation, TrialResult
from trainer.sampling import validation_batches

__all__ = [
    "official_checkpoint",
    "save_args",
    "save_official",
    "save_trials",
    "save_val_metrics",
    "val_metrics",
]


def official_checkpoint(
    model: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    per: float,
    loss: float,
) -> dict[str, Any]:
    """The five keys that the official trainer writes and reads."""
    return {
        "model_state_dict": dict(model),
        "optimizer_state_dict": dict(optimizer),
        "scheduler_state_dict": dict(scheduler),
        "val_PER": per,
        "val_loss": loss,
    }


def save_official(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write an official checkpoint by rename. Raises OSError when the disk refuses."""

    def write(out: HashingFile) -> None:
        torch.save(dict(checkpoint), out)  # type: ignore[arg-type]

    publish(path, write, with_digest=False)


def save_args(path: Path, config: Config, sessions: Sequence[str], val_days: Sequence[int]) -> None:
    """Write the configuration with the sessions and validation days that it led to."""
    tree = to_mapping(config)
    tree["dataset"]["sessions"] = list(sessions)
    tree["dataset"]["dataset_probability_val"] = [int(day in set(val_days)) for day in range(len(sessions))]
    tree["dataset"]["neural_dim"] = tree["dataset"]["neural_dim"] or config.model.n_input_features
    replace_text(path, yaml.safe_dump(tree, sort_keys=False))


def save_trials(path: Path, train: Corpus, val: Corpus) -> None:
    """Write which trials of which file were used, by session index."""

    def listed(corpus: Corpus) -> dict[str, Any]:
        result = {}
        for day, positions in corpus.by_day.items():
            items = [corpus.trials[p] for p in positions]
            numbers = [int(item.trial.name.partition("_")[2]) for item in items]
            result[str(day)] = {"trials": numbers, "session_path": str(items[0].trial.path)}
        return result

    replace_text(path, json.dumps({"train": listed(train), "val": listed(val)}))


def save_val_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write the pickle by rename."""
    data = pickle.dumps(dict(metrics))
    replace_text(path, data)


def val_metrics(
    evaluation: Evaluation, corpus: Corpus, *, batch_size: int, with_logits: bool, with_data: bool
) -> dict[str, Any]:
    """Results as the official trainer pickles them: lists with one entry per validation batch."""
    by_position = {trial.position: trial for trial in evaluation.trials}
    keys = [
        "decoded_seqs",
        "true_seq",
        "phone_seq_lens",
        "transcription",
        "losses",
        "block_nums",
        "trial_nums",
    ]
    metrics: dict[str, Any] = {key: [] for key in [*keys, "day_indicies"]}
    if with_logits:
        metrics.update(logits=[], n_time_steps=[])
    if with_data:
        metrics["input_features"] = []
    for positions in validation_batches(corpus.by_day, batch_size):
        results = [by_position[int(p)] for p in positions if int(p) in by_position]
        if results:
            _append_batch(metrics, results, corpus)
    metrics["day_PERs"] = _edits_by_day(evaluation)
    metrics["avg_PER"] = evaluation.per
    metrics["avg_loss"] = evaluation.loss
    return metrics


def _append_batch(metrics: dict[str, Any], results: Sequence[TrialResult], corpus: Corpus) -> None:
    trials = [corpus.trials[r.position].trial for r in results]
    metrics["decoded_seqs"].append([r.decoded for r in results])
    metrics["true_seq"].append(_stack([t.labels for t in trials]))
    metrics["phone_seq_lens"].append(np.asarray([len(t.labels) for t in trials]))
    metrics["transcription"].append(_stack([t.transcription for t in trials]))
    metrics["losses"].append(float(np.mean([r.loss for r in results])))
    metrics["block_nums"].append(np.asarray([t.block_num for t in trials]))
    metrics["trial_nums"].append(np.asarray([t.trial_num for t in trials]))
    metrics["day_indicies"].append(np.asarray([r.day for r in results]))
    if "logits" in metrics:
        metrics["logits"].append(_stack([r.logits for r in results if r.logits is not None]))
        metrics["n_time_steps"].append(np.asarray([len(r.logits) for r in results if r.logits is not None]))
    if "input_features" in metrics:
        metrics["input_features"].append(_stack([corpus.trials[r.position].features() for r in results]))


def _stack(arrays: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Arrays of different lengths as one, padded with zeros at the end."""
    longest = max(len(a) for a in arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def _edits_by_day(evaluation: Evaluation) -> dict[int, dict[str, int]]:
    by_day: dict[int, dict[str, int]] = {}
    for trial in evaluation.trials:
        entry = by_day.setdefault(trial.day, {"total_edit_distance": 0, "total_seq_length": 0})
        entry["total_edit_distance"] += trial.edits
        entry["total_seq_length"] += len(trial.truth)
    return by_day
