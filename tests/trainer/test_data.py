from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.trainer.conftest import CHANNELS, SESSIONS, TINY, write_split, write_trial
from trainer.config import Config
from trainer.config_reader import from_mapping
from trainer.corpus import Corpus, load_corpus
from trainer.errors import ConfigError, DataError
from trainer.hdf5 import Expectation
from trainer.pack import HdfSource, PackedSource, open_source
from trainer.sessions import data_root, find_sessions

EXPECTED = Expectation(neural_dim=CHANNELS, n_classes=5, max_seq_elements=20)


@pytest.fixture
def data(own_data: Path) -> Path:
    """Most tests here spoil some of it."""
    return own_data


def tiny_config(**dataset: object) -> Config:
    return from_mapping({**TINY, "dataset": {**TINY["dataset"], **dataset}})  # type: ignore[dict-item]


def load(
    root: Path, config: Config | None = None, split: str = "train", to_train: bool = False
) -> tuple[Corpus, list[str]]:
    said: list[str] = []
    sessions, config = find_sessions(root, ()), config or tiny_config()
    corpus = load_corpus(config, root, sessions, split, cache_dir=None, say=said.append, to_train=to_train)
    return corpus, said


def complaint_about(root: Path, config: Config | None = None) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        load(root, config, to_train=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(root: Path, **changes: object) -> Path:
    """Replace the second trial of the second session by one with `changes`."""
    path = root / SESSIONS[1] / "data_train.hdf5"
    with h5py.File(path, "a") as file:
        del file["trial_0001"]
        write_trial(file, 1, np.random.default_rng(0), **changes)  # type: ignore[arg-type]
    return path


def nan_features() -> np.ndarray:
    features = np.zeros((30, CHANNELS), dtype=np.float32)
    features[7, 3] = np.nan
    return features


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"input_features": nan_features(), "n_time_steps": 30},
            "input_features holds nan at bin 7, channel 3",
        ),
        (
            {"input_features": np.zeros((30, 4), np.float32)},
            "input_features is 30×4, expected 8 channels wide",
        ),
        ({"n_time_steps": 0}, "has no time bins"),
        ({"input_features": np.zeros((0, CHANNELS), np.float32)}, "has no time bins"),
        ({"n_time_steps": 400}, "n_time_steps is 400 but input_features has"),
        ({"n_time_steps": None}, "lacks the attribute n_time_steps"),
        ({"seq_len": None}, "lacks the attribute seq_len"),
        ({"sentence_label": None}, "lacks the attribute sentence_label"),
        ({"block_num": "first"}, "attribute block_num is not a number: 'first'"),
        ({"seq_class_ids": np.full(20, 9), "seq_len": 3}, "seq_class_ids[0] is 9, expected 1 to 4"),
        ({"seq_class_ids": np.zeros(20, np.int32), "seq_len": 3}, "seq_class_ids[0] is 0, expected 1 to 4"),
        ({"seq_len": 25}, "seq_len is 25 but seq_class_ids has shape (20,)"),
        ({"seq_class_ids": np.full(20, 2.5), "seq_len": 3}, "seq_class_ids[0] is 2.5, expected 1 to 4"),
        ({"seq_class_ids": np.full(20, b"AA")}, "seq_class_ids holds values of type |S2, expected numbers"),
        (
            {"input_features": np.zeros((30, CHANNELS), np.complex64)},
            "input_features holds values of type complex64",
        ),
        ({"input_features": np.zeros(30)}, "input_features has shape (30,), expected 2 dimensions"),
        ({"n_time_steps": 24.5}, "attribute n_time_steps is 24.5, expected a whole number"),
        ({"n_time_steps": np.float32(24.5)}, "attribute n_time_steps is 24.5, expected a whole number"),
        ({"seq_len": float("nan")}, "attribute seq_len is not a number"),
    ],
)
def test_a_bad_trial_is_one_line_with_file_trial_and_field(
    data: Path, changes: dict[str, object], expected: str
) -> None:
    path = rewrite(data, **changes)
    message = complaint_about(data)
    assert message.startswith(f"{path}: trial_0001")
    assert expected in message


def test_a_truncated_file_is_named(data: Path) -> None:
    path = data / SESSIONS[0] / "data_train.hdf5"
    os.truncate(path, path.stat().st_size // 2)
    assert str(path) in complaint_about(data)


def test_a_missing_dataset_is_named(data: Path) -> None:
    path = data / SESSIONS[0] / "data_train.hdf5"
    with h5py.File(path, "a") as file:
        del file["trial_0003/seq_class_ids"]
    assert complaint_about(data) == f"{path}: trial_0003 lacks the dataset seq_class_ids"


def test_a_file_without_trials_is_refused(data: Path) -> None:
    path = data / SESSIONS[0] / "data_train.hdf5"
    path.unlink()
    with h5py.File(path, "w") as file:
        file.create_group("something")
    assert complaint_about(data) == f"{path}: holds no trial_NNNN groups"


def test_session_folders_are_found_sorted_and_checked(data: Path) -> None:
    assert find_sessions(data, ()) == SESSIONS
    (data / SESSIONS[2] / "data_train.hdf5").unlink()
    with pytest.raises(DataError, match=f"session {SESSIONS[2]} has no training data"):
        find_sessions(data, ())
    with pytest.raises(DataError, match="has no folder"):
        find_sessions(data, ("t15.1999.01.01",))


def test_the_data_folder_may_contain_the_official_one(data: Path, tmp_path: Path) -> None:
    outer = tmp_path / "download"
    shutil.move(str(data), outer / "hdf5_data_final")
    assert data_root(outer) == outer / "hdf5_data_final"
    with pytest.raises(DataError, match="does not exist"):
        data_root(tmp_path / "nowhere")


def test_a_session_without_validation_file_is_left_out_of_validation(data: Path) -> None:
    (data / SESSIONS[1] / "data_val.hdf5").unlink()
    corpus, _ = load(data, split="val")
    assert sorted(corpus.by_day) == [0, 2]


def test_bad_trials_are_left_out(data: Path) -> None:
    config = tiny_config(bad_trials_dict={SESSIONS[0]: {"1": [0, 3]}})
    corpus, _ = load(data, config)
    names = [corpus.trials[p].trial.name for p in corpus.by_day[0]]
    assert names == ["trial_0001", "trial_0002", *[f"trial_{i:04d}" for i in range(4, 8)]]


def test_labels_longer_than_the_output_are_left_out_with_a_count(data: Path) -> None:
    labels = np.asarray([1, 1, 1, 1, 2, 2, 2, 2] + [0] * 12)
    rewrite(data, bins=16, seq_class_ids=labels, seq_len=8)
    corpus, said = load(data)
    assert corpus.num_skipped == 1
    assert len(corpus) == 23
    assert "1 of 24 training trials have more labels than outputs" in said[0]


def test_many_overlong_trials_are_refused(data: Path) -> None:
    labels = np.asarray([1, 1, 1, 1, 2, 2, 2, 2] + [0] * 12)
    rewrite(data, bins=16, seq_class_ids=labels, seq_len=8)
    config = from_mapping({**TINY, "safety": {"max_skipped_fraction": 0.01}})
    assert "1 of 24 training trials" in complaint_about(data, config)


def test_a_session_of_which_every_trial_is_left_out_is_refused_for_training_alone(data: Path) -> None:
    dataset = {"bad_trials_dict": {SESSIONS[1]: {"1": [0, 1, 2, 3], "2": [4, 5, 6, 7]}}}
    config = from_mapping({**TINY, "dataset": {**TINY["dataset"], **dataset}})  # type: ignore[dict-item]
    assert complaint_about(data, config) == f"no training trial is left in session {SESSIONS[1]}"
    assert set(load(data, config)[0].by_day) == {0, 2}  # as for `evaluate --split train`


def test_what_stands_where_a_group_or_a_dataset_belongs_is_named(data: Path) -> None:
    path = data / SESSIONS[0] / "data_train.hdf5"
    with h5py.File(path, "a") as file:
        del file["trial_0001/input_features"]
        file.create_group("trial_0001/input_features")
    assert complaint_about(data) == f"{path}: trial_0001 lacks the dataset input_features"
    with h5py.File(path, "a") as file:
        del file["trial_0001"]
        file["trial_0001"] = 3
    assert complaint_about(data) == f"{path}: trial_0001 is no group of datasets"


def test_a_patch_that_does_not_fit_names_the_shortest_trial(data: Path) -> None:
    path = rewrite(data, bins=12, seq_class_ids=np.asarray([1] + [0] * 19), seq_len=1)
    config = from_mapping({**TINY, "model": {**TINY["model"], "patch_size": 11}})  # type: ignore[dict-item]
    message = complaint_about(data, config)
    assert "model.patch_size: 11 bins do not fit" in message
    assert f"{path}: trial_0001" in message


def test_packed_and_direct_reading_give_the_same_numbers(data: Path, tmp_path: Path) -> None:
    path = data / SESSIONS[0] / "data_train.hdf5"
    packed = open_source(path, EXPECTED, tmp_path / "cache", pytest.fail, reserve_bytes=0)
    direct = open_source(path, EXPECTED, None, pytest.fail)
    assert isinstance(packed, PackedSource)
    assert isinstance(direct, HdfSource)
    again = open_source(path, EXPECTED, tmp_path / "cache", pytest.fail, reserve_bytes=0)
    for index in range(len(direct.trials)):
        np.testing.assert_array_equal(packed.features(index), direct.features(index))
        np.testing.assert_array_equal(again.features(index), direct.features(index))
        np.testing.assert_array_equal(again.trials[index].labels, direct.trials[index].labels)


def test_the_cache_follows_its_source_and_forgets_the_old_copy(data: Path, tmp_path: Path) -> None:
    path, cache = data / SESSIONS[0] / "data_train.hdf5", tmp_path / "cache"
    first = open_source(path, EXPECTED, cache, pytest.fail, reserve_bytes=0).features(0).copy()
    write_split(path, 5, seed=99)
    os.utime(path, ns=(1, 1))
    changed = open_source(path, EXPECTED, cache, pytest.fail, reserve_bytes=0)
    assert len(changed.trials) == 5
    assert changed.features(0).shape != first.shape or not np.array_equal(changed.features(0), first)
    assert len(list(cache.iterdir())) == 2


def test_a_damaged_packed_trial_is_read_from_its_source(data: Path, tmp_path: Path) -> None:
    path, cache = data / SESSIONS[0] / "data_train.hdf5", tmp_path / "cache"
    truth = open_source(path, EXPECTED, None, pytest.fail).features(0)
    open_source(path, EXPECTED, cache, pytest.fail, reserve_bytes=0)
    (packed,) = cache.glob("*.f32")
    with packed.open("r+b") as file:
        file.write(b"\xff\xff\xff\xff")
    said: list[str] = []
    source = open_source(path, EXPECTED, cache, said.append, reserve_bytes=0)
    np.testing.assert_array_equal(source.features(0), truth)
    assert "damaged" in said[0]
    healed = open_source(path, EXPECTED, cache, pytest.fail, reserve_bytes=0)
    np.testing.assert_array_equal(healed.features(0), truth)


def test_without_room_the_files_are_read_directly_and_the_reason_is_said(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    path = data / SESSIONS[0] / "data_train.hdf5"
    source = open_source(path, EXPECTED, tmp_path / "cache", said.append, reserve_bytes=1 << 60)
    assert isinstance(source, HdfSource)
    assert "GiB free" in said[0]
    assert not list((tmp_path / "cache").iterdir())
