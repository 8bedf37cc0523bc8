"""The table of paces that ships: written from the raw outputs, used where a job names a workload of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from benchmarks.train_step import paces
from launcher.forecast.benchmarks import benchmarks, workloads
from launcher.forecast.throughput import Source, Work, work_time
from launcher.job import Job
from tests.launcher.core.builders import offer, this_computer

ROOT = Path(__file__).parents[3]


def test_the_table_is_what_the_raw_outputs_say() -> None:
    written = io.StringIO()
    paces.write(ROOT / "benchmarks" / "train_step", written)
    assert (ROOT / "launcher" / "data" / "paces.csv").read_text(encoding="utf-8") == written.getvalue()


def test_a_measured_workload_on_the_same_hardware_is_measured() -> None:
    work = Work(steps=120_000, like="b2t25-full")
    time = work_time(offer(gpu_name="RTX 4090", gpu_memory_gib=24.0), work, benchmarks=benchmarks())
    assert time.source is Source.MEASURED
    assert time.hours.likely == pytest.approx(3.5, rel=0.01)
    assert "published" in time.basis
    here = work_time(this_computer(), Work(steps=3600, like="b2t25-small"), benchmarks=benchmarks())
    assert here.source is Source.MEASURED and "benchmarks/train_step" in here.basis


def test_elsewhere_it_is_scaled_and_says_from_where() -> None:
    time = work_time(offer(), Work(steps=120_000, like="b2t25-full"), benchmarks=benchmarks())
    assert time.source is Source.SCALED
    assert 8 < time.hours.likely < 24
    assert "RTX 4090" in time.basis and "launch calibrate" in time.narrow_by[0]


def test_a_job_names_a_workload_that_there_is(tmp_path: Path) -> None:
    job = Job.from_dict({"run": "x", "work": {"steps": 5, "like": "b2t25-full"}}, base_dir=tmp_path)
    assert job.work is not None and job.work.like in workloads()
    with pytest.raises(Exception, match="b2t25-full"):
        Job.from_dict({"run": "x", "work": {"steps": 5, "like": "b2t"}}, base_dir=tmp_path)
