"""Builds the Python environment of a stage once per machine. Arguments::

    environment ENVIRONMENT_DIR PYTHON_VERSION|"" REQUIREMENTS_FILE|"" [WHEEL]

The folder's name carries the hash of its inputs. It is built under a lock, and marked when it is whole; one that
was left half-built is built anew. Uses uv where the machine has it, else venv and pip. Output is for the log.
Exit codes: 0 it is there, 1 packages could not be installed, 2 the machine has no such Python.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

EXIT_NO_PYTHON = 2


class Failed(Exception):
    """With words for the log and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def build(folder: Path, python: str, requirements: str, wheel: str = "") -> None:
    """Make the environment in ``folder`` unless it is there."""
    complete = folder / ".complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists():
            say(f"environment {folder.name} is here already")
            return
        shutil.rmtree(str(folder), ignore_errors=True)
        say(f"building environment {folder.name}")
        uv = shutil.which("uv")
        if uv:
            build_with_uv(uv, folder, python, requirements)
        else:
            build_with_pip(folder, python, requirements)
        if wheel:
            add_wheel(uv, folder, wheel)
        complete.touch()
        say(f"environment {folder.name} is complete")


def build_with_uv(uv: str, folder: Path, python: str, requirements: str) -> None:
    """uv also fetches the Python that is asked for."""
    command([uv, "venv", "--quiet", "--python", python or sys.executable, str(folder)], EXIT_NO_PYTHON)
    if requirements:
        target = str(folder / "bin" / "python")
        command([uv, "pip", "install", "--python", target, "-r", requirements], 1)


def build_with_pip(folder: Path, python: str, requirements: str) -> None:
    """The standard library's venv, and pip inside it."""
    command([find_python(python), "-m", "venv", str(folder)], EXIT_NO_PYTHON)
    if requirements:
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
        command([*pip, "--no-input", "--progress-bar", "off", "-r", requirements], 1)


def add_wheel(uv: str | None, folder: Path, wheel: str) -> None:
    """A package of ours that is already here, without what it would depend on."""
    python = str(folder / "bin" / "python")
    if uv:
        command([uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--offline", wheel], 1)
        return
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    command([*pip, "--no-deps", "--no-index", wheel], 1)


def find_python(version: str) -> str:
    """The interpreter of that version, or any when none is asked for."""
    names = [f"python{version}", "python3", "python"] if version else ["python3", "python"]
    for name in names:
        program = shutil.which(name)
        if program and version_of(program).startswith(version + "." if version else ""):
            return program
    raise Failed(
        f"this machine has no Python {version}; it has {version_of('python3') or 'none'}", EXIT_NO_PYTHON
    )


def version_of(program: str) -> str:
    """``3.11.7.``; empty when it does not run."""
    code = "import sys; print('%d.%d.%d.' % sys.version_info[:3])"
    try:
        told = subprocess.run(
            [program, "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
    except OSError:
        return ""
    return told.stdout.decode().strip()


def command(argv: list[str], exit_code: int) -> None:
    """Run it with its output in the log."""
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False)
    if ended.returncode:
        raise Failed(
            f"{os.path.basename(argv[0])} {argv[1]} ended with exit code {ended.returncode}", exit_code
        )


def say(text: str) -> None:
    """A line for the log, at once."""
    sys.stdout.write(f"[launch] {text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """See the top of this file."""
    folder, python, requirements, *wheel = arguments
    try:
        build(Path(folder), python, requirements, *wheel)
    except Failed as error:
        say(str(error))
        return error.exit_code
    return 0
