"""From a sentence to what the vocal tract tries to do: labels, timing, trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.synthetic.phonemes import ARTICULATORS, CLASS_IDS, DURATIONS, N_CLASSES, OFFSETS, ONSETS, SILENCE
from trainer.synthetic.seeding import Stream, generator
from trainer.synthetic.sentences import words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.synthetic.lexicon import Lexicon
    from trainer.synthetic.spec import SyntheticSpec

__all__ = ["N_LATENTS", "Utterance", "expected_bins", "pronounce", "smooth", "trajectory", "utter"]

_OWN_AXES = 10
"""Axes in which each phoneme has a place of its own: cortex holds more than the position of articulators."""
_OWN_SPREAD = 0.35

_POSITIONS = len(ARTICULATORS) + _OWN_AXES
N_LATENTS = 2 * _POSITIONS
"""Positions, then velocities."""

_ALTERNATIVE_SHARE = 0.15
"""How often a word with several pronunciations is said in another than its usual one."""
_RATE_SPREAD = 0.15
"""Standard deviation of the logarithm of a trial's speaking rate."""
_DURATION_SHAPE = 10.0
"""Of the gamma distribution of single durations: their standard deviation is 1/sqrt(10) of the mean."""
_SHORTEST_BINS = 3
_PAUSE = 0.8
"""Mean pause between words beside an average phoneme; long ones are common."""
_PAUSE_SHAPE = 2.0
_EDGE_BINS = (10, 30)
"""Silence before the first word, and after the last."""
_TOKEN_SPREAD = 0.11
"""How much the same phoneme differs from one time to the next, per unit of noise."""
_COARTICULATION = 0.2
"""Width of the smoothing between neighbours, beside an average phoneme."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sentence as it is spoken once."""

    labels: NDArray[np.int32]
    """Classes, one silence after every word, (n,)."""
    starts: NDArray[np.int64]
    """First bin of each label, (n,)."""
    ends: NDArray[np.int64]
    n_bins: int
    """Bins of the whole trial, silence before and after included."""


def smooth(signal: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Convolve each column with a Gaussian of standard deviation `width` rows; the ends are held, not faded."""
    reach = max(1, int(np.ceil(3 * width)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(width, 1e-3)) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    padded = np.pad(signal, ((reach, reach), (0, 0)), mode="edge")
    result: NDArray[np.float32] = kernel[0] * padded[: len(signal)]
    for shift in range(1, len(kernel)):
        result += kernel[shift] * padded[shift : shift + len(signal)]
    return result


def pronounce(sentence: str, lexicon: Lexicon, rng: np.random.Generator) -> NDArray[np.int32]:
    """Classes of a sentence; every word is followed by silence, the last one too."""
    classes: list[int] = []
    for word in words_of(sentence):
        ways = lexicon.of(word)
        other = len(ways) > 1 and rng.random() < _ALTERNATIVE_SHARE
        way = ways[int(rng.integers(1, len(ways)))] if other else ways[0]
        classes += [CLASS_IDS[phoneme] for phoneme in way] + [SILENCE]
    return np.array(classes, np.int32)


def _mean_bins(labels: NDArray[np.int32], spec: SyntheticSpec) -> NDArray[np.float64]:
    return np.where(labels == SILENCE, _PAUSE, DURATIONS[labels]) * spec.bins_per_phoneme


def expected_bins(sentence: str, lexicon: Lexicon, spec: SyntheticSpec) -> float:
    """Mean length of a sentence's trial, for forecasts of size."""
    labels = [
        c for word in words_of(sentence) for c in (*(CLASS_IDS[p] for p in lexicon.of(word)[0]), SILENCE)
    ]
    return float(_mean_bins(np.array(labels, np.int32), spec).sum()) + sum(_EDGE_BINS)


def utter(sentence: str, lexicon: Lexicon, spec: SyntheticSpec, rng: np.random.Generator) -> Utterance:
    """Draw pronunciations, speaking rate, durations and pauses."""
    labels = pronounce(sentence, lexicon, rng)
    slowness = np.exp(_RATE_SPREAD * rng.standard_normal())
    shape = np.where(labels == SILENCE, _PAUSE_SHAPE, _DURATION_SHAPE)
    drawn = slowness * _mean_bins(labels, spec) * rng.gamma(shape) / shape
    bins = np.maximum(_SHORTEST_BINS, np.rint(drawn)).astype(np.int64)
    lead, tail = rng.integers(*_EDGE_BINS, size=2, endpoint=True)
    ends = lead + np.cumsum(bins)
    return Utterance(labels, ends - bins, ends, int(ends[-1] + tail))


def _own_places(seed: int) -> NDArray[np.float32]:
    places = generator(seed, Stream.SPEECH).standard_normal((N_CLASSES, _OWN_AXES), np.float32)
    places[SILENCE] = 0
    return _OWN_SPREAD * places


def trajectory(utterance: Utterance, spec: SyntheticSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    """Positions and velocities over a trial, (n_bins, N_LATENTS).

    Each phoneme sets targets; smoothing across their borders is what makes neighbours colour each other, and lets
    short phonemes fall short of their target.
    """
    own = _own_places(spec.seed)
    labels = utterance.labels
    wobble = _TOKEN_SPREAD * spec.noise * rng.standard_normal((len(labels), _POSITIONS), np.float32)
    wobble[labels == SILENCE] = 0
    first = np.hstack([ONSETS[labels], own[labels]]) + wobble
    final = np.hstack([OFFSETS[labels], own[labels]]) + wobble
    lengths = utterance.ends - utterance.starts
    token = np.repeat(np.arange(len(labels)), lengths)
    progress = (np.arange(len(token)) - (utterance.starts - utterance.starts[0])[token] + 0.5) / lengths[
        token
    ]
    moved = np.clip((progress - 0.3) / 0.4, 0, 1).astype(np.float32)[:, None]
    targets = np.zeros((utterance.n_bins, _POSITIONS), np.float32)
    targets[utterance.starts[0] : utterance.ends[-1]] = first[token] + moved * (final - first)[token]
    positions = smooth(targets, _COARTICULATION * spec.bins_per_phoneme)
    velocities = np.gradient(positions, axis=0) * np.float32(spec.bins_per_phoneme / 3)
    return np.hstack([positions, velocities.astype(np.float32)])
