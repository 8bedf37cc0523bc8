"""Binds the contract to every shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from launcher.remote.local import LocalShell
from launcher.remote.shell import Shell
from provisioning import LocalAccess
from tests.contract.shell import ShellContract


class TestLocal(ShellContract):
    @pytest.fixture
    def shell(self, tmp_path: Path) -> Iterator[Shell]:
        shell = LocalShell(LocalAccess(work_root=tmp_path, environ={"OF_THE_MACHINE": "yes"}))
        yield shell
        shell.close()

    @pytest.fixture
    def far(self, tmp_path: Path) -> PurePosixPath:
        folder = tmp_path / "far"
        folder.mkdir()
        return PurePosixPath(folder)

    def test_the_machines_own_environment_is_there(self, shell: Shell) -> None:
        assert shell.run(["sh", "-c", "echo $OF_THE_MACHINE"]).stdout == b"yes\n"

    def test_python_is_the_one_that_runs_the_launcher(self, shell: Shell) -> None:
        import sys

        told = shell.run(["python3", "-c", "import sys; print(sys.prefix)"]).stdout.decode().strip()
        assert told == sys.prefix
