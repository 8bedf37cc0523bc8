"""Whole runs in this process, through the command line."""

from __future__ import annotations

import csv
import json
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from tests.forking import Fork
from tests.trainer.conftest import SESSIONS, Runs, Start, command, last_step, trainer, wait_until
from trainer.checkpoint import load, step_files
from trainer.cli import main
from trainer.metrics import StepRow
from trainer.observers import SystemTable

Train = Callable[..., tuple[int, str]]
LESS_OFTEN = ("--set", "batches_per_save=0", "--set", "batches_per_val_step=30")


@pytest.fixture
def train(config_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    def run(
        *overrides: str, folder: str = "run", options: tuple[str, ...] = (), on: Path = data
    ) -> tuple[int, str]:
        sets = [part for text in overrides for part in ("--set", text)]
        code = main(command(config_file, on, tmp_path / folder, *sets, *options)[3:])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def all_rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def rows(run: Path) -> list[dict[str, str]]:
    """The lines of steps: all but the validation before the first one."""
    return [row for row in all_rows(run) if row["step"] != "0"]


def test_the_curve_starts_with_the_model_before_its_first_step(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_METRICS_FILE", str(tmp_path / "numbers.jsonl"))
    code, output = train("early_stopping=true")
    assert code == 0
    assert "validation at step 0: PER" in output
    assert "validation at step 0: PER" in (tmp_path / "run" / "training_log").read_text()
    first = all_rows(tmp_path / "run")[0]
    assert {name for name, cell in first.items() if cell} == {
        "step", "epoch", "skipped_steps", "val_loss", "val_per"
    }  # fmt: skip
    assert float(first["val_per"]) > 0.6
    told = json.loads((tmp_path / "numbers.jsonl").read_text().splitlines()[0])
    assert (told["step"], told["val_per"]) == (0, pytest.approx(float(first["val_per"])))


def test_a_warm_start_that_training_makes_worse_stays_the_best_model(
    train: Train, finished: Runs, tmp_path: Path
) -> None:
    best = finished("--set", "num_training_batches=60", *LESS_OFTEN) / "checkpoint" / "best_checkpoint"
    warm = ("init_from_checkpoint=true", f"init_checkpoint_path={best}")
    train(*warm, "lr_max=1", "lr_warmup_steps=0", "num_training_batches=4", folder="spoilt")
    kept = torch.load(tmp_path / "spoilt" / "checkpoint" / "best_checkpoint", weights_only=True)
    start = torch.load(best, weights_only=True)
    assert kept["val_PER"] == start["val_PER"]
    assert torch.equal(kept["model_state_dict"]["out.weight"], start["model_state_dict"]["out.weight"])


def test_the_first_validation_can_be_left_out_and_needs_trials(
    train: Train, own_data: Path, tmp_path: Path
) -> None:
    assert train("safety.validate_first=false", "num_training_batches=2")[0] == 0
    assert all_rows(tmp_path / "run")[0]["step"] == "1"
    none = f"dataset.dataset_probability_val={[0] * len(SESSIONS)}"
    code, output = train("num_training_batches=2", none, folder="none wanted", on=own_data)
    assert (code, "without validation trials no model is the best" in output) == (0, True)
    assert all_rows(tmp_path / "none wanted")[0]["step"] == "1"
    assert not (tmp_path / "none wanted/checkpoint/best_checkpoint").exists(), "nothing was judged"
    for session in SESSIONS:
        (own_data / session / "data_val.hdf5").unlink()
    code, output = train("num_training_batches=2", folder="no validation", on=own_data)
    assert (code, "without validation trials no model is the best" in output) == (0, True)
    assert all_rows(tmp_path / "no validation")[0]["step"] == "1"


def test_a_run_without_a_best_model_can_be_evaluated_as_its_error_says(
    train: Train, own_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [(own_data / session / "data_val.hdf5").rename(tmp_path / session) for session in SESSIONS]
    assert train("num_training_batches=2", on=own_data)[0] == 0
    for session, path in zip(SESSIONS, kept, strict=True):
        path.rename(own_data / session / "data_val.hdf5")
    run, last = tmp_path / "run", tmp_path / "run" / "checkpoint" / "last.pt"
    evaluate = ["evaluate", "--run-dir", str(run), "--data-dir", str(own_data)]
    assert main(evaluate) == 2
    state = run / "checkpoints" / "step_00000002.pt"
    assert f"`trainer convert {state} {last}`" in " ".join(capsys.readouterr().err.split())
    assert main(["convert", str(state), str(last)]) == 0
    assert main([*evaluate, "--checkpoint", str(last)]) == 0


def test_a_run_learns_and_leaves_everything_a_user_expects(train: Train, tmp_path: Path) -> None:
    code, output = train(
        "num_training_batches=150", "batches_per_val_step=30", "dataset.data_transforms.white_noise_std=0.05"
    )
    run = tmp_path / "run"
    assert code == 0, output
    table = rows(run)
    assert [int(row["step"]) for row in table] == list(range(1, 151))
    per = [float(row["val_per"]) for row in table if row["val_per"]]
    assert len(per) == 5
    assert min(per) < 0.35 < 0.9
    assert float(table[-1]["loss"]) < float(table[0]["loss"]) / 3
    expected = {
        "checkpoint",
        "checkpoints",
        "events.jsonl",
        "metrics.csv",
        "system.csv",
        "train_val_trials.json",
        "training_log",
    }
    assert expected <= {p.name for p in run.iterdir()}
    args = yaml.safe_load((run / "checkpoint" / "args.yaml").read_text())
    assert args["dataset"]["sessions"] == list(SESSIONS)
    assert args["dataset"]["dataset_probability_val"] == [1, 1, 1]
    assert f"{SESSIONS[0]} val PER:" in (run / "training_log").read_text()
    assert "fresh start: 150 steps, seed 10" in output
    assert "precision: fp32 (asked for)" in output


def test_official_by_products_have_the_official_keys(train: Train, tmp_path: Path) -> None:
    train("save_val_logits=true", "save_val_data=true", "save_final_model=true", "save_all_val_steps=true")
    folder = tmp_path / "run" / "checkpoint"
    best = torch.load(folder / "best_checkpoint", weights_only=True)
    assert set(best) == {
        "model_state_dict",
        "optimizer_state_dict",
        "scheduler_state_dict",
        "val_PER",
        "val_loss",
    }
    assert isinstance(best["val_PER"], float)
    assert (folder / "final_checkpoint_batch_20").exists()
    assert (folder / "checkpoint_batch_8").exists()
    metrics = pickle.loads((folder / "val_metrics.pkl").read_bytes())
    assert set(metrics) == {
        "decoded_seqs", "true_seq", "phone_seq_lens", "transcription", "losses", "block_nums", "trial_nums",
        "day_indicies", "logits", "n_time_steps", "input_features", "day_PERs", "avg_PER", "avg_loss",
    }  # fmt: skip
    assert len(metrics["true_seq"]) == 3
    assert metrics["day_PERs"][0]["total_seq_length"] == metrics["phone_seq_lens"][0].sum()
    assert metrics["avg_PER"] == pytest.approx(best["val_PER"])
    assert metrics["logits"][0].shape[::2] == (3, 5)
    trials = json.loads((tmp_path / "run" / "train_val_trials.json").read_text())
    assert trials["train"]["1"]["trials"] == list(range(8))


def test_the_launchers_metrics_file_gets_json_lines(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCH_METRICS_FILE", str(tmp_path / "numbers.jsonl"))
    train()
    records = [json.loads(line) for line in (tmp_path / "numbers.jsonl").read_text().splitlines()]
    assert all(record["total"] == 20 and record["loss"] > 0 for record in records[1:])
    assert [r["step"] for r in records if "val_per" in r] == [0, 8, 16, 20]


def test_a_gradient_that_is_not_finite_is_skipped_and_then_stops_the_run(
    train: Train, tmp_path: Path
) -> None:
    """A learning rate at which the first step throws the weights out of range; found at a validation, and
    found again by who tries again.
    """
    options = ("lr_max=1e30", "lr_warmup_steps=0", "safety.max_nonfinite_steps=4", "batches_per_train_log=100",
               "batches_per_val_step=5")  # fmt: skip
    code, output = train(*options)
    assert code == 1
    assert "the gradient was NaN or infinite for 4 steps in a row" in output
    table = rows(tmp_path / "run")
    assert [row["skipped_steps"] for row in table] == ["0", "1", "2", "3", "4"]
    assert not (tmp_path / "run" / "checkpoint" / "best_checkpoint").exists()  # its outputs are no numbers
    assert train(*options)[0] == 1
    steps = [row["step"] for row in all_rows(tmp_path / "run")]
    assert steps == [str(step) for step in range(len(steps))]
    assert len(steps) > 6
    saved = load(step_files(tmp_path / "run" / "checkpoints")[-1])
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_some_skipped_steps_do_not_stop_the_run_nor_touch_the_model(
    train: Train, own_data: Path, tmp_path: Path
) -> None:
    with h5py.File(own_data / SESSIONS[0] / "data_train.hdf5", "a") as file:
        file["trial_0000/input_features"][...] = np.float32(3e38)
    code, output = train("num_training_batches=40", on=own_data)
    assert code == 0, output
    assert "steps were skipped because their gradient was not finite" in output
    assert 0 < int(rows(tmp_path / "run")[-1]["skipped_steps"]) < 40
    saved = load(step_files(tmp_path / "run" / "checkpoints")[-1])
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_early_stopping_ends_the_run_and_a_resume_does_not_go_on(train: Train, tmp_path: Path) -> None:
    options = (
        "early_stopping=true",
        "early_stopping_val_steps=2",
        "batches_per_val_step=2",
        "lr_max=1e-12",
        "lr_min=0",
    )
    code, output = train(*options)
    assert code == 0
    assert "stopped early at step" in output
    count = len(rows(tmp_path / "run"))
    assert count < 20
    assert train(*options)[0] == 0
    assert len(rows(tmp_path / "run")) == count


def test_an_output_of_blanks_alone_raises_the_alarm(train: Train, finished: Runs, tmp_path: Path) -> None:
    """A model that says blank whatever it sees: warned of after as many validations as were allowed."""
    checkpoint = torch.load(finished() / "checkpoint" / "best_checkpoint", weights_only=True)
    checkpoint["model_state_dict"]["out.bias"][0] += 1000
    torch.save(checkpoint, tmp_path / "blank")
    _, output = train(
        "init_from_checkpoint=true", f"init_checkpoint_path={tmp_path / 'blank'}", "lr_max=1e-9", "lr_min=0",
        "batches_per_val_step=1", "num_training_batches=3", "safety.blank_collapse_validations=3",
    )  # fmt: skip
    assert "the last 3 validations decoded nothing but blanks" in output
    assert "the last 2 validations" not in output
    assert '"collapsed"' in (tmp_path / "run" / "events.jsonl").read_text()


def test_states_are_written_by_the_clock_as_well(train: Train, tmp_path: Path) -> None:
    train(
        "batches_per_save=0", "batches_per_val_step=1000", "checkpoints.every_s=0.001", "checkpoints.keep=50",
    )  # fmt: skip
    assert len(step_files(tmp_path / "run" / "checkpoints")) > 2


def test_limit_batches_checks_the_whole_pipeline_quickly(train: Train, tmp_path: Path) -> None:
    code, output = train("num_training_batches=100000", options=("--limit-batches", "2"))
    assert code == 0
    assert "validation at step 2" in output
    assert len(rows(tmp_path / "run")) == 2


def test_a_gpu_that_is_not_there_is_an_error(train: Train) -> None:
    count = torch.cuda.device_count()
    code, output = train(options=("--device", f"cuda:{count}"))
    assert code == 2
    assert f"error: compute.device: cuda:{count} was asked for, but torch sees {count} GPUs" in output
    assert "hint:" in output


@pytest.mark.parametrize(
    ("field", "frozen", "trained"),
    [
        ("model.rnn_trainable", "gru.weight_hh_l0", "day_weights.0"),
        ("model.input_network.input_trainable", "day_weights.0", "gru.weight_hh_l0"),
    ],
)
def test_frozen_parts_stay_as_they_were(
    train: Train, tmp_path: Path, field: str, frozen: str, trained: str
) -> None:
    train(f"{field}=false", "num_training_batches=5", "batches_per_save=1", "checkpoints.keep=9")
    first, *_, last = (load(path)["model"] for path in step_files(tmp_path / "run" / "checkpoints"))
    assert torch.equal(first[frozen], last[frozen])
    assert not torch.equal(first[trained], last[trained])


def test_a_seed_of_minus_one_is_drawn_and_recorded(train: Train, tmp_path: Path) -> None:
    for folder in "ab":
        train("seed=-1", "dataset.seed=-1", "num_training_batches=1", folder=folder)
    seeds = {load(step_files(tmp_path / f / "checkpoints")[-1])["progress"]["seed"] for f in "ab"}
    assert len(seeds) == 2


def test_files_that_vanish_in_mid_run_end_it_with_an_emergency_checkpoint_that_resumes_exactly(
    fork: Fork, train: Train, config_file: Path, own_data: Path, tmp_path: Path
) -> None:
    options = (
        "lr_decay_steps=4000", "compute.cache=none", "batches_per_save=0", "batches_per_val_step=50",
        "batches_per_train_log=5",
    )  # fmt: skip
    sets = [part for text in (*options, "num_training_batches=4000") for part in ("--set", text)]
    run = tmp_path / "run"
    process = fork(trainer(config_file, own_data, run, *sets))
    wait_until(lambda: last_step(run) >= 20, "step 20")
    hidden = own_data / SESSIONS[1] / "hidden"
    (own_data / SESSIONS[1] / "data_train.hdf5").rename(hidden)
    output = process.wait()
    assert process.returncode == 2, output
    assert "emergency checkpoint of step" in output
    assert f"{own_data / SESSIONS[1] / 'data_train.hdf5'}: no such file" in output
    reached = int(step_files(run / "checkpoints")[-1].stem.partition("_")[2])
    assert reached == last_step(run)
    hidden.rename(own_data / SESSIONS[1] / "data_train.hdf5")
    shorter = (*options, f"num_training_batches={reached + 20}")
    assert train(*shorter, on=own_data)[0] == 0
    assert train(*shorter, on=own_data, folder="reference")[0] == 0
    assert (run / "metrics.csv").read_bytes() == (tmp_path / "reference" / "metrics.csv").read_bytes()


def test_a_full_disk_during_training_does_not_end_it(train: Train, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, before[1]))
        code, output = train("num_training_batches=60", "compute.cache=none", "batches_per_val_step=30")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert "could not be written: File too large. Training goes on" in output
    assert "its lines are kept in memory until there is room" in output
    assert code == 1  # the last state could not be saved either, and that is said
    assert "error: the newest checkpoint could not be written" in output
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_best_model_that_the_disk_refuses_is_written_once_it_can_be(
    fork: Fork, train: Train, finished: Runs, config_file: Path, data: Path, tmp_path: Path
) -> None:
    """A folder stands where the file belongs: while the run goes on, at its end, and when it is started again."""
    best = tmp_path / "run" / "checkpoint" / "best_checkpoint"
    best.mkdir(parents=True)
    code, output = train(options=("--limit-batches", "8"))
    assert code == 1
    assert f"{best} could not be written: Is a directory; training goes on" in output
    assert f"error: the best model, of step 8, could not be written to {best}" in output
    assert "left behind: it is part of" in output
    best.rmdir()
    code, output = train()
    assert code == 0
    assert "wrote the best model, of step 8, again" in output
    theirs = finished() / "checkpoint" / "best_checkpoint"
    ours, reference = (torch.load(path, weights_only=True) for path in (best, theirs))
    assert ours["val_PER"] == reference["val_PER"]
    assert all(torch.equal(ours["model_state_dict"][k], v) for k, v in reference["model_state_dict"].items())

    best = tmp_path / "long" / "checkpoint" / "best_checkpoint"
    best.mkdir(parents=True)
    process = fork(trainer(config_file, data, tmp_path / "long", "--set", "num_training_batches=100000"))
    wait_until(lambda: "could not be written" in process.output() or not process.lives(), "the refusal")
    best.rmdir()
    wait_until(lambda: best.is_file() or not process.lives(), "the best model")
    process.send(signal.SIGTERM)
    process.wait()
    assert process.returncode == 75


def test_help_is_quick_to_import_and_lists_the_commands() -> None:
    code = (
        "import sys, trainer.cli; assert trainer.cli.main(['--help']) == 0; assert 'torch' not in sys.modules"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("train", "evaluate", "bench", "convert", "synthesize"):
        assert name in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--run-dir", "r"], "no data folder: say --data-dir"),
        (["train", "--data-dir", "d"], "no run folder: say --run-dir"),
        (["train", "--data-dir", "nowhere", "--run-dir", "r"], "data folder nowhere does not exist"),
        (["train", "--data-dir", "/dev/null", "--run-dir", "r"], "data folder /dev/null is not a folder"),
        (["train", "--config", "absent.yaml"], "configuration absent.yaml: No such file"),
        (
            ["evaluate", "--run-dir", "r", "--limit-batches", "0"],
            "--limit-batches must be at least 1, found 0",
        ),
        (
            ["evaluate", "--run-dir", "r", "--limit-batches", "0", "--graph", "g"],
            "--limit-batches must be at least 1",
        ),
        (["evaluate", "--run-dir", "r", "--output", "."], "--output . is a folder"),
        (["evaluate", "--run-dir", "r", "--output", "x/y.csv"], "--output x/y.csv: there is no folder x"),
        (["evaluate", "--run-dir", "nowhere"], "is not the folder of a training run"),
    ],
)
def test_bad_usage_is_one_clear_line(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) in (1, 2)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("error: ")
    assert expected in first


def test_an_unknown_command_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fly"]) == 2
    assert "invalid choice" in capsys.readouterr().err


def test_events_and_system_load_are_recorded(train: Train, tmp_path: Path) -> None:
    train(options=("--limit-batches", "8"))
    train("num_training_batches=16")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "started"
    assert "resumed" in names
    assert names.count("done") == 2
    validations = [event for event in events if event["event"] == "validation"]
    assert [event["step"] for event in validations] == [0, 8, 16]
    assert (
        (tmp_path / "run" / "system.csv")
        .read_text()
        .startswith("time,step,steps_per_s,cpu_percent,memory_gib")
    )


def test_an_observer_that_fails_is_dropped_and_the_run_goes_on(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run" / "events.jsonl").mkdir(parents=True)
    code, output = train("num_training_batches=3")
    assert code == 0
    assert "EventLog gave up" in output
    assert len(rows(tmp_path / "run")) == 3


def red_columns(picture: Path) -> set[int]:
    """Columns of pixels in which a curve's picture has the colour of resume points."""
    from matplotlib.image import imread

    red, green, blue = (imread(picture)[..., channel] for channel in range(3))
    return set(np.flatnonzero(((red > 0.7) & (green < 0.3) & (blue < 0.3)).sum(0) > 50).tolist())


def test_curves_show_the_run_and_where_it_was_resumed(train: Train, tmp_path: Path) -> None:
    picture = tmp_path / "run" / "curves.png"
    curves = ("records.curves=true", "safety.validate_first=false", "batches_per_val_step=100")
    train(*curves, options=("--limit-batches", "8"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not red_columns(picture)
    train(*curves)
    assert red_columns(picture)


def test_tensorboard_files_hold_the_numbers_also_after_a_kill(
    fork: Fork, train: Train, config_file: Path, data: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    more = ("--set", "records.tensorboard=true", "--set", "num_training_batches=100000")
    process = fork(trainer(config_file, data, tmp_path / "run", *more))
    states = tmp_path / "run" / "checkpoints"
    wait_until(lambda: len(step_files(states)) >= 3 or not process.lives(), "three states")
    process.kill()
    (first,) = (tmp_path / "run" / "tensorboard").iterdir()
    second = int(
        first.name.split(".")[3]
    )  # TensorBoard reads its files in the order of the seconds in their names
    wait_until(lambda: time.time() >= second + 1, "the next second")
    last = int(step_files(states)[-1].stem.partition("_")[2])
    assert (
        train("records.tensorboard=true", "lr_decay_steps=100000", f"num_training_batches={last + 3}")[0] == 0
    )
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("train/loss")] == list(range(1, last + 4))
    assert [point.step for point in events.Scalars("val/per")][:2] == [0, 8]


def test_the_load_of_the_computer_is_sampled_every_few_seconds_and_at_the_end(tmp_path: Path) -> None:
    now = 0.0
    table = SystemTable(tmp_path / "system.csv", torch.device("cpu"), clock=lambda: now)
    for second, step in ((0, 0), (2, 10), (6, 40), (8, 50)):
        now = float(second)
        table.rows([StepRow(step=step, epoch=0.0)])
    table.close()
    with (tmp_path / "system.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["step"], line["steps_per_s"]) for line in lines] == [("40", "6.667"), ("50", "5.000")]
    assert all(float(line["memory_gib"]) > 0.05 and float(line["cpu_percent"]) >= 0 for line in lines)


MEMORY_LIMITED = """
import resource, sys
from pathlib import Path
import torch
from trainer.cli import main

torch.set_num_threads(1)
torch.zeros(1).add_(1)
limit_gib = float(sys.argv[1])
pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + int(limit_gib * 2**30), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


# A real lack of memory may also strike the interpreter's own threads at their end, where nobody can catch it.
@pytest.mark.long
def test_out_of_memory_shrinks_the_micro_batch_and_repeats_the_step(
    start: Start, config_file: Path, data: Path, tmp_path: Path
) -> None:
    """A real allocation failure: the address space is too small for the whole batch and large enough for a part."""
    options = (
        "dataset.batch_size=4096",
        "model.n_units=64",
        "num_training_batches=1",
        "dataset.num_dataloader_workers=0",
    )
    sets = [part for text in options for part in ("--set", text)]
    arguments = command(config_file, data, tmp_path / "run", *sets)[3:]
    process = start([sys.executable, "-c", MEMORY_LIMITED, "0.25", *arguments])
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-2000:]
    assert (
        "out of memory at step 1: going on with micro-batches of 2048, 4096 trials per step as before"
        in output
    )
    table = rows(tmp_path / "run")
    assert [row["step"] for row in table] == ["1"]
    state = load(step_files(tmp_path / "run" / "checkpoints")[-1])
    assert state["progress"]["micro_batch_size"] <= 2048
