from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning import ProviderContext
from provisioning.vast.provider import VastProvider
from tests.provisioning.machines import Clock
from tests.provisioning.vast.cloud import VastCloud, serving


@pytest.fixture(scope="session")
def server() -> Iterator[VastCloud]:
    with serving() as cloud:
        yield cloud


@pytest.fixture
def cloud(server: VastCloud) -> Iterator[VastCloud]:
    server.reset()
    yield server
    assert not server.violations
    server.reset()


@pytest.fixture
def build(cloud: VastCloud, tmp_path: Path) -> Callable[..., VastProvider]:
    def build(
        clock: Clock | None = None,
        environ: dict[str, str] | None = None,
        home: Path = tmp_path,
        **options: Any,
    ) -> VastProvider:
        more: dict[str, Any] = {"clock": clock} if clock else {}
        told = ProviderContext(home=home, environ=environ or cloud.environ(), options=options, **more)
        return VastProvider(told)

    return build


@pytest.fixture
def provider(build: Callable[..., VastProvider]) -> VastProvider:
    return build()
