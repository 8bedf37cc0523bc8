"""Looking closely at a run's folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from launcher.rehearse.watch import Watch
from tests.provisioning.machines import eventually


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("checkpoints", "control/main/1-1", "logs/main"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def tell(folder: Path, key: str = "1-1", **changes: object) -> None:
    told = {"phase": "running", "exit_code": None, "resumed_from": None, "setup_s": 1.5, **changes}
    path = folder / "control/main" / key / "status.json"
    path.parent.mkdir(exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(told))
    beside.replace(path)


def test_saves_beside_and_in_place(folder: Path) -> None:
    with Watch(folder) as watch:
        tell(folder)
        eventually(lambda: watch.newest and watch.newest.began_at_s is not None)
        beside = folder / "checkpoints/step_1.tmp"
        beside.write_bytes(b"whole")
        beside.replace(folder / "checkpoints/step_1")
        eventually(lambda: [save.name for save in watch.saves] == ["step_1"])
        assert not watch.written_in_place
        with (folder / "checkpoints/last").open("wb") as file:
            file.write(b"ha")
            file.flush()
            eventually(lambda: watch.saves[-1].name == "last")
            file.write(b"lf")
            file.flush()
            eventually(lambda: watch.written_in_place == {"last"})
    assert [save.name for save in watch.saves] == ["step_1", "last"]


def test_what_is_saved_elsewhere_is_found(folder: Path) -> None:
    (folder / "work/project/models").mkdir(parents=True)
    (folder / "outputs").mkdir()
    (folder / "work/project/outputs").symlink_to(folder / "outputs")
    old = folder / "work/project/models/old.pt"
    old.write_bytes(b"1")
    os.utime(old, (1, 1))
    with Watch(folder) as watch:
        for n, name in enumerate(("work/project/models/step_1.pt", "outputs/last.ckpt", "outputs/notes.txt")):
            (folder / name).write_bytes(b"1")
            os.utime(folder / name, (2e9 + n, 2e9 + n))
        assert watch.saved_elsewhere() == ("outputs/last.ckpt", "models/step_1.pt")


def test_what_lies_there_before_a_life_is_nobodys_save(folder: Path) -> None:
    (folder / "checkpoints/given").write_bytes(b"1")
    with Watch(folder) as watch:
        eventually(lambda: watch.seconds > 0.2)
        os.utime(folder / "checkpoints/given")
        tell(folder)
        eventually(lambda: watch.newest and watch.newest.began_at_s is not None)
        (folder / "checkpoints/own").write_bytes(b"1")
        eventually(lambda: watch.saves)
    assert [save.name for save in watch.saves] == ["own"]
    assert not watch.written_in_place


def test_lives_and_their_steps(folder: Path) -> None:
    metrics = folder / "logs/main/metrics.jsonl"
    with Watch(folder) as watch:
        tell(folder)
        eventually(lambda: watch.newest and watch.newest.began_at_s is not None)
        first = watch.newest
        assert first is not None
        metrics.write_text('{"step": 1, "total": 9}\nnot json\n{"loss": 1}\n{"step": 2}\n{"ste')
        eventually(lambda: [step for _, step in first.steps] == [1, 2])
        assert watch.total == 9
        tell(folder, phase="leaving")
        eventually(lambda: first.asked_at_s is not None)
        tell(folder, phase="ended", exit_code=75)
        eventually(lambda: first.exit_code == 75)
        tell(folder, "2-1", resumed_from="step_2")
        eventually(lambda: watch.newest is not None and watch.newest.resumed_from == "step_2")
        second = watch.newest
        assert second is not None
        with metrics.open("a") as file:
            file.write('p": 3}\n')
        eventually(lambda: [step for _, step in second.steps] == [3])
