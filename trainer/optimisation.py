"""Optimiser and learning-rate schedules, as the official trainer sets them up.

Parameter groups, their order and the scheduler's form are the official ones, so optimiser and scheduler
states in checkpoints interchange too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LinearLR

from trainer.config import Config

__all__ = ["build_optimizer", "build_scheduler", "cosine_factor", "freeze", "with_whole_schedule"]

FOLLOWING = {
    "lr_decay_steps": "num_training_batches",
    "lr_max_day": "lr_max",
    "lr_min_day": "lr_min",
    "lr_decay_steps_day": "lr_decay_steps",
    "lr_warmup_steps_day": "lr_warmup_steps",
}
"""Fields of the schedule that may be left out, and the field that each follows then."""


def with_whole_schedule(config: Config, begun_with: Config | None = None) -> Config:
    """The configuration with every field of the schedule filled in, as the official trainer needs it.

    A run that is resumed keeps the schedule that it has begun with, also where its length is another now:
    `begun_with` is the configuration in its checkpoint.
    """
    begun = None if begun_with is None else with_whole_schedule(begun_with)
    for name, followed in FOLLOWING.items():
        if getattr(config, name) is None:
            value = getattr(config, followed) if begun is None else getattr(begun, name)
            config = dataclasses.replace(config, **{name: value})
    return config


def freeze(model: nn.Module, config: Config) -> None:
    """Switch gradients off where the configuration says that GRU or session layers are not trained."""
    for name, parameter in model.named_parameters():
        frozen_gru = not config.model.rnn_trainable and "gru" in name
        frozen_day = not config.model.input_network.input_trainable and "day" in name
        if frozen_gru or frozen_day:
            parameter.requires_grad = False


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW in three groups: biases (no decay), session layers (own rate and decay), everything else."""
    named = list(model.named_parameters())
    is_bias = {name for name, _ in named if "gru.bias" in name or "out.bias" in name}
    is_day = {name for name, _ in named if "day_" in name}
    lr_max_day = config.lr_max if config.lr_max_day is None else config.lr_max_day
    groups: list[dict[str, object]] = [
        {"params": [p for n, p in named if n in is_bias], "weight_decay": 0.0, "group_type": "bias"},
        {
            "params": [p for n, p in named if n in is_day],
            "lr": lr_max_day,
            "weight_decay": config.weight_decay_day,
            "group_type": "day_layer",
        },
        {"params": [p for n, p in named if n not in is_bias | is_day], "group_type": "other"},
    ]
    return torch.optim.AdamW(
        groups, lr=config.lr_max, betas=(config.beta0, config.beta1), eps=config.epsilon,
        weight_decay=config.weight_decay, fused=True,
    )  # fmt: skip


def build_scheduler(optimizer: torch.optim.Optimizer, config: Config) -> LambdaLR | LinearLR:
    """The configured schedule; one step per training step."""
    config = with_whole_schedule(config)
    decay = _given(config.lr_decay_steps)
    if config.lr_scheduler_type == "linear":
        ratio = config.lr_min / config.lr_max
        return LinearLR(optimizer, start_factor=1.0, end_factor=ratio, total_iters=decay)
    main = _cosine(config.lr_min / config.lr_max, decay, config.lr_warmup_steps)
    ratio_day = _given(config.lr_min_day) / _given(config.lr_max_day)
    day = _cosine(ratio_day, _given(config.lr_decay_steps_day), _given(config.lr_warmup_steps_day))
    return LambdaLR(optimizer, [main, day, main])


Number = TypeVar("Number", int, float)


def _given(value: Number | None) -> Number:
    assert value is not None, "with_whole_schedule fills it in"
    return value


def _cosine(min_ratio: float, decay_steps: int, warmup_steps: int) -> Callable[[int], float]:
    # A plain function: schedulers leave those out of their state, as in official checkpoints.
    def factor(step: int) -> float:
        return cosine_factor(step, min_ratio=min_ratio, decay_steps=decay_steps, warmup_steps=warmup_steps)

    return factor


def cosine_factor(step: int, *, min_ratio: float, decay_steps: int, warmup_steps: int) -> float:
    """Share of the highest rate at `step`: a line up to 1 over the warm-up, half a cosine down to `min_ratio`
    at `decay_steps`, constant from there.
    """
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    if step >= decay_steps:
        return min_ratio
    progress = (step - warmup_steps) / max(1, decay_steps - warmup_steps)
    return min_ratio + (1.0 - min_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress))
