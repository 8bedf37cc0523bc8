"""A house whose jobs run on a real machine over SSH."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.house import House
from tests.system.ssh.server import Sshd


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Sshd]:
    machine = Sshd(tmp_path / "machine", tmp_path / "machine" / "it's a home").start()
    (machine.folder / "known_hosts").write_text(machine.known_hosts_line())
    (machine.folder / "config").write_text(machine.ssh_config())
    yield machine
    machine.destroy()


@pytest.fixture
def house(tmp_path: Path, machine: Sshd) -> Iterator[House]:
    house = House(tmp_path / "house")
    house.environ["LAUNCH_SSH_CONFIG"] = str(machine.folder / "config")
    yield house
    house.close()


@pytest.fixture
def host(machine: Sshd) -> str:
    return f"{machine.user}@127.0.0.1:{machine.port}"
