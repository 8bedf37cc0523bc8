"""Runs the official trainer, unmodified, from a checkout, and times its steps by its own log lines.

``python -m benchmarks.train_step.official CHECKOUT ARGUMENTS.json TIMES.json``. The official module
imports packages of which a timed step uses nothing but configuration access: where ``omegaconf`` or
``torchaudio`` are not installed, a stand-in with just the names that are imported takes their place, and
where ``scipy`` is not, a NumPy Gaussian filter (called once per batch on 100 numbers, as there).
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np


def stand_in_for_absent_packages() -> list[str]:
    """Fill `sys.modules` for what is not installed; returns the names."""
    absent = [n for n in ("omegaconf", "torchaudio", "scipy") if importlib.util.find_spec(n) is None]
    if "omegaconf" in absent:
        module = types.ModuleType("omegaconf")
        module.OmegaConf = type("OmegaConf", (), {})  # type: ignore[attr-defined]
        sys.modules["omegaconf"] = module
    if "torchaudio" in absent:
        package, functional = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.functional")
        functional.edit_distance = lambda a, b: abs(len(a) - len(b))  # type: ignore[attr-defined]  # validation only
        package.functional = functional  # type: ignore[attr-defined]
        sys.modules |= {"torchaudio": package, "torchaudio.functional": functional}
    if "scipy" in absent:
        package, ndimage = types.ModuleType("scipy"), types.ModuleType("scipy.ndimage")
        ndimage.gaussian_filter1d = gaussian_filter1d  # type: ignore[attr-defined]
        package.ndimage = ndimage  # type: ignore[attr-defined]
        sys.modules |= {"scipy": package, "scipy.ndimage": ndimage}
    return absent


def gaussian_filter1d(values: np.ndarray[Any, Any], sigma: float) -> np.ndarray[Any, Any]:
    """What scipy.ndimage computes with its defaults."""
    radius = int(4.0 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    padded = np.pad(values, radius, mode="symmetric")
    return np.convolve(padded, weights / weights.sum(), mode="valid").astype(values.dtype)


class StepClock(logging.Handler):
    """Notes when each training step was logged, which the official loop does after waiting for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Train batch"):
            self.times.append(time.perf_counter())


def main(checkout: Path, arguments: Path, times: Path, *flags: str) -> None:
    """Train as the official script does and write the times of all steps."""
    absent = stand_in_for_absent_packages()
    sys.path.insert(0, str(checkout / "model_training"))
    import torch

    if "--no-compile" in flags:
        torch.compile = lambda model: model  # type: ignore[assignment]
    import rnn_trainer  # type: ignore[import-not-found]

    trainer = rnn_trainer.BrainToTextDecoder_Trainer(json.loads(arguments.read_text()))
    clock = StepClock()
    trainer.logger.addHandler(clock)
    trainer.train()
    times.write_text(json.dumps({"times": clock.times, "stand_ins": absent, "torch": torch.__version__}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
