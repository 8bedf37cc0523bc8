"""However a training is interrupted, it ends in the same weights and the same table, bit for bit."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from launcher import Run
from tests.system.house import House, eventually

STEPS = 40
CONFIG = f"""
model: {{n_units: 24, n_layers: 1, patch_size: 14, patch_stride: 4, rnn_dropout: 0.1}}
num_training_batches: {STEPS}
batches_per_train_log: 1
batches_per_val_step: 10
lr_warmup_steps: 5
dataset: {{batch_size: 2, days_per_batch: 1}}
checkpoints: {{every_s: 0.5, keep: 3}}
compute: {{device: cpu, threads: 1, precision: fp32}}
records: {{curves: false, tensorboard: false}}
"""


def lines(run: Run, house: House) -> int:
    """How many lines of metrics the training has written on its machine."""
    found = house.state.glob(f"**/launch/{run.id}/logs/*/metrics.jsonl")
    return max((path.read_bytes().count(b"\n") for path in found), default=0)


def in_the_middle(run: Run, house: House) -> None:
    """Wait until a checkpoint is there, and some steps after it."""
    saved = f"**/launch/{run.id}/checkpoints/step_*.pt"
    eventually(lambda: list(house.state.glob(saved)), f"{run.id}: a checkpoint")
    seen = lines(run, house)
    eventually(lambda: lines(run, house) >= seen + 2, f"{run.id}: steps after it")


@pytest.mark.timeout(240)
def test_killed_stopped_and_noticed_trainings_end_as_one_that_was_left_alone(house: House) -> None:
    torch = pytest.importorskip("torch")
    from trainer.synthetic import SyntheticSpec, write_dataset

    write_dataset(house.root / "data", SyntheticSpec.tiny())
    (house.project / "config.yaml").write_text(CONFIG)

    def training(name: str, provider: str = "local", **fields: object) -> Run:
        job = house.job(
            f"{sys.executable} -m trainer train --config config.yaml",
            name=name,
            file_mounts={"data": str(house.root / "data")},
            checkpoint={},
            envs={"PYTHONPATH": house.environ["PYTHONPATH"]},
            **fields,
        )
        return house.launch(job, provider=provider)

    alone = training("alone")
    killed = training("killed", recovery={"max_restarts_on_errors": 1})
    in_the_middle(killed, house)
    for pid in house.pids(killed, "trainer train"):
        os.kill(pid, signal.SIGKILL)

    stopped = training("stopped")
    in_the_middle(stopped, house)
    stopped.stop()
    assert stopped.wait(timeout_s=60).state == "stopped"
    stopped.resume()

    noticed = training("noticed", provider="fake")
    in_the_middle(noticed, house)
    noticed.interrupt(notice_s=60)

    runs = (alone, killed, stopped, noticed)
    for run in runs:
        result = run.wait(timeout_s=120)
        assert result.state == "succeeded", (
            f"{run.id}: {result.reason}\n{b''.join(run.follow_log()).decode()}"
        )
        house.audit(run)
    for run in (killed, stopped, noticed):
        assert any("goes on from checkpoint" in event.message for event in run.events()), (
            f"{run.id} began anew"
        )
    assert [attempt.cause for attempt in noticed.status().attempts] == ["notice", "finished"]

    tables = [_find(run, "metrics.csv").read_bytes() for run in runs]
    assert tables[0].count(b"\n") >= STEPS
    assert tables[1:] == [tables[0]] * 3
    reference, *others = [
        torch.load(_find(run, "best_checkpoint"), weights_only=False)["model_state_dict"] for run in runs
    ]
    for other in others:
        assert other.keys() == reference.keys()
        assert all(torch.equal(other[name], reference[name]) for name in reference)


def _find(run: Run, name: str) -> Path:
    (path,) = Path(run.status().results_dir).rglob(name)
    return path
