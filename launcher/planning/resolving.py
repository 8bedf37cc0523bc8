"""Whether requirements can be resolved at all, asked of uv at home: a minute here, instead of a rented machine that finds out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import JobFileError
from launcher.job.environments import environment_at_launch
from launcher.job.problem import FieldError
from launcher.planning.preflight import Finding, Level

if TYPE_CHECKING:
    from launcher.job import Job
    from launcher.job.problem import Path as FieldPath
    from launcher.runners.base import Environment

__all__ = ["judge", "look_at_requirements"]

CHECK = "requirements"
TIMEOUT_S = 60.0
PLATFORM = "x86_64-manylinux_2_28"
"""What rented machines are."""
_LIMITS = {"UV_HTTP_TIMEOUT": "15", "UV_HTTP_RETRIES": "0"}
_NOT_ABOUT_THE_REQUIREMENTS = re.compile(
    r"failed to (fetch|download|query)|error sending request|dns error|timed out|network|offline|connection"
    r"|building (source distributions|from source|is disabled)|no usable wheels|no wheels|platform tag|--no-build|failed to build|git operation"
    r"|HTTP status|certificate|credentials",
    re.IGNORECASE,
)
"""Words of uv for what is not known then: nobody answers, or a package would have to be built to know what it needs."""
_ABOUT_THE_PYTHON = re.compile(r"Requires-Python|requested Python version|Python\s*[<>=!~]", re.IGNORECASE)


def look_at_requirements(
    job: Job,
    environ: Mapping[str, str],
    *,
    which: Callable[[str], str | None] = shutil.which,
    timeout_s: float = TIMEOUT_S,
) -> Iterator[Finding]:
    """Yield what uv says of each requirements file of ``job``; builds nothing and installs nothing.

    What is certain to fail is an error, in the resolver's words. That it could not be asked is said and forbids nothing.
    """
    told: dict[Hashable, tuple[str, Environment, FieldPath]] = {}
    for position, stage in enumerate(job.every_stage):
        asked = stage.environment or job.environment
        if asked.requirements is not None:
            is_its_own = bool(job.stages) and job.stages[position].environment is not None
            field: FieldPath = (*(("stages", position) if is_its_own else ()), "environment", "requirements")
            which_of_it = (asked.requirements, asked.extras, asked.groups)
            placed = environment_at_launch(job, asked, run=stage.run)
            told.setdefault(which_of_it, (asked.requirements, placed, field))
    if not told:
        return
    uv = which("uv") or which(str(Path(sys.executable).with_name("uv")))
    for path, environment, field in told.values():
        if uv is None:
            yield _unknown(f"{path} was not checked: uv is not on this computer", "pip install uv")
            continue
        yield _look(uv, path, field, environment, job, environ, timeout_s)


def _look(
    uv: str,
    path: str,
    field: FieldPath,
    environment: Environment,
    job: Job,
    environ: Mapping[str, str],
    timeout_s: float,
) -> Finding:
    try:
        code, words = _ask(uv, environment, job, environ, timeout_s)
    except subprocess.TimeoutExpired:
        return _unknown(f"{path} was not checked: uv had no answer after {timeout_s:g} s")
    except OSError as err:
        return _unknown(f"{path} was not checked: uv cannot be started: {err.strerror}")
    verdict = judge(code, words, knows_python=environment.python is not None)
    said = _shortened(words)
    if verdict is Level.ERROR:
        error: JobFileError = FieldError(
            f"{path} cannot be resolved: {said}",
            path=field,
            hint="--no-resolve launches without this check",
        )
        return Finding(check=CHECK, level=Level.ERROR, message=error.message, fix=error.hint, error=error)
    if verdict is Level.WARNING:
        return _unknown(f"{path} could not be checked: {said}")
    return Finding(check=CHECK, level=Level.OK, message=f"{path} can be resolved (by uv, here)")


def _unknown(message: str, fix: str | None = None) -> Finding:
    return Finding(check=CHECK, level=Level.WARNING, message=message, fix=fix)


def _ask(
    uv: str, environment: Environment, job: Job, environ: Mapping[str, str], timeout_s: float
) -> tuple[int, str]:
    variables = {
        name: value for name, value in job.envs.items() if value and name.startswith(("UV_", "PIP_"))
    }
    index = {
        theirs: variables[ours]
        for ours, theirs in (("PIP_INDEX_URL", "UV_INDEX_URL"), ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"))
        if ours in variables
    }
    with tempfile.TemporaryDirectory(prefix="launch-resolve-") as folder:
        file = Path(folder, "requirements.txt")
        for name, text in {file.name: environment.requirements or "", **environment.included}.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        argv = [uv, "pip", "compile", "--quiet", "--no-progress", "--no-build", "--python-platform", PLATFORM]
        argv += ["--python-version", environment.python] if environment.python else []
        ended = subprocess.run(
            [*argv, "--output-file", os.devnull, str(file)],
            cwd=job.workdir_path,
            env={**environ, **_LIMITS, **index, **variables, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
        return ended.returncode, ended.stderr.decode(errors="replace").replace(f"{folder}/", "").strip()


def judge(code: int, words: str, *, knows_python: bool) -> Level:
    """Say what uv's answer means: OK, ERROR for what fails on the machine as well, WARNING where that is not certain. Pure.

    ``knows_python``: the job says which Python it is; otherwise the machine's is another than the one here.
    """
    if code == 0:
        return Level.OK
    if _NOT_ABOUT_THE_REQUIREMENTS.search(words) or not words:
        return Level.WARNING
    if not knows_python and _ABOUT_THE_PYTHON.search(words):
        return Level.WARNING
    is_certain = re.search(
        r"unsatisfiable|No solution found|Couldn't parse|Failed to parse", words, re.IGNORECASE
    )
    return Level.ERROR if is_certain else Level.WARNING


def _shortened(words: str) -> str:
    lines = [re.sub(r"^(error|cause|warning):\s*", "", line.strip()) for line in words.splitlines()]
    return " ".join(line for line in lines if line)[:1000]
