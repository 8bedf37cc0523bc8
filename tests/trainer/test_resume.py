"""n steps equal k steps, an end of any kind, and the rest: bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch

from tests.forking import Fork, Forked
from tests.trainer.conftest import (
    CHANNELS,
    SESSIONS,
    TINY,
    Runs,
    command,
    last_step,
    trainer,
    wait_until,
    write_split,
    write_trial,
)
from tests.trainer.test_scaling import PLAIN, begun
from trainer.checkpoint import load, step_files
from trainer.cli import main
from trainer.commands import train
from trainer.config_reader import load_config
from trainer.durable import digest_path
from trainer.errors import RunFolderBusy
from trainer.hdf5 import Expectation, iterate_trials
from trainer.interrupt import Interrupt
from trainer.loading import LeftEarly, LoadingWatch
from trainer.loop import TrainingLoop
from trainer.progress import Console
from trainer.run_folder import RunFolder
from trainer.state import best_weights

STEPS = 40
LONGER = ("--set", f"num_training_batches={STEPS}", "--set", "batches_per_save=4", "--set", "checkpoints.keep=3",
          "--set", "batches_per_val_step=20")  # fmt: skip
MICRO = ("--set", "compute.micro_batch_size=4")
THREADS = ("--set", "dataset.num_dataloader_workers=2", "--set", "compute.prefetch_batches=7")


def final_state(run: Path) -> dict[str, object]:
    return load(run / "checkpoints" / f"step_{STEPS:08d}.pt")


def assert_same(a: object, b: object, where: str = "") -> None:
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor), where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert isinstance(b, dict), where
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert isinstance(b, (list, tuple)), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{i}")
    else:
        assert a == b, where


def assert_same_run(reference: Path, other: Path) -> None:
    assert (reference / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    assert_same(final_state(reference), final_state(other))
    best = [
        torch.load(run / "checkpoint" / "best_checkpoint", weights_only=True) for run in (reference, other)
    ]
    assert_same(best[0], best[1])


Finish = Callable[..., tuple[int, str]]


@pytest.fixture
def finish(config_file: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> Finish:
    """Run to the end in this process, through the command line; returns exit code and output."""

    def run(folder: Path, *more: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(command(config_file, data, folder, *LONGER, *more)[3:])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


@pytest.mark.parametrize("options", [(), (*MICRO, *THREADS)], ids=["plain", "micro-batches and threads"])
def test_kill_9_at_several_moments_changes_nothing(
    fork: Fork,
    finish: Finish,
    finished: Runs,
    config_file: Path,
    data: Path,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    killed = tmp_path / "killed"
    for moment in (9, 25):
        process = fork(trainer(config_file, data, killed, *LONGER, *options))
        wait_until(
            lambda moment=moment, process=process: last_step(killed) >= moment or not process.lives(),
            f"step {moment}",
        )
        process.kill()
    code, output = finish(killed, *options)
    assert code == 0
    assert "resume: going on after step" in output
    assert_same_run(finished(*LONGER, *options), killed)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_kill_9_at_hundreds_of_moments_changes_nothing(
    fork: Fork, finish: Finish, finished: Runs, config_file: Path, data: Path, tmp_path: Path
) -> None:
    """A line for each run goes into the file that ``RESUME_KILLS_LOG`` names."""
    reference = finished(*LONGER, *MICRO, *THREADS)
    moments = random.Random(20231118)
    for life in range(100):
        killed = tmp_path / f"killed{life}"
        reached = []
        for _ in range(3):
            process = fork(trainer(config_file, data, killed, *LONGER, *MICRO, *THREADS))
            target = min(STEPS - 1, last_step(killed) + moments.randrange(0, 25))
            wait_until(
                lambda t=target, k=killed, p=process: last_step(k) >= t or not p.lives(), f"step {target}"
            )
            process.kill()
            reached.append(last_step(killed))
        code, output = finish(killed, *MICRO, *THREADS)
        assert code == 0, output
        assert_same_run(reference, killed)
        keep_record({"life": life, "killed_after_steps": reached, "last": start_line(output), "same": True})
        shutil.rmtree(killed)


def start_line(output: str) -> str:
    """How the last process of a run began."""
    line = next(line for line in output.splitlines() if line.startswith(("resume:", "fresh start:")))
    return line.partition(", from ")[0]


def keep_record(record: dict[str, object]) -> None:
    path = os.environ.get("RESUME_KILLS_LOG")
    if path is not None:
        with Path(path).open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")


def test_sigterm_saves_the_last_finished_step_and_leaves_with_75(
    fork: Fork, finish: Finish, finished: Runs, config_file: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "interrupted"
    process = fork(trainer(config_file, data, run, *LONGER, "--set", "batches_per_save=0"))
    wait_until(lambda: last_step(run) >= 10, "step 10")
    process.send(signal.SIGTERM)
    output = process.wait()
    assert process.returncode == 75, output
    assert "SIGTERM: saving step" in output
    assert "after the request; resume me" in output
    saved = int(step_files(run / "checkpoints")[-1].stem.partition("_")[2])
    assert saved == last_step(run)
    assert finish(run)[0] == 0
    assert_same_run(finished(*LONGER), run)


class SignalsItself(Console):
    """Sends SIGTERM to this process when the device is chosen: the next thing is reading the data."""

    said: ClassVar[list[str]] = []

    def say(self, text: str) -> None:
        self.said.append(text)
        if text.startswith("precision:"):
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_while_the_data_are_read_leaves_at_once(
    config_file: Path, own_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    console = SignalsItself(quiet=True)
    packed = f"compute.cache_dir={tmp_path / 'packed'}"
    code = train(config_path=config_file, overrides=[packed], run_dir=run, data_dir=own_data, console=console)
    assert code == 75
    assert console.said[-1] == "SIGTERM: leaving before the first step; start me again"
    assert not (run / "metrics.csv").exists()
    assert not list((tmp_path / "packed").iterdir())


def test_a_long_first_reading_says_how_far_it_is(own_data: Path, tmp_path: Path) -> None:
    now, interrupt = 0.0, Interrupt()
    (tmp_path / "out").touch()
    with (tmp_path / "out").open("w") as stream:
        watch = LoadingWatch(6, Console(stream=stream), interrupt, clock=lambda: now)
        path = own_data / SESSIONS[0] / "data_train.hdf5"
        expected = Expectation(neural_dim=CHANNELS, n_classes=5, max_seq_elements=20)
        for trial, _ in iterate_trials(path, expected):
            now += 0.5
            watch(trial)
    line = "reading data for the first time: file 1 of at most 6, {} trials"
    assert (tmp_path / "out").read_text().splitlines() == [line.format(4), line.format(8)]
    interrupt.request()
    with pytest.raises(LeftEarly):
        watch(trial)


def test_an_end_before_or_after_the_first_validation_changes_nothing(
    fork: Fork, finish: Finish, finished: Runs, config_file: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    for lines in (1, 2):  # the header alone, then the validation of step 0
        process = fork(trainer(config_file, data, run, *LONGER))
        wait_until(
            lambda n=lines: (
                (run / "metrics.csv").is_file() and (run / "metrics.csv").read_bytes().count(b"\n") >= n
            ),
            f"{lines} lines",
        )
        process.kill()
    assert finish(run)[0] == 0
    assert_same_run(finished(*LONGER), run)


def cpu_ticks(process: Forked) -> int:
    """Processor time of a process so far, in hundredths of a second."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_sigterm_during_a_validation_does_not_wait_for_its_end(
    fork: Fork, config_file: Path, own_data: Path, tmp_path: Path
) -> None:
    """Validations far longer than a step, the first one included: the next process repeats what was left."""
    write_split(own_data / SESSIONS[0] / "data_val.hdf5", 250, seed=5)
    options = ("--set", "batches_per_val_step=1", "--set", "num_training_batches=2")
    run = tmp_path / "interrupted"

    def interrupt(after: Callable[[Forked], bool]) -> object:
        process = fork(trainer(config_file, own_data, run, *options))
        wait_until(lambda: after(process) or not process.lives(), "the moment")
        process.send(signal.SIGTERM)
        output = process.wait()
        assert process.returncode == 75, output
        return load(step_files(run / "checkpoints")[-1])["held_row"]

    def in_next_validation(process: Forked) -> bool:
        if last_step(run) < 1:
            return False
        ticks = cpu_ticks(process)
        wait_until(lambda: cpu_ticks(process) >= ticks + 6, "the next validation")
        return True

    assert interrupt(lambda process: (run / "metrics.csv").is_file()) == []
    assert interrupt(in_next_validation), "the signal met no validation"
    assert main([*command(config_file, own_data, run)[3:], *options]) == 0
    assert main([*command(config_file, own_data, tmp_path / "reference")[3:], *options]) == 0
    assert (tmp_path / "reference" / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()


def test_the_best_model_survives_two_moves_to_other_machines(finish: Finish, tmp_path: Path) -> None:
    """The state that found it is the best model; those that a resumed run writes after it hold it as well."""
    first, second = tmp_path / "first", tmp_path / "second"
    options = ("--set", "batches_per_save=1", "--set", "batches_per_val_step=8")
    assert finish(first, *options, "--limit-batches", "8")[0] == 0
    best = load(first / "checkpoints" / "step_00000008.pt")
    assert best["progress"]["best_step"] == 8
    assert finish(first, *options, "--limit-batches", "10")[0] == 0
    moved = second / "checkpoints" / "step_00000009.pt"
    moved.parent.mkdir(parents=True)
    for path in (moved, digest_path(moved)):
        shutil.copy(first / "checkpoints" / path.name, path)
    code, output = finish(second, *options, "--limit-batches", "9")
    assert code == 0
    assert "wrote the best model, of step 8, again" in output
    kept = torch.load(second / "checkpoint" / "best_checkpoint", weights_only=True)
    assert_same(kept["model_state_dict"], best["model"])
    assert kept["val_PER"] == best["progress"]["best_per"]


class NoMemoryForTheSecondBest(Console):
    """Fails between the counting of a best model and its saving."""

    found = 0

    def say(self, text: str) -> None:
        """Raise MemoryError instead of the second of these lines."""
        self.found += "the best so far" in text
        if self.found == 2:
            raise MemoryError(text)


def test_an_error_after_a_best_validation_saves_its_model_as_the_best(
    config_file: Path, data: Path, tmp_path: Path
) -> None:
    config = load_config(config_file, ["batches_per_val_step=2"])
    console = NoMemoryForTheSecondBest(quiet=True)
    with begun(config, tmp_path, PLAIN, data, console) as training:
        with pytest.raises(MemoryError, match="the best so far"):
            TrainingLoop(training, Interrupt()).run()
        step, folder = training.progress.step, training.folder
    state = load(step_files(folder.checkpoints)[-1])
    assert state["progress"]["best_step"] == state["progress"]["step"] == step > 2
    best = torch.load(folder.best, weights_only=True)
    assert best["val_PER"] == state["progress"]["best_per"]
    assert all(torch.equal(value, state["model"][name]) for name, value in best["model_state_dict"].items())
    assert best_weights(state) == state["model"]
    state["progress"]["step"] += 1
    assert best_weights(state) is None  # as states were that an earlier version left: they have lost the best


def test_a_checkpoint_alone_is_enough_on_another_machine(
    fork: Fork, finished: Runs, config_file: Path, data: Path, tmp_path: Path
) -> None:
    """The launcher's variables: states mirrored elsewhere, an empty output folder, a new attempt."""
    first = {"LAUNCH_CHECKPOINT_DIR": str(tmp_path / "c1"), "LAUNCH_OUTPUT_DIR": str(tmp_path / "o1")}
    argv = [a for a in trainer(config_file, data, tmp_path, *LONGER) if a not in ("--run-dir", str(tmp_path))]
    process = fork(argv, **first)
    wait_until(lambda: last_step(tmp_path / "o1") >= 20, "step 20")
    process.kill()
    newest = step_files(tmp_path / "c1")[-1]
    moved = tmp_path / "moved" / newest.name
    moved.parent.mkdir()
    newest.rename(moved)
    second = {
        "LAUNCH_CHECKPOINT_DIR": str(tmp_path / "c2"), "LAUNCH_OUTPUT_DIR": str(tmp_path / "o2"),
        "LAUNCH_RESUME_FROM": str(moved), "LAUNCH_METRICS_FILE": str(tmp_path / "numbers.jsonl"),
    }  # fmt: skip
    process = fork(argv, **second)
    output = process.wait()
    assert process.returncode == 0, output
    assert str(moved) in output
    reference = finished(*LONGER)
    assert (tmp_path / "o2" / "metrics.csv").read_bytes() == (reference / "metrics.csv").read_bytes()
    ours = load(tmp_path / "c2" / f"step_{STEPS:08d}.pt")
    assert_same(ours, final_state(reference))
    best = torch.load(tmp_path / "o2" / "checkpoint" / "best_checkpoint", weights_only=True)
    theirs = torch.load(reference / "checkpoint" / "best_checkpoint", weights_only=True)
    assert_same(best["model_state_dict"], theirs["model_state_dict"])
    last = (tmp_path / "numbers.jsonl").read_text().splitlines()[-1]
    assert last.startswith(f'{{"step": {STEPS}, "total": {STEPS}')
    numbers = json.loads(last)  # by these names the launcher's history tells configurations apart
    assert (numbers["batch_size"], numbers["precision_bits"]) == (TINY["dataset"]["batch_size"], 32)


def test_a_run_folder_can_be_named_to_resume_from(
    finished: Runs, config_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = finished(*LONGER)
    more = (*LONGER, "--set", f"num_training_batches={STEPS + 1}", "--resume", str(reference))
    assert main(command(config_file, data, tmp_path / "run", *more)[3:]) == 0
    assert f"going on after step {STEPS} of {STEPS + 1}" in capsys.readouterr().out


def test_sigterm_before_anything_began_is_no_failure(data: Path, fork: Fork, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    os.mkfifo(config)
    process = fork(trainer(config, data, tmp_path / "run"))
    with config.open("w"):  # opens when the process reads its configuration, and keeps it waiting there
        process.send(signal.SIGTERM)
        output = process.wait()
    assert process.returncode == 75, output
    assert "SIGTERM: leaving before anything began" in output
    assert not (tmp_path / "run").exists()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_a_corrupt_newest_checkpoint_costs_its_steps_and_nothing_else(
    finish: Finish, finished: Runs, tmp_path: Path
) -> None:
    run = tmp_path / "damaged"
    assert finish(run, "--limit-batches", "30")[0] == 0
    newest = step_files(run / "checkpoints")[-1]
    damage(newest)
    code, output = finish(run)
    assert code == 0, output
    assert f"{newest} does not match its digest" in output
    assert "going on after step 28" in output
    assert (run / "metrics.csv").read_bytes() == (finished(*LONGER) / "metrics.csv").read_bytes()


def test_a_folder_of_which_every_checkpoint_is_damaged_is_not_begun_anew(
    finish: Finish, tmp_path: Path
) -> None:
    run = tmp_path / "damaged"
    assert finish(run, "--limit-batches", "9")[0] == 0
    before = (run / "metrics.csv").read_bytes()
    for path in step_files(run / "checkpoints"):
        damage(path)
    code, output = finish(run)
    assert code == 1
    assert f"error: none of the 3 checkpoints in {run / 'checkpoints'} can be used" in output
    assert (run / "metrics.csv").read_bytes() == before


def test_a_named_checkpoint_that_cannot_be_used_is_bad_configuration_but_of_the_launcher_a_failure(
    finish: Finish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another attempt cannot help where a person has named it; the launcher may name another one then."""
    broken, absent = tmp_path / "step_00000004.pt", tmp_path / "absent.pt"
    broken.write_bytes(b"not a checkpoint")
    complaints = {
        broken: f"error: {broken} is damaged and there is no older checkpoint beside it",
        absent: f"error: there is no checkpoint {absent}",
    }
    for path, complaint in complaints.items():
        code, output = finish(tmp_path / "run", "--resume", str(path))
        assert code == 2 and complaint in output
        with monkeypatch.context() as patch:
            patch.setenv("LAUNCH_RESUME_FROM", str(path))
            for options in ((), ("--resume", str(path))):
                code, output = finish(tmp_path / "run", *options)
                assert code == 1 and complaint in output
    for path in complaints:
        assert main(["convert", str(path), str(tmp_path / "official")]) == 2
        assert f"error: {path}" in capsys.readouterr().err.replace("there is no checkpoint ", "")


def test_another_architecture_is_refused_by_the_field_that_differs(finish: Finish, tmp_path: Path) -> None:
    assert finish(tmp_path / "run", "--limit-batches", "5")[0] == 0
    code, output = finish(tmp_path / "run", "--set", "model.n_units=16")
    assert code == 2
    assert "belongs to another configuration: model.n_units 12 → 16" in output


@pytest.mark.parametrize("content", [{}, {"config": "{"}, {"config": '{"model": {"n_units": 0.5}}'}])
def test_a_state_without_a_configuration_is_no_state(
    content: dict[str, str], finish: Finish, tmp_path: Path
) -> None:
    path = tmp_path / "step_00000004.pt"
    torch.save({"format": 1, **content}, path)
    code, output = finish(tmp_path / "run", "--resume", str(path))
    assert code == 2
    assert f"error: {path}: its configuration cannot be read" in output


def test_other_trials_than_those_of_the_checkpoint_are_refused(
    config_file: Path, own_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(config_file, own_data, tmp_path / "run", "--limit-batches", "3")[3:]
    assert main(arguments) == 0
    with h5py.File(own_data / SESSIONS[1] / "data_train.hdf5", "a") as file:
        write_trial(file, 8, np.random.default_rng(0))
    assert main(arguments) == 2
    assert "was trained on other trials: 24 trials, " in capsys.readouterr().err


def test_a_shorter_or_longer_run_keeps_the_schedule_it_has_begun_with(
    finish: Finish, finished: Runs, tmp_path: Path
) -> None:
    """Without lr_decay_steps the schedule follows the length of the run, at its beginning only."""
    run = tmp_path / "run"
    finish(run, "--limit-batches", "12")
    code, output = finish(run, "--set", "num_training_batches=25")
    assert code == 0
    assert "learning rate: the schedule that the run has begun with, at its minimum at step 40" in output
    reference = (finished(*LONGER) / "metrics.csv").read_text().splitlines()
    rates = [
        [line.split(",")[4] for line in lines]
        for lines in ((run / "metrics.csv").read_text().splitlines(), reference)
    ]
    assert rates[0] == rates[1][: len(rates[0])]


def test_two_trainers_do_not_share_a_run_folder(
    fork: Fork, config_file: Path, data: Path, tmp_path: Path
) -> None:
    """The second waits for the first and then goes on from its state."""
    run = tmp_path / "run"
    process = fork(trainer(config_file, data, run, "--set", "num_training_batches=100000"))
    wait_until(lambda: last_step(run) >= 3, "step 3")
    said: list[str] = []
    folder = RunFolder(root=run, checkpoints=run / "checkpoints", official=run / "checkpoint")
    second = folder.held(Interrupt(), said.append, wait_s=0.0)
    with pytest.raises(RunFolderBusy, match=f"another process trains in {run}"), second:
        raise AssertionError("two trainers in one folder")
    process.kill()
    with folder.held(Interrupt(), said.append):
        pass


def test_starting_anew_in_a_folder_with_checkpoints_is_refused(finish: Finish, tmp_path: Path) -> None:
    assert finish(tmp_path / "run", "--limit-batches", "5")[0] == 0
    code, output = finish(tmp_path / "run", "--resume", "never")
    assert code == 2
    assert "holds checkpoints of an earlier run" in output


def test_a_finished_run_is_left_as_it_is(finish: Finish, finished: Runs, tmp_path: Path) -> None:
    shutil.copytree(finished(*LONGER), tmp_path / "run")
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    code, output = finish(tmp_path / "run")
    assert code == 0
    assert f"going on after step {STEPS} of {STEPS}" in output
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
