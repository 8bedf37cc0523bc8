"""The signal: learnable, neither trivially nor for every day at once, and scaled like the official data."""

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.synthetic import SIZES, SyntheticSpec, Trial, generate_trial
from trainer.synthetic.phonemes import CLASS_IDS, N_CLASSES, OFFSETS, ONSETS, SILENCE

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]

SPEC = SyntheticSpec(sessions=3, train=30, val=8, test=0, max_words=6)


@functools.cache
def trials(spec: SyntheticSpec, session: int, split: str) -> list[Trial]:
    return [generate_trial(spec, session, i, split) for i in range(spec.trials(split))]  # type: ignore[arg-type]


def frames(spec: SyntheticSpec, session: int, split: str) -> Arrays:
    """Features averaged over each spoken phoneme, and its class."""
    means, classes = [], []
    for trial in trials(spec, session, split):
        spoken = trial.utterance
        for label, start, end in zip(spoken.labels, spoken.starts, spoken.ends, strict=True):
            means.append(trial.features[start:end].mean(axis=0))
            classes.append(int(label))
    return np.array(means), np.array(classes)


def readout_error(spec: SyntheticSpec, trained_on: int, tested_on: int) -> float:
    """Share of phonemes that a ridge regression onto classes gets wrong."""
    x, y = frames(spec, trained_on, "train")
    x = np.hstack([x, np.ones((len(x), 1), np.float32)])
    weights = np.linalg.solve(x.T @ x + 50 * np.eye(x.shape[1]), x.T @ np.eye(N_CLASSES)[y])
    new_x, new_y = frames(spec, tested_on, "val")
    guesses = (np.hstack([new_x, np.ones((len(new_x), 1), np.float32)]) @ weights).argmax(axis=1)
    return float((guesses != new_y).mean())


def test_a_linear_readout_learns_a_day_and_does_worse_the_further_it_is_carried() -> None:
    same, next_day, later = (readout_error(SPEC.changed(drift=0.6), 0, session) for session in range(3))
    assert same < 0.45
    assert same + 0.05 < next_day < later


def test_without_drift_a_readout_holds_for_all_days() -> None:
    steady = SPEC.changed(drift=0.0)
    assert readout_error(steady, 0, 2) < readout_error(steady, 0, 0) + 0.08


def test_more_noise_is_harder_at_every_step() -> None:
    errors = [readout_error(SPEC.changed(noise=noise), 0, 0) for noise in (0.3, 1.0, 2.0, 4.0, 8.0)]
    assert errors == sorted(errors)
    assert errors[0] + 0.3 < errors[-1]


def test_features_are_standardised_and_the_two_kinds_differ() -> None:
    x = np.concatenate([trial.features for trial in trials(SPEC, 0, "train")])
    assert x.dtype == np.float32
    crossings, power = x[:, :256], x[:, 256:]
    for half in (crossings, power):
        assert abs(half.mean()) < 0.15
        assert 0.8 < np.median(half.std(axis=0)) < 1.4

    def skew(half: NDArray[np.float32]) -> float:
        return float((((half - half.mean(axis=0)) / half.std(axis=0)) ** 3).mean())

    def lingering(half: NDArray[np.float32]) -> float:
        return float(np.mean([np.corrcoef(c[1:], c[:-1])[0, 1] for c in half.T[::8]]))

    assert skew(power) > 0.5
    assert lingering(power) > lingering(crossings) + 0.1


@pytest.mark.parametrize("noise", [0.0, 0.01, 10.0])
def test_features_stay_finite_and_in_scale_at_the_ends_of_the_noise(noise: float) -> None:
    features = generate_trial(SPEC.changed(noise=noise), 1, 0, "train").features
    assert np.isfinite(features).all()
    assert features.std() < 5


def test_without_noise_nothing_random_is_left_but_the_timing() -> None:
    clean = generate_trial(SPEC.changed(noise=0.0), 0, 0, "train")
    lead = clean.features[: clean.utterance.starts[0] - 6]
    assert len(lead) > 2
    np.testing.assert_allclose(lead, np.broadcast_to(lead[0], lead.shape), atol=1e-5)


def test_electrodes_of_an_array_share_noise_that_others_do_not() -> None:
    silent = [t.features[: t.utterance.starts[0] - 6] for t in trials(SPEC.changed(noise=2.0), 0, "train")]
    x = np.concatenate([s - s.mean(axis=0) for s in silent if len(s) > 3])
    together = np.abs(np.corrcoef(x[:, 256:].T))
    np.fill_diagonal(together, 0)
    within = np.mean([together[a : a + 64, a : a + 64].mean() for a in range(0, 256, 64)])
    between = np.mean([together[a : a + 64, b : b + 64].mean() for a, b in ((0, 64), (64, 128), (128, 192))])
    assert within > 1.1 * between


@pytest.mark.parametrize(
    ("phoneme", "alike"), [("P", "B"), ("T", "D"), ("S", "Z"), ("F", "V"), ("IH", "IY"), ("M", "N")]
)
def test_phonemes_that_sound_alike_lie_near_each_other(phoneme: str, alike: str) -> None:
    places = np.hstack([ONSETS, OFFSETS])[1:SILENCE]
    distances = np.linalg.norm(places - places[CLASS_IDS[phoneme] - 1], axis=1)
    assert distances[CLASS_IDS[alike] - 1] < np.median(distances)


def test_no_two_phonemes_share_a_place() -> None:
    places = np.hstack([ONSETS, OFFSETS])[1:]
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(N_CLASSES - 1)
    assert distances.min() > 0.2


@pytest.mark.parametrize("spec", [SIZES["demo"].changed(sessions=2, train=60), SyntheticSpec.tiny(train=40)])
def test_every_trial_leaves_room_for_an_alignment_at_the_decoders_pace(spec: SyntheticSpec) -> None:
    for trial in trials(spec, 0, "train") + trials(spec, 1, "train"):
        labels = trial.utterance.labels
        repeats = int((labels[1:] == labels[:-1]).sum())
        assert (len(trial.features) - 14) // 4 + 1 >= len(labels) + repeats


def test_speaking_rate_pauses_and_edges_vary() -> None:
    spoken = [trial.utterance for trial in trials(SPEC, 0, "train")]
    assert len({int(u.starts[0]) for u in spoken}) > 8
    pauses = np.concatenate([(u.ends - u.starts)[u.labels == SILENCE] for u in spoken])
    assert pauses.std() > 0.4 * pauses.mean()
    rates = [len(u.labels) / (u.ends[-1] - u.starts[0]) for u in spoken]
    assert max(rates) > 1.3 * min(rates)
