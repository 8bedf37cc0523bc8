"""Learning rates over a run, as `metrics.csv` and the optimiser see them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from trainer.config_reader import load_config
from trainer.optimisation import build_optimizer, build_scheduler, with_whole_schedule


def rates(*overrides: str, steps: int) -> list[list[float]]:
    """Rate of biases, session layers and the rest at each step."""
    config = load_config(None, ["lr_max=0.1", "lr_min=0.01", "lr_warmup_steps=4", *overrides])
    model = torch.nn.ModuleDict({"gru": torch.nn.GRU(2, 2), "out": torch.nn.Linear(2, 2)})
    model.register_parameter("day_weights", torch.nn.Parameter(torch.eye(2)))
    optimizer = build_optimizer(model, config)
    scheduler = build_scheduler(optimizer, config)
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return found


def test_cosine_warms_up_falls_to_its_minimum_and_stays_there() -> None:
    found = rates("lr_decay_steps=12", steps=16)
    main = [row[2] for row in found]
    assert main[:5] == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1])
    assert main[8] == pytest.approx(0.01 + 0.09 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert main[12:] == pytest.approx([0.01] * 4)
    assert all(row[0] == row[1] == row[2] for row in found)


def test_session_layers_follow_a_schedule_of_their_own() -> None:
    day = ["lr_max_day=0.2", "lr_min_day=0.002", "lr_warmup_steps_day=2", "lr_decay_steps_day=6"]
    found = rates("lr_decay_steps=12", *day, steps=10)
    assert [row[1] for row in found][:3] == pytest.approx([0.0, 0.1, 0.2])
    assert [row[1] for row in found][6:] == pytest.approx([0.002] * 4)
    assert found[4][0] == found[4][2] == pytest.approx(0.1)


def test_a_linear_schedule_is_a_line_without_warm_up() -> None:
    found = rates("lr_scheduler_type=linear", "lr_decay_steps=9", steps=12)
    assert [row[2] for row in found[:10]] == pytest.approx([0.1 - 0.01 * k for k in range(10)])
    assert [row[2] for row in found[9:]] == pytest.approx([0.01] * 3)


def test_fields_that_are_left_out_follow_others_and_a_resumed_run_keeps_what_it_has_begun_with() -> None:
    config = load_config(None, ["lr_max=0.1", "lr_min=0.01", "lr_min_day=0.002", "num_training_batches=50"])
    whole = with_whole_schedule(config)
    assert (whole.lr_decay_steps, whole.lr_decay_steps_day, whole.lr_max_day, whole.lr_min_day) == (
        50,
        50,
        0.1,
        0.002,
    )
    longer = dataclasses.replace(config, num_training_batches=80)
    assert with_whole_schedule(longer, whole).lr_decay_steps == 50
    assert with_whole_schedule(longer, config) == with_whole_schedule(longer, whole)
    told = dataclasses.replace(longer, lr_decay_steps=80)
    assert with_whole_schedule(told, whole).lr_decay_steps == 80
