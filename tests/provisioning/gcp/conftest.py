from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning import ProviderContext
from provisioning.gcp.provider import GcpProvider
from tests.provisioning.gcp.cloud import GceCloud
from tests.provisioning.gcp.server import serving
from tests.provisioning.machines import Clock

Build = Callable[..., GcpProvider]


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
def build(cloud: GceCloud, tmp_path: Path) -> Build:
    def build(
        clock: Clock | None = None, environ: dict[str, str] | None = None, **options: Any
    ) -> GcpProvider:
        more: dict[str, Any] = {"clock": clock} if clock else {}
        return GcpProvider(
            ProviderContext(home=tmp_path, environ=environ or cloud.environ(), options=options, **more)
        )

    return build


@pytest.fixture
def provider(build: Build) -> GcpProvider:
    return build()
