"""Requirements, locks and conda files at home: read as they are at launch, and refused when they are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.errors import JobFileError
from launcher.job import Job
from launcher.job.environments import environment_at_launch
from launcher.job.files import missing_files
from launcher.job.lock_format import LockFormat
from launcher.job.locks import outdated
from launcher.job.requirements import Line, lines_of, with_included
from launcher.runners.base import Environment
from tests.launcher.files.trees import grow

HASH = "--hash=sha256:" + "0" * 64
PROJECT = """[project]
name = "Mine"
version = "0"
dependencies = ["torch >=2.4, <3", "my_tool[fast]; python_version > '3'"]
[project.optional-dependencies]
gpu = ["flash-attn==2.7"]
all = ["mine[gpu,all]", "apex"]
[dependency-groups]
plots = ["h5py>=3"]
train-tools = ["tqdm", {include-group = "plots"}, {include-group = "train-tools"}]
"""
LOCK = """version = 1
revision = 3
requires-python = ">=3.10"

[[package]]
name = "mine"
version = "0"
source = { virtual = "." }

[package.metadata]
requires-dist = [
    { name = "torch", specifier = ">=2.4,<3" },
    { name = "my-tool", extras = ["fast"], marker = "python_full_version > '3'" },
    { name = "flash-attn", marker = "extra == 'gpu'", specifier = "==2.7" },
    { name = "apex", marker = "extra == 'all'" },
]

[[package]]
name = "torch"
version = "2.13.0"
source = { registry = "https://pypi.org/simple" }
"""


def job_in(folder: Path, **environment: Any) -> Job:
    return Job.from_dict({"run": "x", "environment": environment}, base_dir=folder)


def problems(folder: Path, **environment: Any) -> list[str]:
    return [
        f"{err.field}: {err.reason} {err.hint or ''}" for err in missing_files(job_in(folder, **environment))
    ]


def test_files_are_read_with_what_they_include(tmp_path: Path) -> None:
    files = {
        "needs/train.txt": "-r ../base.txt\n-c limits.txt  # upper bounds\ntorch\n",
        "base.txt": "numpy\n-r needs/train.txt\n",
        "needs/limits.txt": "numpy<3\n",
        "uv.lock": LOCK,
        "pyproject.toml": PROJECT,
        "environment.yml": "name: x\ndependencies: [python=3.11, {pip: [six]}]\n",
        "pinned.txt": f"six==1.17 \\\n    {HASH}\n",
        "sub/setup.py": "",
    }
    grow(tmp_path, files)

    def read(**environment: Any) -> Environment:
        job = job_in(tmp_path, **environment)
        assert problems(tmp_path, **environment) == []
        return environment_at_launch(job, job.environment)

    placed = read(requirements="needs/train.txt")
    assert placed.requirements == "-r 1-base.txt\n-c 2-limits.txt\ntorch\n"
    assert placed.included == {"1-base.txt": "numpy\n-r requirements.txt\n", "2-limits.txt": "numpy<3\n"}
    assert read(lock="uv.lock") == Environment(lock=LOCK, lock_format=LockFormat.UV, project=PROJECT)
    assert read(lock="pinned.txt", python="3.11").lock_format is LockFormat.PINNED
    declared = ["torch >=2.4, <3", "my_tool[fast]; python_version > '3'"]
    assert read(requirements="pyproject.toml").requirements == "\n".join([*declared, ""])
    more = read(requirements="pyproject.toml", extras="all", groups=["Train_Tools", "plots"]).requirements
    assert more == "\n".join([*declared, "flash-attn==2.7", "apex", "tqdm", "h5py>=3", ""])
    assert read(requirements="sub/setup.py").requirements == "-e ./sub\n"
    assert read(conda="environment.yml") == Environment(conda=files["environment.yml"])


def test_a_notebook_brings_what_executes_it(tmp_path: Path) -> None:
    grow(tmp_path, {"pinned.txt": f"ipykernel==7 {HASH}\n", "environment.yml": "dependencies: [python]\n"})
    job = job_in(tmp_path, lock="pinned.txt")
    assert environment_at_launch(job, job.environment, run="a.ipynb").added == ("nbclient",)
    job = job_in(tmp_path, conda="environment.yml")
    assert environment_at_launch(job, job.environment, run="a.ipynb").added == ("nbclient", "ipykernel")
    assert environment_at_launch(job, job.environment).added == ()


@pytest.mark.parametrize(
    ("files", "environment", "words"),
    [
        ({"a.txt": "-r b.txt"}, {"requirements": "a.txt"}, "environment.requirements: {}/b.txt cannot be read: No such"),
        ({"uv.lock": LOCK}, {"lock": "uv.lock"}, "environment.lock: {}/uv.lock belongs to a pyproject.toml"),
        ({"uv.lock": "not TOML", "pyproject.toml": PROJECT}, {"lock": "uv.lock"}, "environment.lock: {}/uv.lock is no lock: "),
        ({"uv.lock": "[tool]", "pyproject.toml": PROJECT}, {"lock": "uv.lock"}, "is no lock: it has no version"),
        (
            {"uv.lock": LOCK + '[[package]]\nname = "lib"\nsource = { editable = "../lib" }\n', "pyproject.toml": PROJECT},
            {"lock": "uv.lock"},
            "locks what lies on this computer (lib)",
        ),
        (
            {"uv.lock": LOCK, "pyproject.toml": PROJECT.replace('"torch', '"h5py", "torch')},
            {"lock": "uv.lock"},
            "uv.lock is out of date: pyproject.toml asks for h5py, and the lock does not know that write it again: uv lock",
        ),
        (
            {"uv.lock": LOCK, "pyproject.toml": PROJECT.replace("<3", "<4")},
            {"lock": "uv.lock"},
            "pyproject.toml asks for torch<4,>=2.4, and the lock does not",
        ),
        ({"pylock.toml": "lock-version = '1.0'"}, {"lock": "pylock.toml"}, ""),
        ({"pylock.toml": "x = 1"}, {"lock": "pylock.toml"}, "pylock.toml is no lock: it has no lock-version"),
        ({"r.txt": "torch>=2\nnumpy==2.1"}, {"lock": "r.txt"}, "r.txt is no lock: torch is not pinned"),
        ({"r.txt": f"torch==2 {HASH}\nnumpy==2"}, {"lock": "r.txt"}, "has hashes, and none for numpy"),
        ({"r.txt": "# nothing"}, {"lock": "r.txt"}, "is no lock: it names no packages"),
        ({"r.txt": "-e .\nnumpy==1"}, {"lock": "r.txt"}, "locks what lies on this computer (-e .)"),
        (
            {"r.txt": "numpy==2.1", "r.in": "numpy\nscipy"},
            {"lock": "r.txt"},
            "its source asks for scipy, and the lock does not know that write it again: uv pip compile --generate-hashes r.in -o r.txt",
        ),
        ({"r.txt": "numpy==2.1", "r.in": "numpy==2.0"}, {"lock": "r.txt"}, "asks for numpy==2.0, and the lock has another"),
        (
            {"uv.lock": LOCK, "pyproject.toml": PROJECT},
            {"lock": "uv.lock", "extras": ["GPU", "cpu"]},
            "environment.extras[1]: the project has no extra 'cpu'; it has all, gpu",
        ),
        (
            {"uv.lock": LOCK, "pyproject.toml": PROJECT},
            {"lock": "uv.lock", "groups": "plots"},
            "uv.lock is out of date: pyproject.toml has the group plots, and the lock does not know it write it again: uv lock",
        ),
        (
            {"pyproject.toml": PROJECT},
            {"requirements": "pyproject.toml", "groups": "x"},
            "environment.groups[0]: the project has no group 'x'; it has plots, train-tools",
        ),
        (
            {"pyproject.toml": "[tool.poetry]\nname = 'x'\n"},
            {"requirements": "pyproject.toml"},
            "environment.requirements: {}/pyproject.toml declares its dependencies in Poetry's own way `poetry export",
        ),
        ({"pyproject.toml": "[tool.ruff]"}, {"requirements": "pyproject.toml"}, "has no [project] table"),
        ({"pyproject.toml": "["}, {"requirements": "pyproject.toml"}, "pyproject.toml is no TOML: "),
        (
            {"pyproject.toml": PROJECT.replace("version =", "dynamic = ['dependencies']\nversion =")
             + "[tool.setuptools.dynamic]\ndependencies = {file = ['needs.txt']}\n"},
            {"requirements": "pyproject.toml"},
            "leaves its dependencies to its build they stand in needs.txt: environment: {{requirements: needs.txt}}",
        ),
        (
            {"pyproject.toml": PROJECT + "[tool.uv.sources]\nTorch = {index = 'cu128'}\n"},
            {"requirements": "pyproject.toml"},
            "takes torch from a source of uv's own ([tool.uv.sources]) `uv lock`, and environment: {{lock: uv.lock}}",
        ),
        ({"e.yml": "- a: ["}, {"conda": "e.yml"}, "environment.conda: {}/e.yml is no conda environment file: "),
        ({"e.yml": "name: x"}, {"conda": "e.yml"}, "it has no list of dependencies"),
        ({"e.yml": "dependencies: [{pip: [-r a.txt]}]"}, {"conda": "e.yml"}, "takes packages from this computer (-r a.txt)"),
    ],
)  # fmt: skip
def test_what_is_not_what_it_is_called(
    tmp_path: Path, files: dict[str, str], environment: dict[str, Any], words: str
) -> None:
    grow(tmp_path, files)
    found = problems(tmp_path, **environment)
    if not words:
        assert found == []
        return
    assert len(found) == 1
    assert words.format(tmp_path) in found[0]


@pytest.mark.parametrize(
    "name", ["poetry.lock", "pdm.lock", "Pipfile.lock", "sub/conda-lock.yml", "mine.toml"]
)
def test_locks_of_other_tools_are_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(JobFileError, match=r"^environment\.lock: ") as caught:
        job_in(tmp_path, lock=name)
    assert any(word in str(caught.value) for word in ("export", "requirements", "conda", "pylock"))


def test_a_python_beside_a_conda_file_is_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match=r"environment\.python: contradicts conda"):
        job_in(tmp_path, conda="e.yml", python="3.11")


def test_extras_without_a_project_are_refused(tmp_path: Path) -> None:
    for field in ("extras", "groups"):
        with pytest.raises(JobFileError, match=rf"environment\.{field}: belongs to a uv.lock or a pyproject"):
            job_in(tmp_path, requirements="r.txt", **{field: "gpu"})
    for name, words in (
        ("a/uv.lock", r"is a lock: write environment: \{lock: a/uv.lock\}"),
        ("environment.yml", r"a conda file: environment: \{conda: environment.yml\}"),
        ("Pipfile", "pipenv requirements"),
        ("poetry.lock", "poetry export"),
    ):
        with pytest.raises(JobFileError, match=words):
            job_in(tmp_path, requirements=name)


def test_sources_of_their_own_are_not_compared() -> None:
    sourced = PROJECT + '[tool.uv.sources]\ntorch = { index = "pytorch" }\n'
    assert outdated(LockFormat.UV, LOCK, sourced.replace("<3", "<4")) is None
    assert (
        outdated(LockFormat.UV, LOCK, sourced.replace("dependencies =", 'dynamic = ["dependencies"]\nx ='))
        is None
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("torch >= 2.4 , <3 ; python_version > '3'  # x", Line(text="", name="torch", specifier=">=2.4,<3")),
        ("My_Pkg[a,b]==1.0", Line(text="", name="my-pkg", specifier="==1.0")),
        ("a @ https://e.org/a.whl", Line(text="", name="a", specifier="@ https://e.org/a.whl")),
        ("-rbase.txt", Line(text="", option="-r", value="base.txt")),
        ("--index-url=https://e.org", Line(text="", option="--index-url", value="https://e.org")),
        ("./folder", Line(text="")),
        ("wheels/a-1.whl", Line(text="")),
        ("git+https://e.org/x.git", Line(text="")),
    ],
)
def test_a_line_is_read_as_pip_reads_it(text: str, line: Line) -> None:
    (found,) = lines_of(text)
    assert (found.option, found.value, found.name, found.specifier) == (
        line.option,
        line.value,
        line.name,
        line.specifier,
    )


def test_only_what_is_included_is_renamed() -> None:
    assert with_included("-r a.txt\na.txt==1\n", {"a.txt": "1-a.txt"}) == "-r 1-a.txt\na.txt==1\n"
