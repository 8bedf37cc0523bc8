from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.provisioning.aws.cloud import Ec2Cloud, serving
from tests.system.aws.machines import Machines
from tests.system.house import House


@pytest.fixture(scope="session")
def server() -> Iterator[Ec2Cloud]:
    with serving() as cloud:
        yield cloud


@pytest.fixture
def cloud(server: Ec2Cloud) -> Ec2Cloud:
    server.reset()
    for zone in server.zones("us-east-1"):
        server.spot_usd["t3.small", zone] = 0.008
    return server


@pytest.fixture
def machines(cloud: Ec2Cloud, tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(cloud, tmp_path / "machines")
    yield machines
    machines.end_all()
    cloud.reset()


@pytest.fixture
def house(tmp_path: Path, machines: Machines, cloud: Ec2Cloud) -> Iterator[House]:
    house = House(tmp_path / "house")
    told = cloud.environ(LAUNCH_SSH_CONFIG=str(machines.config))
    house.environ.update({name: value for name, value in told.items() if name != "HOME"})
    yield house
    house.close()
