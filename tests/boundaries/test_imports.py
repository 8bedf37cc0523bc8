"""The walls between the rooms, held by reading every import and by running with the forbidden ones blocked."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ONBOARD = ROOT / "launcher" / "remote" / "onboard"
"""What travels to the machine: its modules may only know each other, so their imports are relative."""
ROOMS = ("trainer", "provisioning", "launcher")
SDKS = {"boto3": "aws", "botocore": "aws", "google": "gcp"}


def modules(room: str) -> Iterator[Path]:
    yield from sorted((ROOT / room).rglob("*.py"))


@cache
def imports(path: Path) -> tuple[tuple[str, int], ...]:
    """Every module that a file names in an import, at any depth, with its line."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                assert node.level == 1 and path.parent == ONBOARD, f"{path}:{node.lineno}: relative import"
                continue
            assert node.module is not None
            yield node.module, node.lineno
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def offences(room: str, forbidden: set[str], *, allowed_below: str = "") -> list[str]:
    found = []
    for path in modules(room):
        if allowed_below and allowed_below in path.relative_to(ROOT).as_posix():
            continue
        for name, line in imports(path):
            if name.split(".")[0] in forbidden or name in forbidden:
                found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


def test_the_trainer_knows_neither_of_the_others() -> None:
    assert not offences("trainer", {"launcher", "provisioning", "paramiko", "fabric", "httpx", *SDKS})


def test_provisioning_knows_clouds_and_nothing_of_training() -> None:
    assert not offences(
        "provisioning", {"launcher", "trainer", "torch", "h5py", "fabric", "paramiko", "click", "rich"}
    )


def test_the_launcher_uses_no_sdk_and_no_torch() -> None:
    assert not offences("launcher", {"torch", "h5py", "numpy", *SDKS})


def test_the_launcher_takes_only_the_contract_from_the_trainer() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules("launcher")
        for name, line in imports(path)
        if name.split(".")[0] == "trainer" and not name.startswith("trainer.contract")
    ]
    assert not found


@pytest.mark.parametrize("library", ["click", "rich"])
def test_only_the_command_line_talks_to_the_terminal(library: str) -> None:
    found = [
        offence
        for offence in offences("launcher", {library})
        if not offence.startswith(("launcher/cli/", "launcher/render/"))
    ]
    assert not found


def test_ssh_libraries_stay_on_the_far_side() -> None:
    found = [
        offence
        for offence in offences("launcher", {"paramiko", "fabric"})
        if not offence.startswith("launcher/remote/")
    ]
    assert not found


def test_an_sdk_is_imported_in_its_own_providers_folder_only() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules("provisioning")
        for name, line in imports(path)
        if (home := SDKS.get(name.split(".")[0]))
        and f"provisioning/{home}/" not in path.relative_to(ROOT).as_posix()
    ]
    assert not found


def test_nothing_imports_the_command_line() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for room in ROOMS
        for path in modules(room)
        for name, line in imports(path)
        if name.startswith(("launcher.cli", "launcher.render"))
        and not path.relative_to(ROOT).as_posix().startswith(("launcher/cli/", "launcher/render/"))
    ]
    assert not found


BLOCK = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} must not be imported here")
sys.meta_path.insert(0, Wall())
import {module}
"""


@pytest.mark.parametrize(
    ("module", "blocked"),
    [
        ("trainer.contract", ["torch", "numpy", "h5py", "yaml", "launcher", "provisioning"]),
        ("trainer.cli", ["torch", "h5py", "launcher", "provisioning", "paramiko"]),
        ("trainer.loop", ["launcher", "provisioning", "paramiko", "boto3"]),
        (
            "provisioning",
            ["boto3", "google", "httpx", "torch", "paramiko", "rich", "launcher", "trainer", "tenacity"],
        ),
        (
            "provisioning.registry",
            ["boto3", "google", "httpx", "torch", "paramiko", "rich", "launcher", "trainer"],
        ),
        ("launcher", ["boto3", "google", "torch", "paramiko", "fabric", "rich", "click", "yaml", "httpx"]),
        (
            "launcher.orchestrate.orchestrator",
            ["boto3", "google", "torch", "paramiko", "fabric", "rich", "click"],
        ),
        ("launcher.cli", ["boto3", "google", "torch", "paramiko", "fabric", "rich"]),
    ],
)
def test_a_module_imports_with_what_it_must_not_need_blocked(module: str, blocked: list[str]) -> None:
    code = BLOCK.format(module=module, blocked=set(blocked))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_contract_needs_the_standard_library_only() -> None:
    names = {name.split(".")[0] for name, _ in imports(ROOT / "trainer" / "contract.py")}
    assert names <= set(sys.stdlib_module_names) | {"__future__"}


def test_what_travels_to_the_machine_stands_alone() -> None:
    for path in ONBOARD.glob("*.py"):
        names = {name.split(".")[0] for name, _ in imports(path)}
        assert names <= set(sys.stdlib_module_names) | {"__future__"}, path.name


def test_what_travels_to_the_machine_is_python_3_8() -> None:
    for path in ONBOARD.glob("*.py"):
        ast.parse(path.read_text(), filename=str(path), feature_version=(3, 8))
