from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.ctc import align, ctc_loss, edit_distance, greedy_decode, output_length, required_outputs

LABELS = st.lists(st.integers(1, 3), max_size=8)


def slow_edit_distance(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(
        slow_edit_distance(a[1:], b) + 1,
        slow_edit_distance(a, b[1:]) + 1,
        slow_edit_distance(a[1:], b[1:]) + (a[0] != b[0]),
    )


@settings(max_examples=60, deadline=None)
@given(a=st.lists(st.integers(1, 3), max_size=5), b=st.lists(st.integers(1, 3), max_size=5))
def test_edit_distance_equals_its_definition(a: list[int], b: list[int]) -> None:
    assert edit_distance(a, b) == slow_edit_distance(a, b)


@given(a=LABELS, b=LABELS)
def test_an_alignment_spells_both_sides_at_the_price_of_the_distance(a: list[int], b: list[int]) -> None:
    pairs = align(a, b)
    assert [truth for truth, _ in pairs if truth is not None] == b
    assert [decoded for _, decoded in pairs if decoded is not None] == a
    assert sum(truth != decoded for truth, decoded in pairs) == edit_distance(a, b)


def test_repeats_are_merged_before_blanks_are_dropped() -> None:
    assert greedy_decode(np.asarray([0, 1, 1, 0, 1, 2, 2, 0, 0])).tolist() == [1, 1, 2]
    assert greedy_decode(np.asarray([], dtype=np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("bins", "size", "stride"), list(itertools.product([3, 14, 15, 18, 100], [0, 4, 14], [1, 4]))
)
def test_output_length_counts_the_windows(bins: int, size: int, stride: int) -> None:
    expected = bins if size == 0 else len(range(0, bins - size + 1, stride))
    assert output_length(bins, size, stride) == expected


def test_equal_neighbours_need_a_blank_between_them() -> None:
    assert required_outputs(np.asarray([1, 1, 2, 2, 2])) == 8
    assert required_outputs(np.asarray([1, 2, 1])) == 3


def brute_force_loss(log_probs: torch.Tensor, labels: list[int]) -> float:
    """Minus the log of the summed probability of every path that spells the labels."""
    steps, classes = log_probs.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        if greedy_decode(np.asarray(path)).tolist() == labels:
            total += float(log_probs[range(steps), list(path)].sum().exp())
    return -float(np.log(total))


def test_the_loss_of_each_trial_is_that_of_all_its_paths() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(5, 2, 3).log_softmax(2)
    losses = ctc_loss(log_probs, torch.tensor([1, 2, 1]), torch.tensor([5, 4]), torch.tensor([2, 1]))
    assert losses[0].item() == pytest.approx(brute_force_loss(log_probs[:, 0], [1, 2]), rel=1e-5)
    assert losses[1].item() == pytest.approx(brute_force_loss(log_probs[:4, 1], [1]), rel=1e-5)
