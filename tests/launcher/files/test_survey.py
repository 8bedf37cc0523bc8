"""What goes up, what stays and why."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from launcher.errors import JobFileError
from launcher.job import Job
from launcher.snapshot import kept_out, manifest, survey
from tests.launcher.files.trees import git, grow, repository


def goes_up(workdir: Path, **options: object) -> list[str]:
    return [entry.path for entry in survey(workdir, **options).entries]  # type: ignore[arg-type]


def stays(workdir: Path) -> dict[str, str]:
    return {item.path: item.reason for item in survey(workdir).left_out}


def test_as_git_lists_it(tmp_path: Path) -> None:
    repo = repository(
        tmp_path / "r", {"a.py": "1", ".gitignore": "*.pt\ndata/\n", "gone.py": "x", "ü n\n.py": "y"}
    )
    grow(repo, {"new.py": "2", "m.pt": "123", "data/x.h5": "12345", "data/y/z.h5": "1"})
    (repo / "gone.py").unlink()
    assert goes_up(repo) == [".gitignore", "a.py", "new.py", "ü n\n.py"]
    found = survey(repo)
    assert found.listed_by == "git"
    assert [(item.path, item.reason, item.size_bytes) for item in found.left_out] == [
        ("data/", "ignored by git", 6),
        ("m.pt", "ignored by git", 3),
    ]


def test_a_tracked_file_goes_up_although_a_pattern_names_it(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", {"keep.pt": "1"})
    grow(repo, {".gitignore": "*.pt\n", "other.pt": "2"})
    assert goes_up(repo) == [".gitignore", "keep.pt"]


def test_a_working_folder_below_the_root_of_the_repository(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", {"top.py": "1", ".gitignore": "*.log\n", "sub/a.py": "1"})
    grow(repo, {"sub/x.log": "1"})
    assert goes_up(repo / "sub") == ["a.py"]


def test_a_folder_that_the_repository_around_it_ignores_is_its_own(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", {".gitignore": "scratch/\n"})
    grow(repo, {"scratch/a.py": "1"})
    found = survey(repo / "scratch")
    assert ([entry.path for entry in found.entries], found.listed_by) == (["a.py"], "folder")


def test_submodules_and_repositories_inside(tmp_path: Path) -> None:
    library = repository(tmp_path / "library", {"lib.py": "1", ".gitignore": "*.bin\n"})
    repo = repository(tmp_path / "r", {"a.py": "1"})
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "vendor")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "absent")
    git(repo, "commit", "-q", "-m", "more")
    git(repo, "submodule", "--quiet", "deinit", "-f", "absent")
    grow(repo, {"vendor/x.bin": "1", "vendor/new.py": "2"})
    repository(repo / "mine", {"inner.py": "1"})
    assert goes_up(repo) == [
        ".gitmodules",
        "a.py",
        "mine/inner.py",
        "vendor/.gitignore",
        "vendor/lib.py",
        "vendor/new.py",
    ]
    assert stays(repo) == {"absent/": "a submodule that is not checked out", "vendor/x.bin": "ignored by git"}


def test_names_that_are_no_text(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", {"a.py": "1"})
    name = b"caf\xe9.py"
    Path(os.fsdecode(os.fsencode(repo) + b"/" + name)).write_bytes(b"1")
    assert [os.fsencode(path) for path in goes_up(repo)] == [b"a.py", name]


def test_inside_a_hook_of_git_the_folder_is_still_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = repository(tmp_path / "other", {"other.py": "1"})
    repo = repository(tmp_path / "r", {"a.py": "1"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert goes_up(repo) == ["a.py"]


def test_without_git_all_but_what_is_named(tmp_path: Path) -> None:
    folder = grow(
        tmp_path / "p",
        {
            "a.py": "1",
            ".launchignore": "*.h5\n/raw/\n!keep.h5\n",
            "big.h5": "1",
            "sub/keep.h5": "1",
            "raw/x": "1",
            "sub/raw/x": "1",
            ".git/HEAD": "not a repository",
            "__pycache__/a.pyc": "1",
            ".venv/pyvenv.cfg": "",
            ".venv/lib/x.py": "1",
        },
    )
    found = survey(folder)
    assert [entry.path for entry in found.entries] == [".launchignore", "a.py", "sub/keep.h5", "sub/raw/x"]
    assert found.listed_by == ".launchignore"
    assert {item.path: item.reason for item in found.left_out} == {
        "big.h5": "named in .launchignore",
        "raw/": "named in .launchignore",
        ".venv/": "a Python environment",
    }


def test_launchignore_holds_beside_git_too(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", {"a.py": "1", "fixtures/big.bin": "1", ".launchignore": "fixtures/\n"})
    assert goes_up(repo) == [".launchignore", "a.py"]


def test_gitignore_counts_where_git_does_not_know_the_folder(tmp_path: Path) -> None:
    folder = grow(tmp_path / "unzipped", {"a.py": "1", ".gitignore": "data\n", "data/x": "1"})
    assert goes_up(folder) == [".gitignore", "a.py"]
    assert survey(folder).listed_by == ".gitignore"


def test_without_the_program_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = repository(tmp_path / "r", {"a.py": "1", ".gitignore": "b.py\n", "b.py": "1"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert goes_up(repo) == [".gitignore", "a.py"]


def test_environments_and_caches_stay_even_when_committed(tmp_path: Path) -> None:
    repo = repository(
        tmp_path / "r",
        {
            "a.py": "1",
            "env/pyvenv.cfg": "",
            "env/x.py": "1",
            "p/__pycache__/x.pyc": "1",
            "conda/conda-meta/history": "",
        },
    )
    assert goes_up(repo) == ["a.py"]
    assert set(stays(repo)) == {"env/", "conda/"}


def test_links(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"a.py": "1", "sub/b.py": "2"})
    outside = grow(tmp_path / "outside", {"secret": "1"})
    links = {
        "inside": "sub/b.py",
        "sub/up": "../a.py",
        "absolute": str(folder / "sub"),
        "broken": "nowhere",
        "outside": str(outside / "secret"),
        "away": "../outside",
        "indirect": "away/secret",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    found = survey(folder)
    assert {entry.path: entry.link for entry in found.entries if entry.link} == {
        "inside": "sub/b.py",
        "sub/up": "../a.py",
        "absolute": "sub",
        "broken": "nowhere",
    }
    assert {item.path for item in found.left_out} == {"outside", "away", "indirect"}
    assert all("a link out of the working folder" in item.reason for item in found.left_out)


def test_a_folder_that_became_a_link_brings_nothing_from_behind_it(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", {"a.py": "1", "data/x.csv": "1"})
    elsewhere = grow(tmp_path / "elsewhere", {"x.csv": "private"})
    (repo / "data" / "x.csv").unlink()
    (repo / "data").rmdir()
    (repo / "data").symlink_to(elsewhere)
    assert goes_up(repo) == ["a.py"]
    assert stays(repo) == {"data": f"a link out of the working folder, to {elsewhere}"}


def test_sockets_and_pipes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = grow(tmp_path / "p", {"a.py": "1"})
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert goes_up(folder) == ["a.py"]
        assert stays(folder) == {
            "pipe": "neither a file nor a folder",
            "socket": "neither a file nor a folder",
        }


def test_what_is_not_code_although_it_lies_there(tmp_path: Path) -> None:
    folder = grow(
        tmp_path / "p",
        {
            "a.py": "1",
            "ck/step_1.pt": "1",
            "outputs/x": "1",
            "trained/demo-abcd/m.pt": "1",
            "raw/x.h5": "1",
            "weights/w.bin": "1",
            "elsewhere/demo-abcd/.launch-run": "demo-abcd\n",
            "elsewhere/demo-abcd/m.pt": "1",
            "home/launch.db": "1",
        },
    )
    job = Job.from_dict(
        {
            "run": "x",
            "checkpoint": {"dir": "ck"},
            "file_outputs": {"*.pt": "trained"},
            "file_mounts": {"data": "raw", "weights/w.bin": "/big/w.bin"},
        },
        base_dir=folder,
    )
    (folder / "elsewhere/latest").symlink_to("demo-abcd")
    found = survey(folder, kept_out=kept_out(job, home=folder / "home"))
    assert [entry.path for entry in found.entries] == ["a.py"]
    assert {item.path: item.reason for item in found.left_out} == {
        "elsewhere/latest": "a link to results of an earlier run",
        "ck/": "checkpoints are the run's",
        "outputs/": "outputs are the run's",
        "trained/": "results lie there",
        "raw/": "goes up through file_mounts, as data",
        "weights/w.bin": "file_mounts puts /big/w.bin there",
        "elsewhere/demo-abcd/": "results of an earlier run",
        "home/": "the launcher's own records",
    }


def test_the_working_folder_is_no_data(tmp_path: Path) -> None:
    job = Job.from_dict({"run": "x", "file_mounts": {"copy": "."}}, base_dir=tmp_path)
    with pytest.raises(JobFileError, match=r"file_mounts\.copy: is the working folder itself"):
        kept_out(job)


def test_the_five_largest_and_the_sum(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {f"{n}.txt": "x" * n for n in range(8)})
    found = survey(folder)
    assert (found.files, found.size_bytes) == (8, 28)
    assert [entry.path for entry in found.largest] == ["7.txt", "6.txt", "5.txt", "4.txt", "3.txt"]


def test_why_a_path_stays(tmp_path: Path) -> None:
    repo = repository(tmp_path / "r", {".gitignore": "data/\n", "src/a.py": "1"})
    grow(repo, {"data/x.h5": "1"})
    found = survey(repo)
    assert (found.holds("src"), found.holds("./src/a.py"), found.holds("data/x.h5")) == (True, True, False)
    assert (found.why_left_out("data/x.h5"), found.why_left_out("src")) == ("ignored by git", None)


def test_a_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, {"file": "1"})
    for path, words in ((tmp_path / "missing", "does not exist"), (tmp_path / "file", "is not a folder")):
        with pytest.raises(JobFileError, match=words):
            survey(path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(JobFileError, match="is not the folder of a project"):
        survey(tmp_path)


def test_gigabytes_are_no_code(tmp_path: Path) -> None:
    folder = grow(tmp_path / "p", {"a.py": "1"})
    with (folder / "data.bin").open("wb") as file:
        file.truncate(manifest.REFUSE_BYTES + 1)  # sparse: takes no room
    with pytest.raises(
        JobFileError, match=r"workdir: the code would be 1\.9 GiB; the largest are data\.bin"
    ) as caught:
        survey(folder)
    assert "file_mounts" in (caught.value.hint or "")


@pytest.mark.skipif(
    shutil.which("chown") is None or os.geteuid() != 0, reason="only root can give a folder away"
)
def test_a_repository_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = repository(tmp_path / "r", {"a.py": "1"})
    for path in (repo, repo / ".git"):
        os.chown(path, 12345, 12345)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("SUDO_UID", raising=False)
    with pytest.raises(JobFileError, match="git does not trust this folder") as caught:
        survey(repo)
    assert "safe.directory" in (caught.value.hint or "")
