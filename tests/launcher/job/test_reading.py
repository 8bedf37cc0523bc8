"""What a job file means: its forms, its defaults, and the traps of YAML."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from launcher.errors import JobFileError
from launcher.job import Accelerator, Amount, Job, MemoryAmount, Resources, Size, find_job_file, unsupported
from launcher.job.support import require_supported
from provisioning import Query, WhenUnattended


def job_of(text: str, folder: Path, name: str = "launch.yaml") -> Job:
    path = folder / name
    path.write_text(text)
    return Job.from_yaml(path)


def test_the_shortest_job(tmp_path: Path) -> None:
    folder = tmp_path / "My Project"
    folder.mkdir()
    job = job_of("run: python train.py\n", folder)
    assert (job.name, job.run, job.base_dir, job.workdir_path) == (
        "my-project",
        "python train.py",
        folder,
        folder,
    )
    assert job_of("run: x", folder, "nightly.yaml").name == "nightly"


def test_resources_in_all_their_forms(tmp_path: Path) -> None:
    job = job_of(
        """
        resources:
          infra: aws/us-east-1/us-east-1a
          accelerators: {T4: 2}
          cpus: 8+
          memory: 32
          disk_size: 200
          use_spot: yes
          max_hourly_cost: 0.9
        run: x
        """,
        tmp_path,
    )
    assert job.resources == Resources(
        cloud="aws",
        region="us-east-1",
        zone="us-east-1a",
        accelerators=Accelerator("T4", 2),
        cpus=Amount(8, or_more=True),
        memory=MemoryAmount(Size(32 * 10**9)),
        disk_size=Size(200 * 10**9),
        use_spot=True,
        max_hourly_cost=0.9,
    )
    assert job.resources.query() == Query(
        gpu_name="T4",
        gpu_count=2,
        region="us-east-1",
        zone="us-east-1a",
        spot=True,
        max_usd_per_hour=0.9,
        min_vcpus=8.0,
        min_memory_gib=32 * 10**9 / 2**30,
        disk_gib=200 * 10**9 / 2**30,
    )


@pytest.mark.parametrize("text", ["T4", "T4:1", "{T4: 1}", "{T4: }"])
def test_one_gpu(text: str, tmp_path: Path) -> None:
    if text == "{T4: }":
        with pytest.raises(JobFileError, match="number of GPUs"):
            job_of(f"run: x\nresources: {{accelerators: {text}}}", tmp_path)
    else:
        job = job_of(
            f"run: x\nresources: {{accelerators: {text!r}}}".replace("'{", "{").replace("}'", "}"), tmp_path
        )
        assert job.resources.accelerators == Accelerator("T4", 1)


def test_infra_may_leave_a_part_open(tmp_path: Path) -> None:
    resources = job_of("run: x\nresources: {infra: '*/eu-west-1'}", tmp_path).resources
    assert (resources.cloud, resources.region, resources.zone) == (None, "eu-west-1", None)


def test_alternatives_take_over_what_stands_beside_them() -> None:
    resources = Job.from_dict(
        {
            "run": "x",
            "resources": {
                "infra": "aws/us-east-1",
                "use_spot": True,
                "cpus": "4+",
                "any_of": [{"accelerators": "T4"}, {"cloud": "gcp", "accelerators": "L4", "cpus": "8"}],
            },
        }
    ).resources
    first, second = resources.alternatives()
    assert (first.cloud, first.region, first.use_spot, str(first.cpus)) == ("aws", "us-east-1", True, "4+")
    assert (second.cloud, second.region, second.use_spot, str(second.cpus)) == ("gcp", None, True, "8")
    assert first.any_of is None
    assert Resources().alternatives() == (Resources(),)


def test_texts_stay_as_they_were_written(tmp_path: Path) -> None:
    job = job_of(
        """
        environment: {python: 3.10}
        envs: {VERSION: 1.10, OCTAL: 010, TIME: 1:30, COUNTRY: NO, FLAG: True, EMPTY: "", NULL_TEXT: "null", HEX: 0x1F}
        work: {hours: 3.5, on: RTX 4090}
        run: x
        """,
        tmp_path,
    )
    assert job.environment.python == "3.10"
    assert job.envs == {
        "VERSION": "1.10",
        "OCTAL": "010",
        "TIME": "1:30",
        "COUNTRY": "NO",
        "FLAG": "True",
        "EMPTY": "",
        "NULL_TEXT": "null",
        "HEX": "0x1F",
    }
    assert job.work is not None
    assert job.work.on == "RTX 4090"


def test_numbers_and_flags_from_python_become_text() -> None:
    assert Job.from_dict({"run": "x", "envs": {"A": 1, "B": 0.5, "C": True}}).envs == {
        "A": "1",
        "B": "0.5",
        "C": "true",
    }


def test_provider_options_look_like_what_they_are(tmp_path: Path) -> None:
    job = job_of(
        """
        run: x
        provider_options: {fake: {boot_s: 1.5, deep: [{n: 3, flag: true, text: "3", none: }]}}
        """,
        tmp_path,
    )
    assert job.provider_options == {
        "fake": {"boot_s": 1.5, "deep": [{"n": 3, "flag": True, "text": "3", "none": None}]}
    }


def test_merge_keys_and_anchors_work(tmp_path: Path) -> None:
    job = job_of(
        """
        stages:
          - &first {name: a, run: x, setup: pip install y}
          - {<<: *first, name: b}
        """,
        tmp_path,
    )
    assert [(stage.name, stage.setup) for stage in job.stages] == [
        ("a", "pip install y"),
        ("b", "pip install y"),
    ]


def test_a_field_without_a_value_is_not_given(tmp_path: Path) -> None:
    job = job_of("name:\nrun: x\nsetup:\nresources:\nmax_cost: null\ncheckpoint: {every: ~}\n", tmp_path)
    assert job == Job(run="x", name=job.name)


def test_stages_take_over_what_the_job_says(tmp_path: Path) -> None:
    job = job_of(
        """
        setup: pip install -r requirements.txt
        resources: {cloud: aws, accelerators: T4, disk_size: 100}
        stages:
          - {name: features, run: a, resources: {accelerators: L4}}
          - {name: train, run: b, needs: features, setup: "true", outputs: [models/]}
        """,
        tmp_path,
    )
    features, train = job.every_stage
    assert features.resources is not None
    assert (features.setup, features.resources.cloud) == ("pip install -r requirements.txt", "aws")
    assert features.resources.accelerators == Accelerator("L4")
    assert (train.setup, train.resources, train.needs) == ("true", job.resources, ("features",))


def test_a_run_is_one_stage_called_main() -> None:
    job = Job.from_dict(
        {"run": "x", "setup": "s", "environment": {"python": "3.11"}, "file_outputs": {"*.csv": "r"}}
    )
    (stage,) = job.every_stage
    assert (stage.name, stage.run, stage.setup, stage.outputs) == ("main", "x", "s", ("*.csv",))
    assert (stage.resources, stage.environment) == (job.resources, job.environment)


def test_paths_at_home_are_relative_to_the_job_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    folder = tmp_path / "jobs"
    folder.mkdir()
    job = job_of(
        "workdir: ../code\nrun: x\nfile_mounts: {data: ../big, /mnt/d: ~/d, w: 'https://example.org/w.zip'}",
        folder,
    )
    assert job.workdir_path == tmp_path / "code"
    assert [(mount.target, mount.source) for mount in job.mounts] == [
        ("data", str(folder / "../big")),
        ("/mnt/d", str(tmp_path / "me" / "d")),
        ("w", "https://example.org/w.zip"),
    ]


def test_built_in_python_it_is_checked_the_same_way() -> None:
    job = Job(run="python train.py", max_duration=timedelta(hours=8), when_unattended=WhenUnattended.PARK)
    assert job.max_duration == timedelta(hours=8)
    with pytest.raises(JobFileError, match=r"resources\.cpus"):
        Job.from_dict({"run": "x", "resources": {"cpus": 0}})
    with pytest.raises(JobFileError, match="max_cost: must be more than 0"):
        Job(run="x", max_cost=-1.0)
    with pytest.raises(JobFileError, match="run: is missing"):
        Job()


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    job = Job(run="x", secrets={"TOKEN": "hunter2"})
    assert "hunter2" not in repr(job)
    assert job.to_dict()["secrets"] == {"TOKEN": None}


def test_variables_of_the_command_line_go_where_the_job_wants_them() -> None:
    job = Job(run="x", envs={"LR": "1"}, secrets={"TOKEN": None}).with_envs(
        {"LR": "2", "TOKEN": "t", "NEW": "n"}
    )
    assert (job.envs, job.secrets) == ({"LR": "2", "NEW": "n"}, {"TOKEN": "t"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
    ],
)
def test_files_that_hold_no_job(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "j.yaml").write_bytes(content)
    with pytest.raises(JobFileError, match=message):
        Job.from_yaml(tmp_path / "j.yaml")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match="there is no such file"):
        Job.from_yaml(tmp_path / "missing.yaml")
    with pytest.raises(JobFileError, match="is a folder, not a job file"):
        Job.from_yaml(tmp_path)


def test_the_nearest_job_file_up_to_the_root_of_the_repository(tmp_path: Path) -> None:
    deep = tmp_path / "repo" / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "launch.yaml").write_text("run: x")
    assert find_job_file(deep) is None
    (tmp_path / "repo" / ".git").mkdir()
    assert find_job_file(deep) is None
    (tmp_path / "repo" / "launch.yaml").write_text("run: x")
    assert find_job_file(deep) == tmp_path / "repo" / "launch.yaml"
    (deep / "launch.yaml").write_text("run: x")
    assert find_job_file(deep) == deep / "launch.yaml"


def test_what_cannot_be_run_yet_is_refused_by_its_field() -> None:
    job = Job.from_dict(
        {
            "stages": [{"name": "a", "run": "x"}],
            "smoke": {"run": "y"},
            "when_unattended": "push",
            "file_mounts": {"d": "kaggle://competitions/d", "e": "/local", "f": "https://example.org/f"},
        }
    )
    assert [field for field, _ in unsupported(job)] == [
        "when_unattended",
        "file_mounts.d",
    ]
    with pytest.raises(JobFileError, match=r"^when_unattended: ") as caught:
        require_supported(job)
    assert "file_mounts.d" in (caught.value.hint or "")
    assert unsupported(Job(run="x")) == []
    pushed = {"run": "x", "when_unattended": "push", "checkpoint": {"mirror": "s3://bucket/ck"}}
    assert unsupported(Job.from_dict(pushed)) == []
    in_stages = {"stages": [{"name": "a", "run": "x"}], "checkpoint": {"mirror": "s3://bucket/ck"}}
    assert unsupported(Job.from_dict(in_stages)) == []
