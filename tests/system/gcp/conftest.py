from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.provisioning.gcp.cloud import GceCloud
from tests.provisioning.gcp.server import serving
from tests.system.gcp.machines import Machines
from tests.system.house import House


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GceCloud]:
    with serving(tmp_path_factory.mktemp("google")) as cloud:
        yield cloud


@pytest.fixture
def cloud(server: GceCloud) -> Iterator[GceCloud]:
    server.reset()
    yield server
    server.reset()


@pytest.fixture
def machines(cloud: GceCloud, tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(cloud, tmp_path / "machines")
    yield machines
    machines.end_all()


@pytest.fixture
def house(tmp_path: Path, machines: Machines, cloud: GceCloud) -> Iterator[House]:
    house = House(tmp_path / "house")
    told = cloud.environ(LAUNCH_SSH_CONFIG=str(machines.config))
    house.environ.update({name: value for name, value in told.items() if name != "HOME"})
    yield house
    house.close()
