"""Random streams that depend on what is drawn and never on the order of drawing."""

from __future__ import annotations

import enum

import numpy as np

__all__ = ["Stream", "generator"]


class Stream(enum.IntEnum):
    """What a stream is for: two purposes never share numbers."""

    SENTENCE = 0
    SPEECH = 1
    SIGNAL = 2
    BRAIN = 3
    SESSION = 4


def generator(seed: int, stream: Stream, *place: int) -> np.random.Generator:
    """The stream of one purpose at one place (session, split, trial), the same in every process."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(int(stream), *place))))
