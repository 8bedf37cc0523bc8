"""The command as a user has it: a real process, a home of its own, a folder to stand in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        document = json.loads(self.out)
        assert document["schema"] == 1
        return document

    @property
    def lines(self) -> list[Any]:
        """Stdout as JSON Lines."""
        lines = [json.loads(line) for line in self.out.splitlines()]
        assert all(line["schema"] == 1 for line in lines)
        return lines


@dataclass(frozen=True)
class Cli:
    """``launch`` with a home of its own."""

    home: Path
    cwd: Path
    environ: Mapping[str, str]

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "launcher.cli", *args]

    def __call__(self, *args: str, cwd: Path | None = None, **environ: str) -> Ended:
        done = subprocess.run(
            self.argv(*args),
            cwd=cwd or self.cwd,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr or "--debug" in args, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command, in an empty folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("LAUNCH_", "NO_COLOR"))},
        "LAUNCH_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    return Cli(tmp_path / "home", folder, environ)
