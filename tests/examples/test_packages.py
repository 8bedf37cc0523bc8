"""What the example programs import is what their installation brings."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
OWN = {"launcher", "provisioning", "trainer"}


def imported(program: Path) -> set[str]:
    """The packages that a program imports anywhere in it; its neighbours and Python's own are none."""
    names = set()
    for node in ast.walk(ast.parse(program.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.partition(".")[0])
    neighbours = {path.stem for path in program.parent.glob("*.py")}
    return names - neighbours - set(sys.stdlib_module_names) - OWN


def named(lines: str) -> dict[str, str]:
    """Requirements by the name of their package, which is that of its module for all that examples use."""
    found = [line.strip() for line in lines.splitlines() if line.strip() and not line.strip().startswith("#")]
    return {re.split(r"[^\w-]", line, maxsplit=1)[0].lower(): line for line in found}


def extras() -> dict[str, str]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    return {
        name: line
        for extra in ("train", "examples")
        for name, line in named(config["options.extras_require"][extra]).items()
    }


@pytest.mark.parametrize(
    "program", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: str(path.relative_to(EXAMPLES))
)
def test_the_extras_and_its_requirements_bring_what_a_program_imports(program: Path) -> None:
    needs = imported(program)
    brought = extras()
    assert needs <= set(brought)
    requirements = program.with_name("requirements.txt")
    if requirements.is_file():
        there = named(requirements.read_text())
        assert needs <= set(there)
        assert there.items() <= brought.items(), "the same bounds"


def test_an_import_within_a_function_counts() -> None:
    assert imported(EXAMPLES / "night/night_data.py") == {"h5py", "numpy", "torch", "torchmetrics"}
    assert set(extras()) >= {"torch", "torchmetrics", "sacrebleu"}
