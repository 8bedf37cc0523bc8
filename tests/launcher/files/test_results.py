"""Where results lie, to whom they belong, and what is fetched."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from launcher import results
from launcher.errors import HomeError, UsageError
from launcher.job import Job
from launcher.runners.base import Area, FetchedFile, FetchReport
from tests.launcher.files.trees import grow


def job_with(outputs: dict[str, str], base: Path) -> Job:
    return Job.from_dict({"run": "x", "file_outputs": outputs}, base_dir=base)


def fetched(*names: str) -> FetchReport:
    files = [FetchedFile(path=Path(name), size_bytes=1, sha256="", was_home=False) for name in names]
    return FetchReport(files=tuple(files))


def test_patterns_are_grouped_by_the_folder_they_go_to(tmp_path: Path) -> None:
    job = job_with(
        {"checkpoints/": "results/", "*.csv": "results", "models/": "../trained"}, tmp_path / "jobs"
    )
    outputs, models, logs = results.wanted(job, "demo-abcd")
    assert (outputs.patterns, outputs.dest, outputs.area) == (
        ("checkpoints/", "*.csv"),
        tmp_path / "jobs/results/demo-abcd",
        Area.WORK,
    )
    assert (models.patterns, models.dest) == (("models/",), tmp_path / "trained/demo-abcd")
    assert (logs.dest, logs.area) == (tmp_path / "jobs/results/demo-abcd/logs", Area.LOGS)
    assert results.results_dir(job, "demo-abcd") == outputs.dest


def test_out_replaces_every_folder(tmp_path: Path) -> None:
    job = job_with({"*.csv": "a", "*.pt": "b"}, tmp_path)
    (outputs, _) = results.wanted(job, "demo-abcd", out=tmp_path / "mine")
    assert (outputs.patterns, outputs.dest) == (("*.csv", "*.pt"), tmp_path / "mine/demo-abcd")


def test_without_file_outputs_everything_that_changed(tmp_path: Path) -> None:
    job = job_with({}, tmp_path)
    (everything, _) = results.wanted(job, "demo-abcd")
    assert everything == results.Fetch(
        patterns=("**",), dest=tmp_path / "results/demo-abcd", area=Area.CHANGED
    )
    assert "file_outputs is not given" in (results.why_everything(job, [fetched("a")]) or "")


def test_everything_is_the_fallback_when_nothing_matched(tmp_path: Path) -> None:
    job = job_with({"*.csv": "r", "m/": "r"}, tmp_path)
    assert results.why_everything(job, [fetched("a.csv"), fetched()]) is None
    assert "file_outputs (*.csv, m/) matched nothing" in (results.why_everything(job, [fetched()]) or "")


def test_a_folder_belongs_to_one_run_for_ever(tmp_path: Path) -> None:
    folder = results.claim(tmp_path / "results/demo-abcd", "demo-abcd")
    grow(folder, {"model.pt": "1"})
    assert results.claim(folder, "demo-abcd") == folder
    with pytest.raises(UsageError, match="holds the results of run demo-abcd"):
        results.claim(folder, "demo-wxyz")
    assert (folder / "model.pt").read_text() == "1"


def test_a_folder_of_somebody_is_not_taken(tmp_path: Path) -> None:
    folder = grow(tmp_path / "demo-abcd", {"thesis.tex": "1"})
    with pytest.raises(UsageError, match="exists and was not made for a run") as caught:
        results.claim(folder, "demo-abcd")
    assert "--out" in (caught.value.hint or "")
    grow(tmp_path, {"file": "1"})
    with pytest.raises(UsageError, match="is not a folder"):
        results.claim(tmp_path / "file", "demo-abcd")
    with pytest.raises(HomeError, match="results cannot be written"):
        results.claim(Path("/proc/demo-abcd"), "demo-abcd")


def test_an_empty_folder_is_what_a_crash_leaves(tmp_path: Path) -> None:
    (tmp_path / "demo-abcd").mkdir()
    assert results.taken_by_another(tmp_path / "demo-abcd", "demo-abcd") is None
    results.claim(tmp_path / "demo-abcd", "demo-abcd")


def _claim(folder: Path, run_id: str, answers: Any) -> None:
    try:
        results.claim(folder, run_id)
        answers.put(run_id)
    except UsageError:
        answers.put(None)


def test_of_two_runs_at_once_one_gets_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    racers = [
        context.Process(target=_claim, args=(tmp_path / "r" / "x", f"run-{n}", answers)) for n in range(3)
    ]
    for racer in racers:
        racer.start()
    won = [answers.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join(timeout=60)
    (winner,) = [run_id for run_id in won if run_id]
    assert (tmp_path / "r" / "x" / results.MARKER).read_text() == winner + "\n"


def test_latest_follows_the_newest(tmp_path: Path) -> None:
    for run_id in ("demo-aaaa", "demo-bbbb", "demo-bbbb"):
        assert results.point_latest(results.claim(tmp_path / run_id, run_id)) is None
        assert (tmp_path / "latest").readlink() == Path(run_id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo-aaaa", "demo-bbbb", "latest"]


def test_latest_of_somebody_is_left_alone(tmp_path: Path) -> None:
    folder = results.claim(tmp_path / "demo-aaaa", "demo-aaaa")
    grow(tmp_path / "latest", {"mine.txt": "1"})
    assert "is not ours to replace" in (results.point_latest(folder) or "")
    assert (tmp_path / "latest" / "mine.txt").exists()
