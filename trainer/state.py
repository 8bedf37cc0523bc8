"""All that a resumed run needs to be the same run, to and from a checkpoint."""

from __future__ import annotations

import dataclasses
import json
import platform
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.config import Config
from trainer.config_reader import from_mapping, to_mapping
from trainer.errors import CheckpointMismatch, ConfigError
from trainer.optimisation import with_whole_schedule
from trainer.step import StepRunner

__all__ = [
    "Progress",
    "begun_with",
    "best_weights",
    "changed_fields",
    "check_data",
    "check_state",
    "environment",
    "environment_differences",
    "pack_state",
    "restore",
    "unpack_metrics",
]

FORMAT = 1

MAY_CHANGE = (
    "output_dir", "checkpoint_dir", "dataset.dataset_dir", "dataset.num_dataloader_workers", "checkpoints.",
    "compute.", "safety.", "records.", "gpu_number", "batches_per_", "save_", "log_", "early_stopping",
    "num_training_batches", "init_from_checkpoint", "init_checkpoint_path", "dataset.test_percentage",
)  # fmt: skip
"""Fields that a resumed run may be given anew: they change where and how long, not what is computed."""


@dataclass(slots=True)
class Progress:
    """Counters of a run; plain numbers only."""

    step: int = 0
    """Finished optimiser steps."""
    seed: int = 0
    data_seed: int = 0
    """Seeds as used, also where the configuration said -1."""
    best_per: float = float("inf")
    best_loss: float = float("inf")
    best_step: int = 0
    validations_since_best: int = 0
    skipped_steps: int = 0
    scale_search_steps: int = 0
    """Those of them that only found the loss scale too high."""
    nonfinite_in_a_row: int = 0
    blank_validations: int = 0
    """Validations in a row that decoded nothing but blanks."""
    micro_batch_size: int = 0

    @property
    def has_best(self) -> bool:
        """Whether any model was validated; the best may be the one of step 0."""
        return self.best_per < float("inf")


def changed_fields(begun: Config, config: Config) -> list[str]:
    """``field old → new`` for every field that must not change in a resumed run and did."""
    before, now = (_flat(to_mapping(with_whole_schedule(c))) for c in (begun, config))
    names = [n for n in sorted(before.keys() | now.keys()) if not n.startswith(MAY_CHANGE)]
    return [f"{n} {before.get(n)} → {now.get(n)}" for n in names if before.get(n) != now.get(n)]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def environment(device: torch.device, precision: str, num_processes: int = 1) -> dict[str, Any]:
    """What else the last bits of a result depend on."""
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": precision,
        "processes": num_processes,
    }


def _cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def environment_differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``torch 2.4.1 → 2.13.0`` for everything that differs."""
    return [f"{key} {saved[key]} → {now[key]}" for key in now if key in saved and saved[key] != now[key]]


def pack_state(
    runner: StepRunner, progress: Progress, config: Config, place: Mapping[str, Any], data: str
) -> dict[str, Any]:
    """The state as `Checkpointer.save` takes it; tensors are still the live ones."""
    return {
        "format": FORMAT,
        "model": runner.model.state_dict(),
        "optimizer": runner.optimizer.state_dict(),
        "scheduler": runner.scheduler.state_dict(),
        "scaler": runner.scale_state(),
        "progress": dataclasses.asdict(progress),
        "config": json.dumps(to_mapping(config)),
        "environment": dict(place),
        "data": data,
    }


def best_weights(state: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The model with the lowest PER that a state knows of: its own, in the state of the step that found it.

    None where no model was validated, and where the state counts one that it does not hold.
    """
    if not state:
        return None
    progress = Progress(**state["progress"])
    if not progress.has_best:
        return None
    own: dict[str, Tensor] | None = state["model"] if progress.best_step == progress.step else None
    best: dict[str, Tensor] | None = state.get("best_model", own)
    return best


def begun_with(state: Mapping[str, Any], source: Path) -> Config:
    """The configuration of the run that a state is of. Raises `CheckpointMismatch` when it is no resume state."""
    _check_kind(state, source)
    try:
        return from_mapping(json.loads(state["config"]))
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointMismatch(f"{source}: its configuration cannot be read: {error}") from error


def check_state(state: Mapping[str, Any], config: Config, source: Path) -> None:
    """Raise `CheckpointMismatch` when a state is no resume state, or of another model or another run."""
    changed = changed_fields(begun_with(state, source), config)
    if changed:
        raise CheckpointMismatch(
            f"{source} belongs to another configuration: {'; '.join(changed[:4])}",
            hint="restore these fields, or start anew in another --run-dir (init_from_checkpoint takes the weights along)",
        )


def check_data(state: Mapping[str, Any], data: str, source: Path) -> None:
    """Raise `CheckpointMismatch` when the trials are not those that the run has begun with."""
    if state.get("data", data) != data:
        raise CheckpointMismatch(
            f"{source} was trained on other trials: {state['data']} then, {data} now",
            hint="restore the data, or start anew in another --run-dir (init_from_checkpoint takes the weights along)",
        )


def restore(state: Mapping[str, Any], runner: StepRunner, source: Path) -> Progress:
    """Put a state that `check_state` has accepted into `runner`.

    Raises `CheckpointMismatch` when it does not fit all the same; `runner` is then of no use.
    """
    try:
        runner.model.load_state_dict(state["model"])
        runner.optimizer.load_state_dict(state["optimizer"])
        runner.scheduler.load_state_dict(state["scheduler"])
        runner.restore_scale(state["scaler"])
        return Progress(**state["progress"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        raise CheckpointMismatch(f"{source} does not fit this model: {' '.join(reason[:2])[:200]}") from error


def _check_kind(state: Mapping[str, Any], source: Path) -> None:
    if "model_state_dict" in state:
        raise CheckpointMismatch(
            f"{source} is a model in the official form, not the state of a run",
            hint="use init_from_checkpoint and init_checkpoint_path to start from its weights",
        )
    if state.get("format") != FORMAT:
        raise CheckpointMismatch(
            f"{source} is not a resume state of this trainer (format {state.get('format')!r})"
        )


def pack_metrics(content: bytes) -> Tensor:
    """The run's ``metrics.csv`` so far, compressed, as a tensor: checkpoints travel alone between machines."""
    return torch.frombuffer(bytearray(zlib.compress(content, 6)), dtype=torch.uint8)


def unpack_metrics(packed: Tensor) -> bytes:
    """The inverse of `pack_metrics`."""
    return zlib.decompress(packed.numpy().tobytes())
