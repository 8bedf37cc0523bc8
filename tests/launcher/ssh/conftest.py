"""A machine of its own for every module, and shells on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from launcher.remote.ssh.shell import SshShell
from launcher.remote.tools import Tools
from tests.system.ssh.machines import shell_on
from tests.system.ssh.proxy import Proxy
from tests.system.ssh.server import Sshd


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("machine")
    machine = Sshd(folder, folder / "it's a home").start()
    yield machine
    machine.destroy()


@pytest.fixture
def own_machine(tmp_path: Path) -> Iterator[Sshd]:
    """For tests that change it."""
    machine = Sshd(tmp_path / "own", tmp_path / "own" / "home")
    yield machine
    machine.destroy()


@pytest.fixture
def shell(machine: Sshd) -> Iterator[SshShell]:
    shell = shell_on(machine)
    yield shell
    shell.close()


@pytest.fixture
def proxy(machine: Sshd) -> Iterator[Proxy]:
    proxy = Proxy(machine.port)
    yield proxy
    proxy.close()


@pytest.fixture
def tools(shell: SshShell, machine: Sshd) -> Tools:
    tools = Tools(shell, "python3", PurePosixPath(machine.home) / "tools")
    tools.install()
    return tools
