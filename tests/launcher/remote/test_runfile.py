"""run.json and status.json as data, and the paths of a run folder."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

import pytest

from launcher.errors import MachineError
from launcher.remote import runfile
from launcher.remote.layout import RunFolder, Start
from launcher.remote.onboard.gpu import parse_nvidia, parse_rocm
from launcher.remote.onboard.names import is_checkpoint_name, natural, sort_out
from launcher.remote.onboard.status import first_status
from launcher.remote.tools import archive
from launcher.runners.base import Submission

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ROOT = PurePosixPath("/scratch")
SUBMISSION = Submission(
    run_id="demo-abcd",
    attempt=2,
    stage="main",
    start=3,
    workdir_name="project",
    snapshot=Path("snapshot.tar.gz"),
    run="python train.py",
    setup="true",
    secrets={"TOKEN": "hunter2"},
    soft_deadline=NOW,
)


def orders() -> dict[str, object]:
    start = Start.of_submission(ROOT, SUBMISSION)
    return runfile.build(start, SUBMISSION, runfile.steps_of(start, SUBMISSION, []))


def test_run_json_is_json_and_holds_no_secret() -> None:
    text = runfile.encode(orders()).decode()
    assert "hunter2" not in text
    assert json.loads(text)["soft_deadline"] == "2026-01-01T00:00:00+00:00"


def test_what_the_watchdog_writes_first_can_be_read() -> None:
    data = json.dumps(first_status(orders())).encode()
    status = runfile.Status.parse(data, seen_at=NOW)
    assert status is not None
    assert status.progress.phase.value == "starting"
    for cut in range(len(data)):
        assert runfile.Status.parse(data[:cut], seen_at=NOW) is None


@pytest.mark.parametrize(
    "change", [{"schema": 2}, {"phase": "dancing"}, {"metrics": None}, {"heartbeat": "noon"}]
)
def test_a_status_of_somebody_else_is_an_error(change: dict[str, object]) -> None:
    data = json.dumps({**first_status(orders()), **change}).encode()
    with pytest.raises(MachineError, match=r"status\.json"):
        runfile.Status.parse(data, seen_at=NOW)


def test_setup_is_done_again_when_it_or_its_environment_changed() -> None:
    start = Start.of_submission(ROOT, SUBMISSION)

    def once(submission: Submission) -> str | None:
        return runfile.steps_of(start, submission, [])[0].once

    changed = replace(SUBMISSION, setup="false")
    elsewhere = replace(SUBMISSION, environment=replace(SUBMISSION.environment, requirements="x"))
    assert len({once(SUBMISSION), once(changed), once(elsewhere)}) == 3
    assert once(SUBMISSION) == once(replace(SUBMISSION, start=9, run="other"))


@pytest.mark.parametrize(
    ("work_root", "workdir", "checkpoints"),
    [
        ("relative", "project", "checkpoints"),
        ("/w", "", "checkpoints"),
        ("/w", "..", "checkpoints"),
        ("/w", "a/b", "checkpoints"),
        ("/w", "project", "/checkpoints"),
        ("/w", "project", "../checkpoints"),
        ("/w", "project", "."),
    ],
)
def test_paths_that_would_leave_are_refused(work_root: str, workdir: str, checkpoints: str) -> None:
    with pytest.raises(ValueError, match=r"folder|work root"):
        RunFolder(PurePosixPath(work_root), "demo-abcd", workdir, checkpoints)


@pytest.mark.parametrize("stage", ["", "..", "a/b", "-x", "a b"])
def test_a_stage_is_a_plain_name(stage: str) -> None:
    with pytest.raises(ValueError, match="stage"):
        Start.of_submission(ROOT, replace(SUBMISSION, stage=stage))


def test_checkpoints_in_the_output_folder_need_one_link() -> None:
    assert list(RunFolder(ROOT, "demo-abcd", "project", "outputs").links) == ["outputs"]


def test_the_archive_is_the_same_for_the_same_sources() -> None:
    assert archive.__wrapped__() == archive()


def test_names_in_the_making_are_no_checkpoints() -> None:
    candidates = ["step_1.pt", ".x", "a.tmp", "a.part", "a.sha256", "a~", "folder", "runs"]
    assert [name for name in candidates if is_checkpoint_name(name)] == ["step_1.pt", "folder"]
    assert sorted(["step_10", "step_9", "a2b10", "a2b9"], key=natural) == [
        "a2b9",
        "a2b10",
        "step_9",
        "step_10",
    ]


def test_of_what_lies_beside_a_librarys_checkpoints_only_saves_count(tmp_path: Path) -> None:
    folders = ["checkpoint-500", "checkpoint-1000", "best", "best_model", "final_model", "runs"]
    for name in folders:
        (tmp_path / name).mkdir()
    files = ["config.json", "model.safetensors", "best_metric.txt", "training_args.bin", "last.pt"]
    everything = [name for name in (*folders, *files) if name != "runs"]
    assert sort_out(str(tmp_path), [*folders, *files]) == (sorted(everything), [])  # nobody's that is known
    (tmp_path / "checkpoint-500/trainer_state.json").touch()
    counted, passed_over = sort_out(str(tmp_path), [*folders, *files])
    assert counted == ["best", "best_model", "checkpoint-1000", "checkpoint-500", "last.pt"]
    assert passed_over == [
        "best_metric.txt",
        "config.json",
        "final_model",
        "model.safetensors",
        "training_args.bin",
    ]


def test_what_drivers_say_about_gpus() -> None:
    two = parse_nvidia("10, 1024, 2048, 50.0, 40\n30, 1024, 2048, [N/A], 60\n")
    assert two is not None
    assert (two.percent, two.memory_used_gib, two.memory_total_gib) == (20.0, 2.0, 4.0)
    assert (two.power_w, two.temperature_c) == (50.0, 60.0)
    assert parse_nvidia("No devices were found\n") is None
    amd = '{"card0": {"GPU use (%)": "40", "VRAM Total Memory (B)": "1073741824", "VRAM Total Used Memory (B)": "536870912"}}'
    one = parse_rocm(amd)
    assert one is not None
    assert (one.percent, one.memory_used_gib, one.memory_total_gib) == (40.0, 0.5, 1.0)
    assert parse_rocm("WARNING: no GPU") is None
