"""Our reading of pattern files against git's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.snapshot.ignore import IgnorePatterns

PIECE = st.sampled_from(
    ["a", "b", "ab", ".txt", "*", "**", "?", "[ab]", "[!a]", "[^b]", "[a-c]", "/", "/", "\\*", " "]
)
PATTERN = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "!", "/"]),
    st.lists(PIECE, min_size=1, max_size=5).map("".join),
    st.sampled_from(["", "/", " ", "\\ "]),
)
NAME = st.text("abc.*", min_size=1, max_size=3).filter(lambda name: name not in (".", "..", ".c"))
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("ignore")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def ignored_by_git(repository: Path, patterns: list[str], path: str) -> bool:
    (repository / ".gitignore").write_text("\n".join(patterns) + "\n")
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    answer = subprocess.run(
        ["git", "check-ignore", "-q", "--no-index", "--", path], cwd=repository, env=environ, check=False
    )
    return answer.returncode == 0


def ignored_by_us(patterns: list[str], path: str) -> bool:
    ignore = IgnorePatterns.parse(patterns)
    parts = path.split("/")
    above = any(ignore.matches("/".join(parts[:n]), is_folder=True) for n in range(1, len(parts)))
    return above or ignore.matches(path, is_folder=False)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PATTERN, min_size=1, max_size=3), PATH)
def test_as_git_reads_it(repository: Path, patterns: list[str], path: str) -> None:
    assert ignored_by_us(patterns, path) == ignored_by_git(repository, patterns, path)


@pytest.mark.parametrize(
    ("patterns", "path", "ignored"),
    [
        (["*.pt"], "deep/model.pt", True),
        (["/data"], "data/x.h5", True),
        (["/data"], "src/data/x.h5", False),
        (["data/"], "src/data/x.h5", True),
        (["data/"], "data", False),
        (["*.csv", "!keep.csv"], "keep.csv", False),
        (["logs/**"], "logs/a/b", True),
        (["a/**/z"], "a/z", True),
        (["# comment", "", "x"], "# comment", False),
        ([r"\#x"], "#x", True),
        (["[[:digit:]]x"], "4x", True),
        (["[a"], "[a", False),
    ],
)
def test_by_example(patterns: list[str], path: str, ignored: bool) -> None:
    assert ignored_by_us(patterns, path) is ignored
