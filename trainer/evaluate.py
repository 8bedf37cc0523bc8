"""The ``evaluate`` command: a trained model over one split, as a table, a list of confusions and a CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from trainer.batches import Assembler
from trainer.checkpoint import step_files
from trainer.config import Config
from trainer.config_checks import check_limit
from trainer.config_reader import load_config
from trainer.contract import Exit, JobEnvironment
from trainer.corpus import Corpus, load_corpus
from trainer.durable import replace_text
from trainer.errors import CheckpointMismatch, ConfigError, DataError, NoCheckpoint
from trainer.evaluation import Evaluation, evaluate
from trainer.interrupt import Interrupt
from trainer.loading import LoadingWatch
from trainer.model import GRUDecoder, build_model
from trainer.official_checkpoint import load_official_weights
from trainer.phonemes import class_name
from trainer.precision import to_device
from trainer.progress import Console
from trainer.run_folder import locate_data
from trainer.sessions import data_root
from trainer.setup import Compute, cache_dir, choose_compute
from trainer.smoothing import Smoother

__all__ = ["evaluate_run", "load_model", "run_config"]


def evaluate_run(
    *, run_dir: Path, data_dir: Path | None, checkpoint: Path | None, split: str, output: Path | None,
    device: str | None, num_confusions: int, limit_batches: int | None, console: Console,
) -> Exit:  # fmt: skip
    """Evaluate the best model of a run folder, or a checkpoint in the official form."""
    path = output or run_dir / f"evaluation_{split}.csv"
    check_limit(limit_batches)
    if output is not None:
        _check_output(output)
    config = run_config(run_dir, device)
    compute = choose_compute(config, console)
    root = data_root(locate_data(config, data_dir, JobEnvironment.read()))
    sessions = config.dataset.sessions
    corpus = load_corpus(
        config, root, sessions, split, cache_dir=cache_dir(config), say=console.warn,
        on_trial=LoadingWatch(len(sessions), console, Interrupt()),
    )  # fmt: skip
    if not len(corpus):
        raise DataError(f"{root}: no session of this run has trials in the split {split}")
    model = load_model(checkpoint or run_dir / "checkpoint" / "best_checkpoint", config, compute.device)
    evaluation = _decode(model, corpus, config, compute, limit_batches, console)
    _report(evaluation, config, split, num_confusions, console)
    replace_text(path, _csv(evaluation, corpus, config))
    console.say(f"one line per trial: {path}")
    return Exit.DONE


def _check_output(path: Path) -> None:
    """Said before the decoding rather than after it."""
    if path.is_dir():
        raise ConfigError(f"--output {path} is a folder", hint="name a file in it")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: there is no folder {path.parent}")


def load_model(checkpoint: Path, config: Config, device: torch.device) -> GRUDecoder:
    """The decoder of `config` with the weights of an official checkpoint, in evaluation mode."""
    model = build_model(config, len(config.dataset.sessions))
    try:
        weights = load_official_weights(checkpoint)
    except NoCheckpoint as error:
        if checkpoint.name == "best_checkpoint":
            error.hint = _instead_of(checkpoint)
        raise
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointMismatch(f"{checkpoint} does not fit the model of args.yaml: {reason}") from error
    to_device(model, device)
    return model.eval()


def _instead_of(missing: Path) -> str:
    """What to evaluate where a checkpoint is missing: another model of the run, or its last state in that form."""
    folder = missing.parent
    if models := sorted(folder.glob("*checkpoint_batch_*"), key=lambda path: path.stat().st_mtime):
        return f"without a best model: --checkpoint {models[-1]}"
    if states := step_files(folder.parent / "checkpoints"):
        target = folder / "last.pt"
        return (
            f"only a validation names a best model; `trainer convert {states[-1]} {target}` writes the last state "
            f"in this form, for --checkpoint {target}"
        )
    return "only a validation names a best model: train with validation trials, or with --set save_final_model=true"


def run_config(run_dir: Path, device: str | None) -> Config:
    """The configuration that a run was trained with, on the processors of this machine."""
    path = run_dir / "checkpoint" / "args.yaml"
    if not path.is_file():
        raise NoCheckpoint(f"{path} is missing: {run_dir} is not the folder of a training run")
    config = load_config(path, [f"compute.device={device}"] if device else [])
    if not config.dataset.sessions:
        raise ConfigError(f"{path} names no sessions")
    # The processors of the training machine need not exist here, nor compute fp16 without a GPU.
    compute = config.compute
    precision = "auto" if compute.precision == "fp16" else compute.precision
    compute = dataclasses.replace(compute, device=device or "auto", precision=precision)
    return dataclasses.replace(config, gpu_number=max(0, config.gpu_number), compute=compute)


def _decode(
    model: GRUDecoder, corpus: Corpus, config: Config, compute: Compute, limit: int | None, console: Console
) -> Evaluation:
    smoother = Smoother(config.dataset.data_transforms)
    assembler = Assembler(corpus, config, smoother, seed=0, noise_on_host=False)
    return evaluate(
        model, corpus, assembler, smoother, dtype=compute.precision.dtype, batch_size=config.dataset.batch_size,
        device=compute.device, limit_batches=limit, warn=console.warn,
    )  # fmt: skip


def _report(
    evaluation: Evaluation, config: Config, split: str, num_confusions: int, console: Console
) -> None:
    counts: Mapping[int, int] = _trials_by_day(evaluation)
    for day, per in evaluation.per_by_day.items():
        console.say(f"{config.dataset.sessions[day]:<24} {counts[day]:>5} trials   PER {100 * per:6.2f} %")
    console.say(
        f"{'all of ' + split:<24} {len(evaluation.trials):>5} trials   PER {100 * evaluation.per:6.2f} %   "
        f"CTC loss {evaluation.loss:.3f}"
    )
    for (truth, decoded), count in evaluation.confusions().most_common(num_confusions):
        console.say(f"  {_confusion(truth, decoded):<28} {count:>5} ×")


def _trials_by_day(evaluation: Evaluation) -> dict[int, int]:
    counts: dict[int, int] = {}
    for trial in evaluation.trials:
        counts[trial.day] = counts.get(trial.day, 0) + 1
    return counts


def _confusion(truth: int | None, decoded: int | None) -> str:
    if truth is None and decoded is not None:
        return f"{class_name(decoded)} inserted"
    if decoded is None and truth is not None:
        return f"{class_name(truth)} missed"
    assert truth is not None and decoded is not None
    return f"{class_name(truth)} heard as {class_name(decoded)}"


COLUMNS = (
    "session", "block_num", "trial_num", "num_bins", "num_phonemes", "edits", "per", "ctc_loss", "sentence",
    "true_phonemes", "decoded_phonemes",
)  # fmt: skip


def _csv(evaluation: Evaluation, corpus: Corpus, config: Config) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in evaluation.trials:
        trial = corpus.trials[result.position].trial
        length = len(result.truth)
        row: Sequence[Any] = (
            config.dataset.sessions[result.day], trial.block_num, trial.trial_num, trial.num_bins, length,
            result.edits, f"{result.edits / max(1, length):.6f}", f"{result.loss:.6f}", trial.sentence,
            _spell(result.truth), _spell(result.decoded),
        )  # fmt: skip
        writer.writerow(row)
    return out.getvalue()


def _spell(labels: Sequence[int] | Any) -> str:
    return " ".join(class_name(int(label)) for label in labels)
