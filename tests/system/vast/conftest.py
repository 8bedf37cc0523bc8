from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.provisioning.vast.cloud import VastCloud, serving
from tests.system.house import House
from tests.system.vast.containers import Containers


@pytest.fixture(scope="module")
def server() -> Iterator[VastCloud]:
    with serving() as cloud:
        yield cloud


@pytest.fixture
def cloud(server: VastCloud) -> Iterator[VastCloud]:
    server.reset()
    yield server
    assert not server.violations


@pytest.fixture
def containers(cloud: VastCloud, tmp_path: Path) -> Iterator[Containers]:
    containers = Containers(cloud, tmp_path / "containers")
    yield containers
    containers.end_all()
    cloud.reset()


@pytest.fixture
def house(tmp_path: Path, containers: Containers, cloud: VastCloud) -> Iterator[House]:
    house = House(tmp_path / "house")
    house.environ.update({name: value for name, value in cloud.environ().items() if name != "HOME"})
    yield house
    house.close()
