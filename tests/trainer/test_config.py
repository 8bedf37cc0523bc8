from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from trainer.config_checks import check_sessions
from trainer.config_reader import from_mapping, load_config, to_mapping
from trainer.errors import ConfigError


def complaint(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    return str(caught.value)


def test_defaults_survive_a_round_trip_through_yaml() -> None:
    config = load_config(None)
    assert from_mapping(yaml.safe_load(yaml.safe_dump(to_mapping(config)))) == config


def test_an_unknown_field_is_refused_with_its_path_and_the_nearest_name() -> None:
    assert complaint("model.n_unit=3") == "model.n_unit: unknown field; did you mean model.n_units?"
    assert "did you mean model?" in complaint("modle.n_units=3")
    assert complaint("dataset.data_transforms.white_noise=1").endswith(
        "dataset.data_transforms.white_noise_std?"
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.n_units=many", "model.n_units: expected a whole number"),
        ("lr_max=[1]", "lr_max: expected a number"),
        ("early_stopping=3", "early_stopping: expected true or false"),
        ("dataset.sessions=x", "dataset.sessions: expected a list"),
        ("model=3", "model: expected a section"),
        ("lr_scheduler_type=step", "expected one of cosine, linear"),
        ("dataset.must_include_days=[a]", "dataset.must_include_days[0]: expected a whole number"),
    ],
)
def test_a_wrong_type_is_named(override: str, expected: str) -> None:
    assert expected in complaint(override)


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("dataset.loader_shuffle=true", "dataset.loader_shuffle"),
        ("model.input_network.n_input_layers=2", "model.input_network.n_input_layers"),
        ("model.input_network.input_layer_sizes=[256]", "model.input_network.input_layer_sizes"),
        ("model.rnn_dropout=1.0", "model.rnn_dropout"),
        ("dataset.sessions=[a, b, a]", "dataset.sessions: a is named twice"),
        ("dataset.neural_dim=256", "dataset.neural_dim"),
        ("dataset.feature_subset=[1, 2]", "dataset.feature_subset"),
        ("dataset.data_transforms.random_walk_axis=0", "random_walk_axis"),
        ("dataset.must_include_days=[1, 2, 3, 4, 5]", "dataset.must_include_days"),
        ("init_from_checkpoint=true", "init_checkpoint_path"),
        ("compute.device=tpu", "compute.device"),
        ("num_training_batches=0", "num_training_batches"),
        ("num_training_batches=1e30", "must be at most 1e+12"),
        ("lr_max=0", "lr_max"),
        ("lr_max=.inf", "lr_max: inf is not a number to compute with"),
        ("grad_norm_clip_value=.nan", "grad_norm_clip_value: nan is not"),
        ("lr_min=1", "lr_min: 1 is above lr_max, 0.005"),
        ("lr_min_day=1", "lr_min_day: 1 is above lr_max_day, 0.005"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(override: str, field: str) -> None:
    assert field in complaint(override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("dataset.days_per_batch=4", "dataset.days_per_batch: 4 sessions per batch, but the data has 3"),
        ("dataset.must_include_days=[3]", "dataset.must_include_days: there is no session 3 among 3"),
        ("dataset.must_include_days=[-4]", "dataset.must_include_days: there is no session -4 among 3"),
        ("dataset.must_include_days=[2, -1]", "dataset.must_include_days: names a session twice"),
        (
            "dataset.dataset_probability_val=[1, 0]",
            "dataset.dataset_probability_val: has 2 entries for 3 sessions",
        ),
    ],
)
def test_what_the_sessions_that_were_found_do_not_allow_is_refused_by_name(
    override: str, expected: str
) -> None:
    config = load_config(None, ["dataset.days_per_batch=2", override])
    with pytest.raises(ConfigError) as caught:
        check_sessions(config, ("a", "b", "c"))
    assert str(caught.value) == expected


def test_overrides_win_over_the_file_and_numbers_may_be_written_loosely(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("lr_max: 1e-3\ngpu_number: '1'\ninit_checkpoint_path: None\nnum_training_batches: 10\n")
    config = load_config(path, ["num_training_batches=12"])
    assert (config.lr_max, config.gpu_number, config.init_checkpoint_path) == (0.001, 1, None)
    assert config.num_training_batches == 12


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        load_config(path)


def test_a_field_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    """YAML itself would take the last one in silence."""
    path = tmp_path / "c.yaml"
    path.write_text("model:\n  n_units: 4\n  n_layers: 1\n  n_units: 5\n")
    with pytest.raises(ConfigError, match=f"{path}: n_units: given twice, the second time in line 4"):
        load_config(path)


def test_a_section_may_be_merged_into_others_and_keep_fields_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "model: &m\n  <<: &base {n_units: 4, n_layers: 1}\n  n_units: 5\n"
        "dataset: {data_transforms: {<<: &t {random_cut: 2, white_noise_std: 1.0}, random_cut: 3}}\n"
    )
    config = load_config(path)
    assert (config.model.n_units, config.model.n_layers) == (5, 1)
    assert config.dataset.data_transforms.random_cut == 3


def test_the_official_file_is_read_unchanged(tmp_path: Path) -> None:
    """Every key of the official rnn_args.yaml, with its values, in its form."""
    sessions = [f"t15.2023.08.{day:02d}" for day in range(1, 46)]
    tree = {
        "model": {
            "n_input_features": 512, "n_units": 768, "rnn_dropout": 0.4, "rnn_trainable": True, "n_layers": 5,
            "patch_size": 14, "patch_stride": 4,
            "input_network": {
                "n_input_layers": 1, "input_layer_sizes": [512], "input_trainable": True, "input_layer_dropout": 0.2
            },
        },
        "gpu_number": "1", "mode": "train", "use_amp": True, "output_dir": "trained_models/baseline_rnn",
        "checkpoint_dir": "trained_models/baseline_rnn/checkpoint", "init_from_checkpoint": False,
        "init_checkpoint_path": "None", "save_best_checkpoint": True, "save_all_val_steps": False,
        "save_final_model": False, "save_val_metrics": True, "early_stopping": False, "early_stopping_val_steps": 20,
        "num_training_batches": 120000, "lr_scheduler_type": "cosine", "lr_max": 0.005, "lr_min": 0.0001,
        "lr_decay_steps": 120000, "lr_warmup_steps": 1000, "lr_max_day": 0.005, "lr_min_day": 0.0001,
        "lr_decay_steps_day": 120000, "lr_warmup_steps_day": 1000, "beta0": 0.9, "beta1": 0.999, "epsilon": 0.1,
        "weight_decay": 0.001, "weight_decay_day": 0, "seed": 10, "grad_norm_clip_value": 10,
        "batches_per_train_log": 200, "batches_per_val_step": 2000, "batches_per_save": 0,
        "log_individual_day_val_PER": True, "log_val_skip_logs": False, "save_val_logits": True, "save_val_data": False,
        "dataset": {
            "data_transforms": {
                "white_noise_std": 1.0, "constant_offset_std": 0.2, "random_walk_std": 0.0, "random_walk_axis": -1,
                "static_gain_std": 0.0, "random_cut": 3, "smooth_kernel_size": 100, "smooth_data": True,
                "smooth_kernel_std": 2,
            },
            "neural_dim": 512, "batch_size": 64, "n_classes": 41, "max_seq_elements": 500, "days_per_batch": 4,
            "seed": 1, "num_dataloader_workers": 4, "loader_shuffle": False, "must_include_days": None,
            "test_percentage": 0.1, "feature_subset": None, "dataset_dir": "../data/hdf5_data_final",
            "bad_trials_dict": None, "sessions": sessions, "dataset_probability_val": [0] + [1] * 44,
        },
    }  # fmt: skip
    path = tmp_path / "rnn_args.yaml"
    path.write_text(yaml.safe_dump(tree))
    config = load_config(path)
    assert config.dataset.sessions == tuple(sessions)
    assert config.model.n_units == 768
    assert config.epsilon == 0.1
