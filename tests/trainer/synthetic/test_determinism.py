"""Everything is a function of the specification and the place in it, and of nothing else."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trainer.synthetic import BadSpec, SyntheticSpec, generate_trial, write_dataset
from trainer.synthetic.spec import SPLITS

SPEC = SyntheticSpec.tiny()
DIGEST = """
import hashlib, sys
from trainer.synthetic import SyntheticSpec, generate_trial
for place in (1, 5), (0, 2), (1, 0):
    print(hashlib.sha256(generate_trial(SyntheticSpec.tiny(), *place, "train").features.tobytes()).hexdigest())
"""


def digests(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file()
    }


def test_two_writings_are_equal_byte_for_byte_whatever_the_number_of_workers(
    tiny: Path, tmp_path: Path
) -> None:
    write_dataset(tmp_path / "again", SPEC, workers=3)
    assert digests(tmp_path / "again") == digests(tiny)


def test_a_trial_does_not_depend_on_what_was_generated_before_it_nor_on_threads() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    here = [generate_trial(SPEC, *place, "train") for place in ((1, 0), (0, 2), (1, 5))]
    expected = [hashlib.sha256(trial.features.tobytes()).hexdigest() for trial in reversed(here)]
    assert run.stdout.split() == expected


def test_training_trials_stay_the_same_when_the_set_grows() -> None:
    grown = SPEC.changed(sessions=3, train=9, val=4)
    for place in ((0, 3), (1, 5)):
        before, after = generate_trial(SPEC, *place, "train"), generate_trial(grown, *place, "train")
        assert before.sentence == after.sentence
        np.testing.assert_array_equal(before.features, after.features)


def test_seed_session_trial_and_split_each_change_the_signal() -> None:
    trials = [generate_trial(SPEC, s, t, split) for s in (0, 1) for t in (0, 1) for split in SPLITS]
    trials += [generate_trial(SPEC.changed(seed=1), 0, 0, "train")]
    assert len({trial.features.tobytes() for trial in trials}) == len(trials)


@pytest.mark.parametrize(("session", "trial"), [(2, 0), (-1, 0), (0, 6), (0, -1)])
def test_a_place_outside_of_the_specification_is_refused(session: int, trial: int) -> None:
    with pytest.raises(BadSpec, match="there is no train trial"):
        generate_trial(SPEC, session, trial, "train")
