from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.forking import REPOSITORY, Fork
from tests.trainer.conftest import wait_until
from trainer.checkpoint import Checkpointer, load, newest_good, step_files
from trainer.durable import digest_path, file_digest, link_into_place, publish, remove_stale
from trainer.errors import CheckpointCorrupt, CheckpointNotSaved, NoCheckpoint


def state(value: float, size: int = 100) -> dict[str, object]:
    return {"model": {"w": torch.full((size,), float(value))}, "list": [1, (2.5, "x", None)], "flag": True}


def saved_steps(folder: Path) -> list[int]:
    return [int(path.stem.partition("_")[2]) for path in step_files(folder)]


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpoints:
        assert checkpoints.load_newest() is None
        checkpoints.save(7, state(1.5), wait=True)
        found = checkpoints.load_newest()
    assert found is not None
    assert found.step == 7
    assert found.state["list"] == [1, (2.5, "x", None)]
    assert torch.equal(found.state["model"]["w"], torch.full((100,), 1.5))


def test_the_digest_is_one_that_sha256sum_checks(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.save(1, state(1.0))
    subprocess.run(
        ["sha256sum", "-c", "step_00000001.pt.sha256"], cwd=tmp_path, check=True, capture_output=True
    )


def test_changing_the_model_after_save_returns_does_not_change_the_checkpoint(tmp_path: Path) -> None:
    weights = torch.zeros(1_000_000)
    with Checkpointer(tmp_path, keep=10) as checkpoints:
        for step in range(5):
            weights.fill_(step)
            checkpoints.save(step, {"w": weights})
            weights.fill_(-1)
    for step in range(5):
        assert torch.equal(load(tmp_path / f"step_{step:08d}.pt")["w"], torch.full((1_000_000,), float(step)))


def test_the_newest_are_kept_and_the_best(tmp_path: Path) -> None:
    with Checkpointer(tmp_path, keep=2) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, state(step), best=step == 2)
    assert saved_steps(tmp_path) == [4, 5]
    assert torch.equal(load(tmp_path / "best.pt")["model"]["w"], torch.full((100,), 2.0))
    subprocess.run(["sha256sum", "-c", "best.pt.sha256"], cwd=tmp_path, check=True, capture_output=True)


def test_values_that_would_not_load_again_are_refused_when_saving(tmp_path: Path) -> None:
    with Checkpointer(tmp_path) as checkpoints, pytest.raises(TypeError, match=r"state\[a/b\] is a float64"):
        checkpoints.save(1, {"a": {"b": np.float64(1)}})
    assert not step_files(tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "flip", "no digest"])
def test_a_damaged_newest_falls_back_and_says_so(tmp_path: Path, damage: str) -> None:
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.save(1, state(1))
        checkpoints.save(2, state(2))
    newest = tmp_path / "step_00000002.pt"
    if damage == "truncate":
        os.truncate(newest, 200)
    elif damage == "flip":
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)
    else:
        digest_path(newest).unlink()
    said: list[str] = []
    found = newest_good(tmp_path, said.append)
    assert found is not None
    assert found.step == 1
    assert "step_00000002.pt" in said[0]


def test_a_file_that_is_no_checkpoint_is_corrupt_and_an_absent_one_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.pt"
    path.write_bytes(b"hello")
    with pytest.raises(CheckpointCorrupt, match=r"cannot be read: it is no file that torch\.save wrote"):
        load(path)
    with pytest.raises(NoCheckpoint):
        load(tmp_path / "step_00000002.pt")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> object:
            return (os.mkdir, (str(tmp_path / "boom"),))

    torch.save({"x": Bomb()}, tmp_path / "step_00000001.pt")
    with pytest.raises(CheckpointCorrupt, match=r"unsupported GLOBAL .*mkdir"):
        load(tmp_path / "step_00000001.pt")
    assert not (tmp_path / "boom").exists()


def test_what_killed_writers_left_is_cleaned_and_living_writers_are_left_alone(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".step_00000009.pt.{dead.pid}.tmp").write_bytes(b"half")
    living = tmp_path / f".step_00000008.pt.{os.getppid()}.tmp"
    living.write_bytes(b"half")
    (tmp_path / "step_00000009.pt.sha256").write_text("0 step_00000009.pt\n")
    Checkpointer(tmp_path).close()
    assert list(tmp_path.iterdir()) == [living]


WRITER = """
import sys, torch
from trainer.checkpoint import Checkpointer
checkpoints = Checkpointer(sys.argv[1], keep=3)
for step in range(1, 10**6):
    checkpoints.save(step, {"w": torch.full((300_000,), float(step))})
    print(step, flush=True)
"""


def test_kill_9_while_writing_never_leaves_a_wrong_pair(tmp_path: Path, fork: Fork) -> None:
    script, folder = tmp_path / "writer.py", tmp_path / "c"
    script.write_text(WRITER)
    for after in (3, 8, 15):
        process = fork([str(script), str(folder)])
        wait_until(lambda n=after, p=process: p.output().count("\n") >= n or not p.lives(), f"{after} saves")
        process.kill()
        for path in step_files(folder):
            assert digest_path(path).read_text().split()[0] == file_digest(path)
            assert float(load(path)["w"][0]) == int(path.stem.partition("_")[2])
        assert remove_stale(folder) is not None
        assert all(p.suffix in (".pt", ".sha256") for p in folder.iterdir())


def limited_file_size(limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def test_a_disk_that_refuses_costs_only_that_checkpoint(tmp_path: Path) -> None:
    said: list[str] = []
    with Checkpointer(tmp_path, warn=said.append) as checkpoints:
        checkpoints.save(1, state(1), wait=True)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            limited_file_size(4096)
            checkpoints.save(2, state(2, size=100_000))
            checkpoints.close()
            with pytest.raises(CheckpointNotSaved, match="File too large") as caught:
                checkpoints.save(3, state(3, size=100_000), wait=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.left_behind is not None
        assert "step_00000001.pt" in caught.value.left_behind
        assert saved_steps(tmp_path) == [1]
        assert "step_00000002.pt could not be written" in said[0]
        checkpoints.save(4, state(4), wait=True)
    assert saved_steps(tmp_path) == [1, 4]
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> object:
    """A file system of one megabyte; only root can mount one, and other users have the test above."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_gives_up_older_checkpoints_before_the_newest(small_disk: Path) -> None:
    said: list[str] = []
    with Checkpointer(small_disk, keep=5, warn=said.append) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step, size=70_000), wait=True)  # 280 kB each: the fourth has no room
        checkpoints.save(4, state(4, size=70_000), wait=True)
        assert saved_steps(small_disk) == [3, 4]
        with pytest.raises(CheckpointNotSaved, match=os.strerror(errno.ENOSPC)):
            checkpoints.save(5, state(5, size=500_000), wait=True)
        assert saved_steps(small_disk) == [4]
    assert newest_good(small_disk) is not None


def test_publishing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(out: object) -> None:
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        publish(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    link_into_place(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"
    assert (tmp_path / "a").exists()


def test_writing_happens_in_another_thread(tmp_path: Path) -> None:
    seen: list[str] = []
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.save(1, state(1), prepare=lambda copied: seen.append(threading.current_thread().name))
    assert seen == ["checkpoint-writer"]


def test_a_save_is_due_by_steps_and_by_the_clock(tmp_path: Path) -> None:
    now = 0.0
    with Checkpointer(tmp_path, every_s=60, every_steps=100, clock=lambda: now) as checkpoints:
        assert [step for step in range(301) if checkpoints.due(step)] == [100, 200, 300]
        now = 59.0
        assert not checkpoints.due(7)
        now = 60.0
        assert checkpoints.due(7)
        checkpoints.save(7, state(7), wait=True)
        assert not checkpoints.due(8)
    with Checkpointer(tmp_path / "never", clock=lambda: now) as checkpoints:
        now = 1e9
        assert not any(checkpoints.due(step) for step in range(200))


def test_at_least_the_newest_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep must be at least 1, found 0"):
        Checkpointer(tmp_path, keep=0)


def test_without_a_listener_warnings_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.save(1, state(1))
        checkpoints.save(2, state(2), wait=True)
        os.truncate(tmp_path / "step_00000002.pt", 100)
        found = checkpoints.load_newest()
    assert found is not None
    assert found.step == 1
    assert "warning: " in capsys.readouterr().err


def test_the_example_script_goes_on_after_sigterm_as_if_nothing_had_happened(
    tmp_path: Path, fork: Fork
) -> None:
    script = str(REPOSITORY / "examples" / "any_script.py")
    expected = fork([script, str(tmp_path / "reference")]).wait()
    numbers = tmp_path / "numbers.jsonl"
    argv = [script, str(tmp_path / "c")]
    process = fork(argv, LAUNCH_METRICS_FILE=str(numbers))
    wait_until(lambda: numbers.exists() and numbers.read_bytes().count(b"\n") >= 50, "step 50")
    process.send(signal.SIGTERM)
    process.wait()
    assert process.returncode == 75
    reached = numbers.read_bytes().count(b"\n")
    assert saved_steps(tmp_path / "c")[-1] == reached
    output = fork(argv).wait()
    assert output == expected.replace("resumed from 0", f"resumed from {reached}")
    output = fork([script, str(tmp_path / "warm"), str(tmp_path / "c" / "best.pt")]).wait()
    assert re.search(r"parameters +matched +skipped +absent +unused", output)
    loss = re.compile(r"loss ([0-9.]+) after")
    assert float(loss.findall(output)[0]) < float(loss.findall(expected)[0])
