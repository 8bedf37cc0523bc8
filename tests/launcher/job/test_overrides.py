from __future__ import annotations

from datetime import timedelta

import pytest

from launcher.errors import JobFileError
from launcher.job import Job

JOB = Job.from_dict(
    {
        "name": "demo",
        "run": "python train.py",
        "resources": {"infra": "aws/us-east-1", "cpus": "4+"},
        "envs": {"LR": "1"},
        "secrets": {"TOKEN": "t"},
        "file_outputs": {"*.csv": "results"},
    }
)


def test_values_are_read_as_in_a_file() -> None:
    job = JOB.with_overrides(
        {
            "max_duration": "8h",
            "resources.accelerators": "{T4: 2}",
            "resources.use_spot": "yes",
            "envs.LR": "0.10",
            "recovery.max_restarts_on_errors": "2",
            "run": "python train.py --lr: 3",
        }
    )
    assert job.max_duration == timedelta(hours=8)
    assert str(job.resources.accelerators) == "T4:2"
    assert job.resources.use_spot is True
    assert job.envs == {"LR": "0.10"}
    assert job.recovery.max_restarts_on_errors == 2
    assert job.run == "python train.py --lr: 3"
    assert (job.name, job.secrets, job.base_dir) == ("demo", {"TOKEN": "t"}, JOB.base_dir)


def test_nothing_removes() -> None:
    job = JOB.with_overrides({"resources.region": None, "resources.cpus": "null"})
    assert (job.resources.cloud, job.resources.region, job.resources.cpus) == ("aws", None, None)


def test_another_infra_replaces_the_place_as_a_whole() -> None:
    assert JOB.with_overrides({"resources.infra": "gcp"}).resources.region is None


@pytest.mark.parametrize("path", ['file_outputs."*.log"', 'file_outputs["*.log"]'])
def test_keys_with_dots_are_quoted(path: str) -> None:
    assert JOB.with_overrides({path: "logs"}).file_outputs == {"*.csv": "results", "*.log": "logs"}


def test_items_of_lists() -> None:
    job = Job.from_dict({"stages": [{"name": "a", "run": "x"}, {"name": "b", "run": "y"}]})
    assert job.with_overrides({"stages[1].run": "z"}).stages[1].run == "z"
    with pytest.raises(JobFileError, match=r"there is no item 2 in stages"):
        job.with_overrides({"stages[2].run": "z"})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "resources.acelerators",
            "T4",
            "resources.acelerators: there is no such field; did you mean 'accelerators'",
        ),
        ("work", "{steps:0}", "a space is missing after the colon: steps: 0"),
        ("max_cost", "-1", "max_cost: must be more than 0"),
        ("run.x", "1", "run: has no field 'x': it is the text 'python train.py'"),
        ("", "1", "not a path to a field: ''"),
        ("a..b", "1", "not a path to a field: 'a..b'"),
        ("resources.", "1", "not a path to a field"),
        ("[0]", "1", "not a path to a field"),
        ("run", "", "run: is missing"),
    ],
)
def test_refused_by_its_path(path: str, value: str, message: str) -> None:
    with pytest.raises(JobFileError) as caught:
        JOB.with_overrides({path: value})
    assert message in str(caught.value)
