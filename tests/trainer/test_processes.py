"""Several processes train one model, started by torchrun or by the trainer itself, talking through gloo."""

from __future__ import annotations

import csv
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.forking import Fork
from tests.trainer.conftest import SESSIONS, Runs, Start, command, last_step, trainer, wait_until, write_split
from trainer.checkpoint import load, step_files
from trainer.cli import main
from trainer.config_reader import load_config
from trainer.errors import ConfigError, DeviceUnavailable
from trainer.peers import Peers, interface_to
from trainer.progress import Console
from trainer.setup import choose_compute

PLAIN = (
    "--set",
    "model.rnn_dropout=0",
    "--set",
    "model.input_network.input_layer_dropout=0",
    "--set",
    "lr_decay_steps=20",
)


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def torchrun(start: Start, arguments: list[str], *options: str) -> str:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *options,
    ]
    process = start([*launcher, "-m", "trainer", *arguments], PYTHONWARNINGS="ignore")
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 0, output
    return output


def test_two_processes_do_what_one_does_and_hand_over_to_one(
    start: Start,
    finished: Runs,
    config_file: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alone = finished(*PLAIN)
    arguments = command(config_file, data, tmp_path / "two", *PLAIN)[3:]
    output = torchrun(start, [*arguments, "--limit-batches", "12"])
    assert "2 processes share each batch of 6" in output
    assert output.count("fresh start") == 1
    assert losses(tmp_path / "two") == pytest.approx(losses(alone)[:12], rel=1e-4)
    capsys.readouterr()
    assert main(arguments) == 0
    assert "processes 2 → 1" in capsys.readouterr().out
    assert losses(tmp_path / "two") == pytest.approx(losses(alone), rel=1e-3)
    one, two = (load(step_files(run / "checkpoints")[-1])["model"] for run in (alone, tmp_path / "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-3, rtol=1e-2, msg=name)


LONG = (
    "--set",
    "num_training_batches=100000",
    "--set",
    "batches_per_train_log=1",
    "--set",
    "batches_per_val_step=50",
)
TWO = ("--nproc-per-node", "2")


def test_one_process_hands_over_to_two_which_save_and_leave_with_75_when_asked(
    start: Start, finished: Runs, config_file: Path, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert main([*command(config_file, data, run, *PLAIN)[3:], "--limit-batches", "6"]) == 0
    process = start([*command(config_file, data, run, *PLAIN), *LONG, *TWO])
    wait_until(lambda: last_step(run) >= 12 or process.poll() is not None, "step 12")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 75, output
    assert "processes 1 → 2" in output
    assert output.count("SIGTERM: saving step") == 1
    reached = last_step(run)
    assert int(step_files(run / "checkpoints")[-1].stem.partition("_")[2]) == reached
    one, count = losses(finished(*PLAIN)), min(20, reached)
    assert losses(run)[:count] == pytest.approx(one[:count], rel=1e-3)


def meeting_point() -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}


def children_of(process: subprocess.Popen[str]) -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def test_workers_do_not_outlive_the_process_that_started_them_not_even_for_a_validation(
    start: Start, config_file: Path, own_data: Path, tmp_path: Path
) -> None:
    """Each worker hears of the end in a moment of its own, and the long validation is left by both at the same batch."""
    write_split(own_data / SESSIONS[0] / "data_val.hdf5", 250, seed=5)
    run = tmp_path / "run"
    process = start([*command(config_file, own_data, run, *PLAIN), *LONG, *TWO])
    wait_until(lambda: (run / "metrics.csv").is_file() or process.poll() is not None, "the first validation")
    children = children_of(process)
    assert len(children) == 2
    process.kill()
    output, _ = process.communicate(timeout=150)  # the output ends when the last worker has closed it
    assert "resume me" in output
    state = load(step_files(run / "checkpoints")[-1])
    assert state["held_row"] == [], "the validation was not left"
    for child in children:
        wait_until(lambda pid=int(child): not lives(pid), f"end of {child}")


def test_a_request_while_workers_still_start_is_no_failure(
    start: Start, config_file: Path, data: Path, tmp_path: Path
) -> None:
    process = start([*command(config_file, data, tmp_path / "run"), *TWO])
    wait_until(lambda: len(children_of(process)) == 2 or process.poll() is not None, "two workers")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=150)
    assert process.returncode == 75, output
    assert "start me again" in output and "Traceback" not in output


def test_who_waits_for_another_process_leaves_when_asked(
    fork: Fork, config_file: Path, data: Path, tmp_path: Path
) -> None:
    """As under torchrun: the other one never comes."""
    process = fork(
        trainer(config_file, data, tmp_path / "run"), RANK="0", LOCAL_RANK="0", WORLD_SIZE="2", **meeting_point()
    )  # fmt: skip
    wait_until(lambda: "precision:" in process.output() or not process.lives(), "the meeting")
    process.send(signal.SIGTERM)
    output = process.wait()
    assert process.returncode == 75, output
    assert "leaving before the first step" in output and "Traceback" not in output


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_what_stops_one_worker_stops_the_others_and_is_said_by_all_in_one_line(
    start: Start, fork: Fork, config_file: Path, own_data: Path, tmp_path: Path
) -> None:
    """The first process looks for checkpoints and reads the data while the other waits for it."""
    broken = own_data / SESSIONS[1] / "data_val.hdf5"
    broken.write_bytes(b"not HDF5")
    process = start([*command(config_file, own_data, tmp_path / "run"), *TWO])
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2, output
    assert output.count(f"error: {broken}: truncated or not HDF5") == 1
    assert output.count(f"error: another process gave up: {broken}: truncated or not HDF5") == 1
    assert "Traceback" not in output
    state = tmp_path / "run" / "checkpoints" / "step_00000007.pt"
    state.write_bytes(b"damaged")
    pair = fork(trainer(config_file, own_data, tmp_path / "run"), count=2, **meeting_point())
    output = pair.wait()
    assert pair.returncode == 1, output
    assert output.count(f"error: none of the 1 checkpoints in {state.parent} can be used") == 1
    assert output.count("error: another process gave up: none of the 1 checkpoints") == 1
    assert "Traceback" not in output


def test_a_wrong_field_is_said_once_and_before_any_worker_starts(
    config_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(config_file, data, tmp_path / "run", "--set", "model.n_unit=3", *TWO)[3:]
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("did you mean model.n_units?") == 1


def test_the_loss_of_a_step_does_not_keep_its_gradients(tmp_path: Path) -> None:
    """Losses wait for the next report, at worst two hundred steps; gradients of a full model are 176 MB."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        parameter, elsewhere = torch.nn.Parameter(torch.zeros(1000)), torch.nn.Parameter(torch.zeros(10))
        peers = Peers(rank=0, size=2)
        peers.make_room([elsewhere, parameter])
        for factor in (2.0, 1.0):
            parameter.grad, elsewhere.grad = factor * torch.arange(1000.0), None
            loss = peers.sum_gradients([parameter, elsewhere], torch.tensor(3.0))
    finally:
        dist.destroy_process_group()
    assert float(loss) == 3.0
    assert torch.equal(parameter.grad, torch.arange(1000.0))
    assert elsewhere.grad is not None
    assert torch.equal(elsewhere.grad, torch.zeros(10))  # it has had a gradient on another process
    assert loss.untyped_storage().nbytes() == 4


def test_loopback_is_reached_through_the_loopback_interface() -> None:
    assert interface_to("127.0.0.1") == "lo"


def test_processes_that_would_share_a_gpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL would only say: duplicate GPU detected."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = load_config(None, ["compute.device=cuda:1"])
    with pytest.raises(ConfigError, match="cuda:1 with 2 processes on this machine, which need a GPU each"):
        choose_compute(config, Console(quiet=True))


def test_a_process_that_is_alone_on_its_machine_may_name_its_gpu_and_no_process_need_take_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = torch.cuda.device_count()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    named = load_config(None, [f"compute.device=cuda:{count}"])
    with pytest.raises(DeviceUnavailable, match=f"cuda:{count} was asked for, but torch sees {count} GPUs"):
        choose_compute(named, Console(quiet=True))
    without = load_config(None, ["gpu_number=-1", "compute.precision=fp32"])
    assert choose_compute(without, Console(quiet=True)).device.type == "cpu"


@pytest.mark.parametrize("count", ["0", "two", "-1"])
def test_a_number_of_processes_that_is_none_is_refused(
    count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"--nproc-per-node={count}"]) == 2
    assert f"expected a number of processes or auto, found {count}" in capsys.readouterr().err
