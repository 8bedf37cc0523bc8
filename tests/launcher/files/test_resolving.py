"""Requirements that cannot be resolved are refused at home, in the resolver's words; what is not known forbids nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from uv import find_uv_bin

from launcher import prepare
from launcher.job import Job
from launcher.planning.preflight import Finding, Level
from launcher.planning.resolving import judge, look_at_requirements
from tests.launcher.files.trees import grow
from tests.launcher.runners.index import own_variables, serving, wheel


def test_uv_says_what_cannot_be_had(tmp_path: Path) -> None:
    grow(tmp_path, {"good.txt": "-r base.txt\n", "base.txt": "tiny-one\n", "bad.txt": "tiny-one>=9\n"})
    grow(tmp_path, {"odd.txt": "tiny-one = 3\n", "built.txt": "tiny-built\n"})
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **own_variables(tmp_path)}

    def look(path: str, url: str, uv: str | None = find_uv_bin()) -> Finding:
        job = Job.from_dict(
            {"run": "x", "environment": {"requirements": path}, "envs": {"PIP_INDEX_URL": url}},
            base_dir=tmp_path,
        )
        (found,) = look_at_requirements(job, environ, which=lambda name: uv)
        return found

    with serving(tmp_path / "index") as index:
        wheel(index.folder, "tiny-one", "1.0", requires=("tiny-two",))
        wheel(index.folder, "tiny-two", "1.0")
        (index.folder / "tiny_built-1.0.tar.gz").write_bytes(b"never opened")
        url = f"{index.url}/simple"
        assert look("good.txt", url).level is Level.OK
        bad = look("bad.txt", url)
        assert bad.level is Level.ERROR
        assert "1.0 is available and you require tiny-one>=9" in bad.message
        assert bad.message.startswith("environment.requirements: bad.txt cannot be resolved: ")
        assert bad.error is not None and "--no-resolve" in (bad.fix or "")
        staged = Job.from_dict(
            {
                "stages": [
                    {"name": "a", "run": "x", "environment": {"requirements": "good.txt"}},
                    {"name": "b", "run": "x", "environment": {"requirements": "bad.txt"}},
                ],
                "envs": {"PIP_INDEX_URL": url},
            },
            base_dir=tmp_path,
        )
        fine, at_fault = look_at_requirements(staged, environ, which=lambda name: find_uv_bin())
        assert fine.level is Level.OK
        assert at_fault.message.startswith("stages[1].environment.requirements: bad.txt cannot be resolved")
        here = {**environ, "PATH": os.environ["PATH"], "LAUNCH_HOME": str(tmp_path / "state")}
        said = [found.message for found in prepare(staged, provider="local", environ=here).findings]
        assert at_fault.message in said, "also on this computer: the stages before it would have run"
        alone = prepare(staged, provider="local", environ=here, stage="b")
        assert not [found for found in alone.findings if found.check == bad.check], "it finds out at once"
        odd = look("odd.txt", url)
        assert odd.level is Level.ERROR and "`requirements.txt` at position 0" in odd.message
    nobody = look("good.txt", "http://127.0.0.1:9/simple")
    assert nobody.level is Level.WARNING and "could not be checked" in nobody.message
    without = look("good.txt", "", uv=None)
    assert (without.level, without.fix) == (Level.WARNING, "pip install uv")


NO_SOLUTION = "error: No solution found when resolving dependencies\n  cause: Because "


@pytest.mark.parametrize(
    ("code", "words", "knows_python", "level"),
    [
        (0, "warning: something", False, Level.OK),
        (1, f"{NO_SOLUTION}only six<=1.17.0 is available and you require six>=99, unsatisfiable.", False, Level.ERROR),
        (1, f"{NO_SOLUTION}the requested Python version (>=3.9) does not satisfy Python>=3.11", False, Level.WARNING),
        (1, f"{NO_SOLUTION}the requested Python version (>=3.9) does not satisfy Python>=3.11", True, Level.ERROR),
        (1, f"{NO_SOLUTION}x has no usable wheels, unsatisfiable.", True, Level.WARNING),
        (1, f"{NO_SOLUTION}x was not found in the cache\n\nhint: the network was disabled", True, Level.WARNING),
        (2, "error: Failed to fetch: https://pypi.org/simple/six/\n  cause: dns error", True, Level.WARNING),
        (2, "error: Couldn't parse requirement in `requirements.txt` at position 0", False, Level.ERROR),
        (2, "error: unexpected argument '--python-platform' found", True, Level.WARNING),
        (-9, "", True, Level.WARNING),
    ],
)  # fmt: skip
def test_only_what_is_certain_is_an_error(code: int, words: str, knows_python: bool, level: Level) -> None:
    assert judge(code, words, knows_python=knows_python) is level
