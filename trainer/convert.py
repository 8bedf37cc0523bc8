"""The ``convert`` command: checkpoints between our form and the official one.

A resume state becomes an official checkpoint of its best model. An official checkpoint, also one saved
from a wrapped model or with NumPy scalars, becomes one with plain names and numbers, which ours and the
official code load; ``init_from_checkpoint`` starts a run from either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.checkpoint import load
from trainer.config import Config
from trainer.config_reader import from_mapping, load_config
from trainer.contract import Exit
from trainer.durable import replace_text
from trainer.errors import CheckpointCorrupt, CheckpointMismatch, ConfigError
from trainer.official import official_checkpoint, save_args, save_official
from trainer.official_checkpoint import load_official
from trainer.progress import Console

__all__ = ["convert", "to_official"]


def convert(source: Path, target: Path, *, console: Console) -> Exit:
    """Write `source` in the official form to `target`: a run-like folder with ``checkpoint/best_checkpoint``
    and ``checkpoint/args.yaml`` when `target` is a folder or ends in a slash, else one file.

    Raises `NoCheckpoint`, `CheckpointCorrupt`, `CheckpointMismatch` or `ConfigError`.
    """
    try:
        checkpoint, config = to_official(source)
    except CheckpointCorrupt as error:
        error.exit_code = Exit.BAD_CONFIG  # somebody named it
        raise
    path = target
    if target.is_dir() or (target.suffix == "" and not target.exists() and target.name != "best_checkpoint"):
        path = target / "checkpoint" / "best_checkpoint"
    if path.exists():
        raise ConfigError(f"{path} exists already", hint="name another target")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_official(path, checkpoint)
    console.say(
        f"wrote {path}: {len(checkpoint['model_state_dict'])} parameters, val_PER {checkpoint['val_PER']:.4f}"
    )
    _write_args(source, path, config, console)
    return Exit.DONE


def to_official(source: Path) -> tuple[dict[str, Any], Config | None]:
    """A checkpoint of either form in the official one, and the configuration where the file knows it."""
    try:
        state = load(source)
    except Exception:
        state = {}  # perhaps an official one with NumPy scalars, which the stricter reader refuses
    if "model_state_dict" in state or "model" not in state:
        found = load_official(source)
        return _complete(found), None
    progress = state["progress"]
    best = state.get("best_model")
    weights = best if best is not None else state["model"]
    optimizer = state["optimizer"] if best is None else {**state["optimizer"], "state": {}}
    checkpoint = official_checkpoint(
        weights, optimizer, state["scheduler"], progress["best_per"], progress["best_loss"]
    )
    return checkpoint, from_mapping(json.loads(state["config"]))


def _complete(found: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("optimizer_state_dict", "scheduler_state_dict"):
        if not isinstance(found.get(name), Mapping):
            raise CheckpointMismatch(f"the checkpoint has no {name}")
    return official_checkpoint(
        found["model_state_dict"], found["optimizer_state_dict"], found["scheduler_state_dict"],
        found.get("val_PER", float("inf")), found.get("val_loss", float("inf")),
    )  # fmt: skip


def _write_args(source: Path, path: Path, config: Config | None, console: Console) -> None:
    """args.yaml beside the checkpoint: from the state, else a copy of the one beside the source."""
    args = path.parent / "args.yaml"
    beside = source.parent / "args.yaml"
    if config is not None:
        wanted = config.dataset.dataset_probability_val or (1,) * len(config.dataset.sessions)
        save_args(args, config, config.dataset.sessions, [d for d, w in enumerate(wanted) if w])
    elif beside.is_file():
        load_config(beside)
        replace_text(args, beside.read_text(encoding="utf-8"))
    else:
        console.warn(f"no args.yaml beside {source}: evaluation needs one beside {path}")
        return
    console.say(f"wrote {args}")
