"""What is said before anything is rented."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import DependencyMissing, HomeError, JobFileError
from launcher.job import Job
from launcher.job.environments import environment_at_launch
from launcher.job.files import missing_files
from launcher.planning.preflight import Finding, Level, Preflight, install_line, preflight
from launcher.planning.programs import saved_elsewhere
from tests.launcher.files.trees import grow, repository


def job_in(folder: Path, **fields: Any) -> Job:
    return Job.from_dict({"run": "x", **fields}, base_dir=folder)


def look(job: Job, **options: Any) -> Preflight:
    return preflight(job, **{"environ": {}, "tools": (), **options})


def of(found: Preflight, check: str, level: Level) -> list[Finding]:
    return [finding for finding in found.findings if (finding.check, finding.level) == (check, level)]


def test_nothing_to_complain_about(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"train.py": "1"})
    found = look(job_in(folder), home=tmp_path / "home", free_bytes=lambda path: 2**40)
    assert found.errors == ()
    assert {finding.level for finding in found.findings} == {Level.OK}
    assert found.manifest is not None
    assert found.manifest.files == 1
    found.require_ok()
    assert list(tmp_path.iterdir()) == [folder]


def test_a_missing_tool_comes_with_the_line_that_installs_it(tmp_path: Path) -> None:
    found = look(job_in(tmp_path), tools=("tmux",), which={"apt-get": "/usr/bin/apt-get"}.get)
    (finding,) = of(found, "tools", Level.ERROR)
    assert isinstance(finding.error, DependencyMissing)
    assert finding.message == "tmux is not installed"
    assert (finding.fix or "").removeprefix("sudo ") == "apt-get install -y tmux"
    with pytest.raises(DependencyMissing):
        found.require_ok()


def test_the_line_where_no_package_manager_is_known() -> None:
    assert install_line("tmux", which=lambda name: None) == "install tmux with this system's package manager"
    assert install_line("tmux", which={"brew": "/opt/brew"}.get) == "brew install tmux"


def test_every_missing_file_is_named_with_its_field(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"train.py": "1", "requirement.txt": "", "data/a.pkl": "1"})
    job = job_in(
        folder,
        file_mounts={"raw": "/nowhere/raw", "net": "https://example.org/x.zip"},
        environment={"requirements": "requirements.txt"},
        requires=["data/a.pkl", "data/features.pkl", "raw/x.h5", "net/y"],
    )
    fields = {err.field: err for err in missing_files(job)}
    assert list(fields) == ["file_mounts.raw", "environment.requirements", "requires[1]", "requires[2]"]
    assert fields["environment.requirements"].hint == f"did you mean {folder / 'requirement.txt'}?"
    assert str(fields["requires[2]"]) == "requires[2]: /nowhere/raw/x.h5 does not exist"
    assert fields["requires[2]"].hint == "it is looked for relative to the job file", "by way of its mount"
    (code,) = missing_files(job_in(tmp_path, workdir="p", requires=["elsewhere.yaml"]))
    assert code.hint == f"it is looked for relative to the working folder, {tmp_path / 'p'}"
    assert len(of(look(job), "files", Level.ERROR)) == 4


def test_a_missing_working_folder_is_the_only_thing_said_about_files(tmp_path: Path) -> None:
    found = look(job_in(tmp_path, workdir="gone", requires=["x"]))
    assert [finding.message for finding in found.errors] == [f"workdir: {tmp_path / 'gone'} does not exist"]
    assert found.manifest is None


def test_a_required_file_that_would_stay_at_home_is_missing(tmp_path: Path) -> None:
    folder = repository(tmp_path / "p", {"train.py": "1", ".gitignore": "data/\n"})
    grow(folder, {"data/features.pkl": "1"})
    (finding,) = look(job_in(folder, requires=["data/features.pkl", "train.py"])).errors
    assert finding.message == (
        "requires[0]: data/features.pkl is here and would not be on the machine: ignored by git"
    )
    assert finding.fix == "file_mounts: {data/features.pkl: data/features.pkl} takes it there"
    mounted = job_in(folder, requires=["data/features.pkl"], file_mounts={"data": "data"})
    assert look(mounted).errors == ()


def test_secrets_and_variables_come_from_the_environment_here(tmp_path: Path) -> None:
    job = job_in(tmp_path, envs={"LR": "1", "PROJECT": None}, secrets={"TOKEN": None, "WRITTEN": "w"})
    found = look(job, environ={"TOKEN": "t", "PROJECT": ""})
    assert (found.variables.envs, found.variables.secrets) == (
        {"LR": "1", "PROJECT": ""},
        {"TOKEN": "t", "WRITTEN": "w"},
    )
    assert [finding.message for finding in of(found, "variables", Level.OK)] == [
        "secrets found: TOKEN, WRITTEN"
    ]
    (warning,) = of(found, "variables", Level.WARNING)
    assert "WRITTEN" in warning.message
    assert "'t'" not in repr(found)


def test_a_secret_that_nobody_gave(tmp_path: Path) -> None:
    (finding,) = look(job_in(tmp_path, secrets={"HF_TOKEN": None})).errors
    assert finding.message.startswith("secrets.HF_TOKEN: HF_TOKEN has no value")
    assert "export HF_TOKEN=" in (finding.fix or "")
    assert isinstance(finding.error, JobFileError)


def test_what_this_release_cannot_run(tmp_path: Path) -> None:
    (finding,) = of(look(job_in(tmp_path, file_mounts={"d": "kaggle://x/y"})), "job", Level.ERROR)
    assert finding.message.startswith("file_mounts.d: kaggle:// is not fetched yet")


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    grow(tmp_path, {"file": ""})
    found = look(job_in(tmp_path), out=tmp_path / "file" / "results")
    (finding,) = of(found, "results", Level.ERROR)
    assert isinstance(finding.error, HomeError)
    assert finding.fix == "name another folder with --out"


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder that everybody can see, and no right to write but what its modes say: root would have them all."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        if os.geteuid() == 0:
            os.setreuid(65534, 0)
        try:
            yield Path(name)
        finally:
            if os.geteuid() == 0:
                os.setreuid(0, 0)


def test_folders_without_permission(nobody: Path) -> None:
    folder = grow(nobody / "p", {"a": "1"})
    (nobody / "closed").mkdir(mode=0o500)
    (nobody / "open").mkdir()
    (nobody / "open").chmod(0o777)
    found = look(job_in(folder), out=nobody / "closed" / "r", home=nobody / "closed" / "h")
    assert [finding.check for finding in found.errors] == ["results", "home"]
    assert look(job_in(folder), out=nobody / "open" / "r", home=nobody / "open" / "h").errors == ()


def test_latest_that_is_no_link_is_said_beforehand(tmp_path: Path) -> None:
    grow(tmp_path, {"results/latest/x": "1"})
    (warning,) = of(look(job_in(tmp_path)), "results", Level.WARNING)
    assert "latest is no link" in warning.message


@pytest.mark.parametrize(
    ("free", "level"), [(10 * 2**20, Level.ERROR), (2**30, Level.WARNING), (2**40, Level.OK)]
)
def test_room_at_home(free: int, level: Level, tmp_path: Path) -> None:
    found = look(job_in(tmp_path), home=tmp_path / "home", free_bytes=lambda path: free)
    assert len(of(found, "results", level)) == len(of(found, "home", level)) == 1


def test_much_code_and_links_that_lead_out_are_warned_about(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"a.py": "1"})
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(150 * 10**6)
    (folder / "out").symlink_to("/etc/hosts")
    much, links = of(look(job_in(folder)), "code", Level.WARNING)
    assert "150 MB is much for code: weights.bin" in much.message
    assert "links that point out of the working folder stay here: out" in links.message


def test_credentials_on_their_way_up_are_warned_about(tmp_path: Path) -> None:
    folder = grow(
        tmp_path / "p", {".env": "1", ".env.example": "1", "keys/id_rsa": "1", "environment.py": "1"}
    )
    (warning,) = of(look(job_in(folder)), "code", Level.WARNING)
    assert "looks like credentials, and would go up: .env, keys/id_rsa" in warning.message


def test_requirements_are_read_at_launch(tmp_path: Path) -> None:
    grow(tmp_path, {"requirements.txt": "numpy\n"})
    job = job_in(tmp_path, environment={"python": "3.11", "requirements": "requirements.txt"})
    placed = environment_at_launch(job, job.environment)
    assert (placed.python, placed.requirements) == ("3.11", "numpy\n")
    (tmp_path / "requirements.txt").unlink()
    with pytest.raises(JobFileError, match=r"environment\.requirements: .* cannot be read: No such file"):
        environment_at_launch(job, job.environment)


STAGED = """
def main():
    parser.add_argument("--checkpoints", default="checkpoints")
    torch.save(state, Path("saved") / f"step_{step}.pt")
    torch.save(model, "models/final.pt")
"""


@pytest.mark.parametrize(
    ("run", "program", "checkpoint", "told"),
    [
        (
            "python a.py",
            STAGED,
            "checkpoints",
            ["a.py saves to saved/, and checkpoints are looked for in checkpoints/"],
        ),
        ("python a.py", STAGED, "saved", ["a.py (--checkpoints) saves to checkpoints/"]),
        ("python a.py --checkpoints=saved/x", STAGED, "saved", []),
        ("cd sub && torchrun a.py --save-dir ck", "", "checkpoints", ["--save-dir saves to sub/ck/"]),
        ('python a.py --checkpoints "$LAUNCH_CHECKPOINT_DIR"', STAGED, "checkpoints", []),
        ("python -m a", "x = os.environ['LAUNCH_CHECKPOINT_DIR']\ntorch.save(x, 'ck/step_1.pt')", "ck2", []),
        ("python -m a", "TrainingArguments(output_dir='out')", "checkpoints", ["a.py saves to out/"]),
        ("python a.py 'half", STAGED, "checkpoints", []),
    ],
)
def test_who_saves_where_nobody_looks_is_told(
    tmp_path: Path, run: str, program: str, checkpoint: str, told: list[str]
) -> None:
    grow(tmp_path, {"a.py": program})
    job = Job.from_dict({"run": run, "checkpoint": {"dir": checkpoint}}, base_dir=tmp_path)
    found = [one.words for one in saved_elsewhere(job)]
    assert len(found) == len(told)
    assert all(words.startswith(start) for words, start in zip(found, told, strict=True)), found


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    grow(tmp_path, {"here.py": "", "sub/train.py": "", "data/x.py": ""})
    run = "cd sub\npython train.py && python3 here.py --x\npython $X.py; python -m none; python data/gone.py\nmake it.py"
    job = Job.from_dict({"run": run, "file_mounts": {"sub/data": "data"}}, base_dir=tmp_path)
    told = of(look(job), "files", Level.WARNING)
    assert [one.message for one in told] == [
        f"sub/here.py is started and is not in the working folder, {tmp_path}"
    ]
    assert not of(look(job.with_overrides({"setup": "make"})), "files", Level.WARNING)


def test_a_stage_has_a_folder_of_its_own(tmp_path: Path) -> None:
    grow(tmp_path, {"a.py": STAGED})
    stages = [
        {"name": "one", "run": "python a.py"},
        {"name": "two", "run": "python a.py --checkpoints checkpoints/two"},
    ]
    job = Job.from_dict({"stages": stages}, base_dir=tmp_path)
    checked = preflight(job, environ={}, tools=())
    (first, second) = [one for one in checked.findings if one.check == "checkpoints"]
    assert first.message.startswith(
        "stage one: a.py (--checkpoints) saves to checkpoints/, and checkpoints are looked for in checkpoints/one/"
    )
    assert second.message.startswith("stage one: a.py saves to saved/")
    assert first.fix == 'give it "$LAUNCH_CHECKPOINT_DIR"'
