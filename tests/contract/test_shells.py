"""Binds the contract to every shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from launcher.remote.local import LocalShell
from launcher.remote.shell import Shell
from provisioning import LocalAccess
from tests.contract.shell import ShellContract
from tests.system.ssh.machines import shell_on
from tests.system.ssh.server import Sshd


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


@pytest.fixture(scope="module")
def bash_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """On a machine whose login shell is bash."""
    yield from _ssh_shell(tmp_path_factory.mktemp("bash"), "/bin/bash", "")


@pytest.fixture(scope="module")
def csh_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """On a machine whose login shell quotes otherwise, and whose start-up file talks."""
    yield from _ssh_shell(tmp_path_factory.mktemp("csh"), "/bin/csh", "echo welcome back\n")


def _ssh_shell(folder: Path, login_shell: str, start_up: str) -> Iterator[Shell]:
    machine = Sshd(folder, folder / "it's a home", shell=login_shell)
    for name in (".bashrc", ".cshrc"):
        (machine.home / name).write_text(start_up)
    machine.start()
    shell = shell_on(machine)
    yield shell
    shell.close()
    machine.destroy()


class TestSsh(ShellContract):
    @pytest.fixture
    def shell(self, bash_shell: Shell) -> Shell:
        return bash_shell

    @pytest.fixture
    def far(self, tmp_path: Path) -> PurePosixPath:
        folder = tmp_path / "far"
        folder.mkdir()
        return PurePosixPath(folder)


class TestSshWithAnotherLoginShell(TestSsh):
    @pytest.fixture
    def shell(self, csh_shell: Shell) -> Shell:
        return csh_shell
