"""Environments as machines make them: by the real uv and pip, from a package index on loopback."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from launcher.job.lock_format import LockFormat
from launcher.remote.onboard import environment_tools
from launcher.remote.tools import archive
from launcher.runners.base import Environment
from tests.launcher.remote.jobs import Machine
from tests.launcher.runners.index import Index, own_variables, serving, uv, wheel, zipped

PROJECT = """[project]
name = "mine"
version = "0"
requires-python = ">=3.10"
dependencies = ["tiny-one>=1"]
[project.optional-dependencies]
fast = ["tiny-three"]
[dependency-groups]
plots = ["tiny-three"]
"""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with serving(tmp_path / "index") as index:
        wheel(index.folder, "tiny-one", "1.0", requires=("tiny-two",))
        wheel(index.folder, "tiny-two", "1.0")
        wheel(index.folder, "tiny-three", "1.0")
        yield index


@pytest.fixture
def machine(tmp_path: Path, index: Index) -> Iterator[Machine]:
    machine = Machine(tmp_path, environ=own_variables(tmp_path))
    yield machine
    machine.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


SHOW = "python -c 'import tiny_one, tiny_two; print(\"got\", tiny_one.VERSION, tiny_two.VERSION)'"


def test_what_a_lock_pins_is_what_is_installed(machine: Machine, index: Index, project: Path) -> None:
    simple = f"{index.url}/simple"
    uv(project, "lock", "--index-url", simple)
    uv(project, "export", "--quiet", "--no-emit-project", "--format", "pylock.toml", "-o", "pylock.toml")
    uv(project, "pip", "compile", "-q", "--index-url", simple, "--emit-index-url", "--generate-hashes",
       "pyproject.toml", "-o", "requirements.txt")  # fmt: skip
    wheel(index.folder, "tiny-one", "2.0")  # it comes out after the lock was made
    locks = [
        Environment(lock=(project / kind.value).read_text(), lock_format=kind, project=PROJECT if kind is LockFormat.UV else None)
        for kind in LockFormat
    ]  # fmt: skip
    for attempt, environment in enumerate(locks, start=1):
        handle = machine.submit(SHOW, attempt=attempt, environment=environment)
        assert machine.ended(handle).exit_code == 0, machine.log(handle)
        assert "got 1.0 1.0" in machine.log(handle), environment.lock_format

    for attempt, more in ((7, {"extras": ("fast",)}), (8, {"groups": ("plots",)})):
        asked = dataclasses.replace(locks[0], **more)  # type: ignore[arg-type]
        handle = machine.submit("python -c 'import tiny_three'", attempt=attempt, environment=asked)
        assert machine.ended(handle).exit_code == 0, machine.log(handle)

    # The same lock on the same machine is made once; what does not have its digest is refused in the installer's words.
    again = machine.submit(SHOW, attempt=9, environment=locks[0])
    machine.ended(again)
    assert "is here already" in machine.log(again)
    wheel(index.folder, "tiny-two", "1.0", requires=("tiny-one",))
    pinned = Environment(
        lock=f"{locks[2].lock}\n# another file, and another environment\n", lock_format=LockFormat.PINNED
    )
    shutil.rmtree(machine.folder / "uv-cache")
    refused = machine.submit(SHOW, attempt=10, environment=pinned)
    assert machine.ended(refused).exit_code == 1
    assert "Hash mismatch" in machine.log(refused), machine.log(refused)
    assert "got" not in machine.log(refused)


MICROMAMBA = """#!/usr/bin/env python3
# What `micromamba create` is documented to take; anything else is an error here, as there.
import argparse, os, subprocess, sys
import yaml
parser = argparse.ArgumentParser(prog="micromamba", allow_abbrev=False)
create = parser.add_subparsers(required=True).add_parser("create", allow_abbrev=False)
create.add_argument("-p", "--prefix", required=True)
create.add_argument("-f", "--file", required=True)
told = parser.parse_args()
assert told.file.endswith((".yml", ".yaml")), "a file of specs has to be called so"
assert os.environ["MAMBA_ALWAYS_YES"] == "true" and os.path.isabs(os.environ["MAMBA_ROOT_PREFIX"])
assert not os.path.exists(told.prefix), "Non-conda folder exists at prefix"
names = [str(one).partition("=")[0] for one in yaml.safe_load(open(told.file))["dependencies"]]
if "nowhere" in names:
    sys.exit("error    libmamba Could not solve for environment specs: nowhere does not exist")
subprocess.run([sys.executable, "-m", "venv", "--without-pip", told.prefix], check=True)
"""


def test_a_conda_file_is_made_by_the_micromamba_that_is_there(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "micromamba").write_text(MICROMAMBA.replace("/usr/bin/env python3", sys.executable))
    (tools / "micromamba").chmod(0o755)
    machine = Machine(tmp_path, environ={"PATH": f"{tools}:{os.environ['PATH']}"})
    try:
        conda = Environment(conda="dependencies: [python=3.11, numpy]\n")
        handle = machine.submit('echo "$CONDA_PREFIX" "$(command -v python)"', environment=conda)
        assert machine.ended(handle).exit_code == 0, machine.log(handle)
        prefix, _, python = machine.log(handle).split(" 0 packages\n")[1].splitlines()[0].partition(" ")
        assert python == f"{prefix}/bin/python"
        failed = machine.submit(
            "echo never", attempt=2, environment=Environment(conda="dependencies: [nowhere]\n")
        )
        assert machine.ended(failed).exit_code == 1
        assert "nowhere does not exist" in machine.log(failed)
    finally:
        machine.close()


def make(folder: Path, environ: dict[str, str], files: dict[str, str], **orders: Any) -> tuple[int, str]:
    """Have an environment made as on a machine, in ``folder``, by the program that goes there."""
    program = folder / "watchdog.pyz"
    program.write_bytes(archive())
    told = {
        "folder": str(folder / "env"),
        "how": "requirements",
        "python": "",
        "hashed": False,
        "added": [],
        "extras": [],
        "groups": [],
        "wheel": "",
        "torch": None,
        "why": "",
        "tools": str(folder / "tools"),
        "prepared": True,
        **orders,
    }
    for name, text in {**files, "orders.json": json.dumps(told)}.items():
        (folder / name).write_text(text)
    ended = subprocess.run(
        [sys.executable, "-I", "-S", program, "environment", folder / "orders.json"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def versions(folder: Path) -> dict[str, str]:
    found = (folder / "env").glob("lib/python*/site-packages/*.dist-info")
    return dict(path.name.removesuffix(".dist-info").split("-", 1) for path in found)


def test_without_uv_pip_takes_torch_from_the_build_that_was_chosen(tmp_path: Path, index: Index) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    (bare / "python3").symlink_to(sys.executable)
    environ = {"PATH": f"{bare}:/usr/bin:/bin", "HOME": str(tmp_path), **own_variables(tmp_path)}
    environ["PIP_INDEX_URL"] = f"{index.url}/simple"
    wheel(index.folder, "torch", "2.13.0")
    wheel(index.folder, "torch", "2.14.0")
    wheel(index.folder / "cu126", "torch", "2.13.0+cu126")
    build = {"backend": "cu126", "index": f"{index.url}/cu126/simple", "packages": ["torch>=2"]}
    files = {"requirements.txt": "torch>=2\n-r 1-base.txt\n", "1-base.txt": "tiny-one\n"}
    code, said = make(tmp_path, environ, files, torch=build, why="torch for CUDA 12.6 (cu126): old GPU")
    assert code == 0, said
    assert (
        versions(tmp_path).items() >= {"torch": "2.13.0+cu126", "tiny_one": "1.0", "tiny_two": "1.0"}.items()
    )
    assert "old GPU" in said
    assert not [path for path in index.asked if "/uv/" in path], (
        "the machine is somebody's own: nothing is fetched"
    )


def test_uv_is_fetched_once_where_it_is_needed(tmp_path: Path, index: Index) -> None:
    """The real uv, as a wheel on an index of ours: what PyPI has."""
    info = f"uv-{environment_tools.UV_VERSION}.dist-info"
    name = f"uv-{environment_tools.UV_VERSION}"
    assert metadata.version("uv") == environment_tools.UV_VERSION, "constraints.txt and the tool go together"
    files = {
        f"{name}.data/scripts/uv": Path(find_uv_bin()).read_bytes(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: uv\nVersion: {environment_tools.UV_VERSION}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    zipped(index.folder / f"{name}-py3-none-any.whl", f"{info}/RECORD", files)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **own_variables(tmp_path)}
    environ["PIP_INDEX_URL"] = f"{index.url}/simple"  # and uv is told the same
    lock = "lock-version = '1.0'\ncreated-by = 'test'\npackages = []\n"
    code, said = make(tmp_path, environ, {"pylock.toml": lock}, how="pylock")
    assert (code, said.count("fetching uv")) == (0, 1), said
    shutil.rmtree(tmp_path / "env")
    code, said = make(tmp_path, environ, {"requirements.txt": "tiny-two\n"})
    assert (code, said.count("fetching uv")) == (0, 0), said
    assert versions(tmp_path) == {"tiny_two": "1.0"}

    shutil.rmtree(tmp_path / "tools")
    environ["PIP_INDEX_URL"] = f"{index.url}/empty/simple"
    shutil.rmtree(tmp_path / "env")
    code, said = make(tmp_path, environ, {"uv.lock": ""}, how="uv")
    assert code == environment_tools.EXIT_LACKING
    assert (
        "uv.lock needs uv, which is not on the machine and could not be fetched: ERROR: No matching" in said
    )
    assert not (tmp_path / "env").exists()


def test_a_fetched_program_is_the_one_that_is_known_or_none(tmp_path: Path, index: Index) -> None:
    (index.folder / "tool").write_bytes(b"#!/bin/sh\necho it runs\n")
    sha256 = hashlib.sha256((index.folder / "tool").read_bytes()).hexdigest()
    path = tmp_path / "tools" / "tool"
    assert "gave something else" in str(environment_tools.fetch_program(f"{index.url}/tool", "0" * 64, path))
    assert "404" in str(environment_tools.fetch_program(f"{index.url}/missing", sha256, path))
    assert list(path.parent.iterdir()) == []
    assert environment_tools.fetch_program(f"{index.url}/tool", sha256, path) is None
    assert subprocess.run([path], capture_output=True, check=True).stdout == b"it runs\n"
