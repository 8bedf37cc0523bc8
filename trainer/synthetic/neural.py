"""From articulation to 512 features: what an implanted array would report, one row every 20 ms.

Columns 0-255 are threshold crossings, 256-511 spike band power of the same 256 electrodes, which sit in four arrays
of 64. Crossings are Poisson counts whose log rate follows the trajectory; power is continuous, skewed and smoother.
Both are standardised as the official data are, so that a feature has mean 0 and deviation about 1 over a session.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.synthetic.lexicon import builtin_lexicon
from trainer.synthetic.seeding import Stream, generator
from trainer.synthetic.sentences import everyday_sentences
from trainer.synthetic.spec import SyntheticSpec
from trainer.synthetic.speech import N_LATENTS, smooth, trajectory, utter

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["N_FEATURES", "Recording", "recording", "signal"]

N_ELECTRODES = 256
N_FEATURES = 2 * N_ELECTRODES
N_ARRAYS = 4

_ARRAY_DEPTH = (1.0, 0.9, 0.5, 0.7)
"""How strongly each array is tuned to speech: ventral 6v, area 4, 55b, dorsal 6v."""
_DEPTH = 0.36
"""Standard deviation of an electrode's log rate due to speech, before the array's factor."""
_UNTUNED_SHARE = 0.15
_RATE_RANGE = (0.15, 1.5)
"""Counts per bin at rest: 7 to 75 crossings a second."""
_POWER_NOISE = 0.45
"""Of power in one bin, beside its mean."""
_COMMON_NOISE = 0.15
"""Log rate shared by all electrodes of an array; three signals each."""
_COMMON_SIGNALS = 3
_COMMON_WIDTH = 3.0
_DRIFT_NOISE = 0.3
"""Slow wandering within a trial, in standard deviations."""
_DRIFT_SIGNALS = 6
_DRIFT_WIDTH = 60.0
_SESSION_GAIN = 0.15
_SESSION_OFFSET = 0.25
_LOG_RATE_LIMIT = 2.5
_LEAST_NOISE = 0.3
"""Below this the scale of features no longer follows the noise, or untuned electrodes would be blown up."""
_REFERENCE_SENTENCES = 40
_USUAL_DRIFT = 0.4
"""The drift at which the spreads above hold."""


@dataclass(frozen=True, slots=True)
class Recording:
    """How the electrodes hear speech on one day."""

    tuning: NDArray[np.float32]
    """Weights of the log rate of crossings, then of power, (N_LATENTS, 512)."""
    rest: NDArray[np.float32]
    """Counts per bin at rest, (256,)."""
    level_mean: NDArray[np.float32]
    level_square: NDArray[np.float32]
    """Mean and mean square over speech of the factor by which activity rises above rest, (512,)."""
    common: NDArray[np.float32]
    """Weights of the signals that electrodes of an array share, (12, 512)."""
    wander: NDArray[np.float32]
    """Weights of the slow signals, (6, 512)."""
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    """What standardisation of a whole day leaves uncorrected, (512,) each."""

    def mean(self) -> NDArray[np.float32]:
        """Mean of raw features, counts then power, (512,)."""
        mean: NDArray[np.float32] = self.level_mean * np.concatenate([self.rest, np.ones_like(self.rest)])
        return mean

    def deviation(self, noise: float) -> NDArray[np.float32]:
        """Standard deviation of raw features at a level of noise, (512,); never 0, so that silence stays finite."""
        spread = self.level_square - self.level_mean**2
        counts, power = spread[:N_ELECTRODES] * self.rest**2, spread[N_ELECTRODES:]
        noise = max(noise, _LEAST_NOISE)
        counts = counts + noise**2 * self.rest * self.level_mean[:N_ELECTRODES]
        power = power + np.expm1((noise * _POWER_NOISE) ** 2) * self.level_square[N_ELECTRODES:]
        deviation: NDArray[np.float32] = np.sqrt(np.concatenate([counts, power]))
        return deviation


@dataclass(frozen=True, slots=True)
class _Implant:
    depth: NDArray[np.float32]
    rest: NDArray[np.float32]
    common: NDArray[np.float32]
    wander: NDArray[np.float32]


@functools.lru_cache(maxsize=4)
def _implant(seed: int) -> _Implant:
    """What stays the same on all days: where the electrodes are."""
    rng = generator(seed, Stream.BRAIN)
    array_of = np.repeat(np.arange(N_ARRAYS), N_ELECTRODES // N_ARRAYS)
    depth = _DEPTH * np.array(_ARRAY_DEPTH)[array_of] * rng.lognormal(-0.1, 0.45, N_ELECTRODES)
    depth[rng.random(N_ELECTRODES) < _UNTUNED_SHARE] = 0
    low, high = np.log(_RATE_RANGE)
    rest = np.exp(rng.uniform(low, high, N_ELECTRODES))
    member = np.repeat(np.eye(N_ARRAYS), _COMMON_SIGNALS, axis=0)[:, array_of]
    common = _COMMON_NOISE * member * rng.standard_normal((N_ARRAYS * _COMMON_SIGNALS, N_ELECTRODES))
    wander = _DRIFT_NOISE * rng.standard_normal((_DRIFT_SIGNALS, N_FEATURES)) / np.sqrt(_DRIFT_SIGNALS)
    return _Implant(
        np.tile(depth, 2).astype(np.float32),
        rest.astype(np.float32),
        np.tile(common, 2).astype(np.float32),
        wander.astype(np.float32),
    )


@functools.lru_cache(maxsize=64)
def _directions(seed: int, drift: float, session: int) -> NDArray[np.float32]:
    """Preferred directions of all features on one day, (N_LATENTS, 512), unit columns.

    Each day keeps sqrt(1 - drift²) of the day before and turns the rest elsewhere, so days far apart share less.
    """
    rng = generator(seed, Stream.SESSION, session)
    # Power hears the neurons that cross the threshold, and others farther away.
    crossings, others = rng.standard_normal((2, N_LATENTS, N_ELECTRODES), np.float32)
    fresh = np.hstack([crossings, 0.7 * crossings + 0.7 * others])
    if session:
        fresh = np.sqrt(1 - drift**2) * _directions(seed, drift, session - 1) + drift * _unit(fresh)
    return _unit(fresh).astype(np.float32)


def _unit(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.linalg.norm(columns, axis=0, keepdims=True)
    return columns / lengths


@functools.lru_cache(maxsize=4)
def _reference(seed: int) -> NDArray[np.float32]:
    """Latents of some everyday sentences, against which tuning and features are scaled."""
    spec = SyntheticSpec(seed=seed, noise=0)
    rng = generator(seed, Stream.BRAIN, 1)
    spoken = everyday_sentences("train")[:_REFERENCE_SENTENCES]
    return np.concatenate([trajectory(utter(s, builtin_lexicon(), spec, rng), spec, rng) for s in spoken])


@functools.lru_cache(maxsize=64)
def recording(seed: int, drift: float, session: int) -> Recording:
    """The implant on one day. Without drift every day is the same."""
    implant, latents = _implant(seed), _reference(seed)
    for earlier in range(0, session, 16):  # keeps the recursion shallow
        _directions(seed, drift, earlier)
    directions = _directions(seed, drift, session)
    tuning = directions * (implant.depth / (latents @ directions).std(axis=0)).round(5)
    level = np.exp(np.clip(latents @ tuning, -_LOG_RATE_LIMIT, _LOG_RATE_LIMIT))
    rng = generator(seed, Stream.SESSION, session, 1)
    change = drift / _USUAL_DRIFT
    rest = implant.rest * np.exp(np.float32(0.1 * change) * rng.standard_normal(N_ELECTRODES, np.float32))
    return Recording(
        tuning=tuning,
        rest=rest,
        level_mean=level.mean(axis=0).round(5),
        level_square=(level**2).mean(axis=0).round(5),
        common=implant.common,
        wander=implant.wander,
        gain=np.exp(np.float32(_SESSION_GAIN * change) * rng.standard_normal(N_FEATURES, np.float32)),
        offset=np.float32(_SESSION_OFFSET * change) * rng.standard_normal(N_FEATURES, np.float32),
    )


def _unit_noise(rng: np.random.Generator, n_bins: int, count: int, width: float) -> NDArray[np.float32]:
    """Smooth stationary Gaussian signals of variance about 1, (n_bins, count)."""
    margin = int(np.ceil(3 * width))
    white = rng.standard_normal((n_bins + 2 * margin, count), np.float32)
    unit = np.float32(np.sqrt(2 * np.sqrt(np.pi) * width))
    noise: NDArray[np.float32] = smooth(white, width)[margin : margin + n_bins] * unit
    return noise


def _mix(signals: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    # Not BLAS: its results can differ in the last bit with the number of threads.
    mixed: NDArray[np.float32] = np.einsum("tk,kf->tf", signals, weights)
    return mixed


def signal(
    latents: NDArray[np.float32], day: Recording, spec: SyntheticSpec, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Features of a trial, float32 (n_bins, 512); `spec.noise` scales every random part of them."""
    n_bins, noise = len(latents), np.float32(spec.noise)
    common = _unit_noise(rng, n_bins, len(day.common), _COMMON_WIDTH)
    log_rate = _mix(latents, day.tuning) + noise * _mix(common, day.common)
    rate = np.exp(np.clip(log_rate, -_LOG_RATE_LIMIT, _LOG_RATE_LIMIT))
    features = np.empty((n_bins, N_FEATURES), np.float32)
    features[:, :N_ELECTRODES] = _crossings(rate[:, :N_ELECTRODES] * day.rest, noise, rng)
    features[:, N_ELECTRODES:] = _power(rate[:, N_ELECTRODES:], noise, rng)
    features -= day.mean()
    features /= day.deviation(spec.noise)
    slow = _unit_noise(rng, n_bins, len(day.wander), _DRIFT_WIDTH)
    features += noise * _mix(slow, day.wander)
    return features * day.gain + day.offset


def _crossings(rate: NDArray[np.float32], noise: np.float32, rng: np.random.Generator) -> NDArray[np.float32]:
    counts = rng.poisson(rate).astype(np.float32)
    crossings: NDArray[np.float32] = rate + noise * (counts - rate)
    return crossings


def _power(level: NDArray[np.float32], noise: np.float32, rng: np.random.Generator) -> NDArray[np.float32]:
    # Half of the noise lingers from one bin to the next.
    white = rng.standard_normal((len(level) + 1, N_ELECTRODES), np.float32)
    spread = noise * np.float32(_POWER_NOISE * np.sqrt(0.5))
    power: NDArray[np.float32] = level * np.exp(spread * (white[1:] + white[:-1]) - spread**2)
    return power
