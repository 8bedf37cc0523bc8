"""Compiled loops over the states and arcs of a graph file; called by `trainer.lm.fst_file` alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["count", "epsilon_levels", "fill"]

MAX_LEVEL = 30_000


@njit(cache=True, nogil=True)
def count(words: Any, num_states: int) -> Any:
    """(states, arcs) of a body of 32-bit words; (-1, -1) when it ends within a state.

    With `num_states` negative the file is read to its end.
    """
    at, states, arcs = 0, 0, 0
    while at < len(words) if num_states < 0 else states < num_states:
        if at + 3 > len(words):
            return -1, -1
        n = np.int64(words[at + 1]) & 0xFFFFFFFF | np.int64(words[at + 2]) << 32
        if n < 0 or n > (len(words) - at - 3) // 4:
            return -1, -1
        at += 3 + 4 * n
        states += 1
        arcs += n
    return states, arcs


@njit(cache=True, nogil=True)
def fill(
    words: Any, numbers: Any, first_arc: Any, first_emitting: Any, ilabel: Any, olabel: Any, weight: Any,
    next_state: Any, final: Any,
) -> bool:  # fmt: skip
    """Sort the arcs of each state into the arrays; False when a label or a state is out of range."""
    states = len(final)
    at, out = 0, 0
    for state in range(states):
        final[state] = numbers[at]
        n = np.int64(words[at + 1]) & 0xFFFFFFFF | np.int64(words[at + 2]) << 32
        first_arc[state] = out
        for wants_epsilon in (True, False):
            if not wants_epsilon:
                first_emitting[state] = out
            for k in range(n):
                a = at + 3 + 4 * k
                if (words[a] == 0) != wants_epsilon:
                    continue
                if words[a] < 0 or words[a] > 255 or words[a + 1] < 0 or not 0 <= words[a + 3] < states:
                    return False
                ilabel[out] = words[a]
                olabel[out] = words[a + 1]
                weight[out] = numbers[a + 2]
                next_state[out] = words[a + 3]
                out += 1
        at += 3 + 4 * n
    first_arc[states] = out
    return True


@njit(cache=True, nogil=True)
def epsilon_levels(first_arc: Any, first_emitting: Any, next_state: Any, level: Any) -> bool:
    """Longest chain of epsilon arcs into each state, by removing states without any; False when there is a cycle."""
    states = len(level)
    waiting = np.zeros(states, np.int32)
    for state in range(states):
        for a in range(first_arc[state], first_emitting[state]):
            waiting[next_state[a]] += 1
    stack = np.empty(states, np.int32)
    height, done = 0, 0
    for state in range(states):
        if waiting[state] == 0:
            stack[height] = state
            height += 1
    while height:
        height -= 1
        state = stack[height]
        done += 1
        for a in range(first_arc[state], first_emitting[state]):
            other = next_state[a]
            level[other] = max(level[other], level[state] + 1)
            if level[other] > MAX_LEVEL:
                return False
            waiting[other] -= 1
            if waiting[other] == 0:
                stack[height] = other
                height += 1
    return done == states
