"""The command as a user has it: a real process, a home of its own, a folder to stand in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.launcher.cli.starting import starter

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 120.0


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
        """Carry it out."""
        try:
            code, out, err = starter()(args, cwd or self.cwd, {**self.environ, **environ}, TIMEOUT_S)
        except TimeoutError as late:
            log = self.home / "supervisor.log"
            said = log.read_text() if log.exists() else ""
            raise AssertionError(f"{args} did not end; {late}; the supervisor says {said!r}") from None
        assert "Traceback" not in err or "--debug" in args, err
        return Ended(code, out, err)


def make_cli(root: Path) -> Cli:
    """Return the command with everything of its own below ``root``."""
    folder = root / "project"
    folder.mkdir()
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("LAUNCH_", "NO_COLOR"))},
        "LAUNCH_HOME": str(root / "home"),
        "PYTHONPATH": str(ROOT),
    }
    return Cli(root / "home", folder, environ)


def end_everything(cli: Cli) -> None:
    """End all live runs and wait until the supervisor has gone too; then kill what is left of this home."""
    try:
        listed = cli("ls", "--json") if cli.home.is_dir() else None
        for run in listed.document["runs"] if listed and listed.code == 0 else []:
            if run["ended_at"] is None:
                cli("down", run["run_id"], "--no-pull", "--yes")
        give_up_at = time.monotonic() + 10
        while started_for(cli.home) and time.monotonic() < give_up_at:
            time.sleep(0.05)
    finally:
        for pid in started_for(cli.home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def started_for(home: Path) -> list[int]:
    """Return the processes that have this home in their environment."""
    mark = os.fsencode(f"LAUNCH_HOME={home}\0")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """The command, in an empty folder; whatever it started is ended afterwards."""
    command = make_cli(tmp_path)
    yield command
    end_everything(command)


@pytest.fixture(scope="module")
def shared_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """One command for all tests of a module."""
    command = make_cli(tmp_path_factory.mktemp("shared"))
    yield command
    end_everything(command)
