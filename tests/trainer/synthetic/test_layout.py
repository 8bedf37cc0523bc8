"""What lies on disk is what readers of the Brain-to-Text data expect."""

import csv
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from trainer.synthetic import SyntheticSpec, builtin_lexicon, is_synthetic
from trainer.synthetic.phonemes import BLANK, CLASS_IDS, N_CLASSES, PHONEMES, SILENCE
from trainer.synthetic.sentences import words_of
from trainer.synthetic.spec import Split

SPEC = SyntheticSpec.tiny()


def data_file(root: Path, session: int, split: str) -> Path:
    return root / "hdf5_data_final" / SPEC.session_names()[session] / f"data_{split}.hdf5"


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("session", [0, 1])
def test_trials_are_numbered_groups_with_features_and_attributes(
    tiny: Path, session: int, split: Split
) -> None:
    with h5py.File(data_file(tiny, session, split)) as file:
        assert list(file) == [f"trial_{i:04d}" for i in range(SPEC.trials(split))]
        for group in file.values():
            features = group["input_features"]
            assert features.dtype == np.float32
            assert features.shape == (group.attrs["n_time_steps"], 512)
            assert np.isfinite(features[:]).all()
            assert isinstance(group.attrs["n_time_steps"], np.int64)
            assert isinstance(group.attrs["block_num"], np.int64)
            assert isinstance(group.attrs["trial_num"], np.int64)
            assert group.attrs["session"] == SPEC.session_names()[session]


@pytest.mark.parametrize("split", ["train", "val"])
def test_labelled_splits_carry_padded_labels_and_text(tiny: Path, split: str) -> None:
    with h5py.File(data_file(tiny, 0, split)) as file:
        for group in file.values():
            labels, text = group["seq_class_ids"], group["transcription"]
            assert labels.shape == text.shape == (500,)
            assert labels.dtype == text.dtype == np.int32
            length = group.attrs["seq_len"]
            assert isinstance(length, np.int64)
            assert (labels[:length] > BLANK).all()
            assert (labels[:length] < N_CLASSES).all()
            assert (labels[length:] == 0).all()
            end = int(np.argmax(text[:] == 0))
            assert "".join(map(chr, text[:end])) == group.attrs["sentence_label"]
            assert (text[end:] == 0).all()


def test_the_test_split_carries_no_label_of_any_kind(tiny: Path) -> None:
    with h5py.File(data_file(tiny, 1, "test")) as file:
        for group in file.values():
            assert list(group) == ["input_features"]
            assert sorted(group.attrs) == ["block_num", "n_time_steps", "session", "trial_num"]


def test_class_order_is_the_official_one() -> None:
    assert tuple(sorted(PHONEMES)) == PHONEMES
    assert len(PHONEMES) == 39
    assert (BLANK, CLASS_IDS["AA"], CLASS_IDS["ZH"], SILENCE, N_CLASSES) == (0, 1, 39, 40, 41)


def test_labels_spell_the_sentence_with_a_silence_after_every_word(tiny: Path) -> None:
    lexicon = builtin_lexicon()
    names = dict(enumerate(PHONEMES, start=1))
    with h5py.File(data_file(tiny, 0, "train")) as file:
        for group in file.values():
            labels = group["seq_class_ids"][: group.attrs["seq_len"]]
            assert labels[-1] == SILENCE
            spoken = np.split(labels, np.flatnonzero(labels == SILENCE) + 1)[:-1]
            words = words_of(group.attrs["sentence_label"])
            assert len(spoken) == len(words)
            for word, classes in zip(words, spoken, strict=True):
                assert tuple(names[c] for c in classes[:-1]) in lexicon.of(word)


def test_blocks_and_trial_numbers_name_a_trial_once_and_the_table_knows_every_block(tiny: Path) -> None:
    seen: list[tuple[int, int]] = []
    for split in ("train", "val", "test"):
        with h5py.File(data_file(tiny, 0, split)) as file:
            seen += [(int(g.attrs["block_num"]), int(g.attrs["trial_num"])) for g in file.values()]
    assert len(set(seen)) == len(seen)
    with (tiny / "t15_copyTaskData_description.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Date"] == "2001-01-05"]
    counts = {int(row["Block number"]): int(row["Number of sentences"]) for row in rows}
    assert counts == {block: sum(b == block for b, _ in seen) for block, _ in seen}
    assert all(row["Corpus"].startswith("Synthetic") for row in rows)


def test_session_names_are_dates_in_order_and_the_same_for_every_seed() -> None:
    names = SyntheticSpec(sessions=60).session_names()
    assert all(re.fullmatch(r"t15\.20\d\d\.\d\d\.\d\d", name) for name in names)
    assert sorted(set(names)) == list(names)
    assert SyntheticSpec(sessions=60, seed=9).session_names() == names


def test_every_file_and_the_folder_say_that_they_are_synthetic(tiny: Path, tmp_path: Path) -> None:
    files = sorted(tiny.rglob("*.hdf5"))
    assert len(files) == 6
    assert all(is_synthetic(path) for path in files)
    record = json.loads((tiny / "synthetic.json").read_text())
    assert record["synthetic"] is True
    assert record["spec"] == SPEC.parameters()
    assert record["sessions"] == list(SPEC.session_names())
    with h5py.File(tmp_path / "real.hdf5", "w") as file:
        file.create_group("trial_0000")
    assert not is_synthetic(tmp_path / "real.hdf5")


def test_the_trainer_reads_every_file(tiny: Path) -> None:
    from trainer.hdf5 import Expectation, iterate_trials

    for path in tiny.rglob("*.hdf5"):
        labelled = "test" not in path.name
        expected = Expectation(neural_dim=512, n_classes=41, max_seq_elements=500, labelled=labelled)
        trials = list(iterate_trials(path, expected))
        assert len(trials) == SPEC.trials(path.stem.removeprefix("data_"))  # type: ignore[arg-type]
        assert all(features.shape == (trial.num_bins, 512) for trial, features in trials)
