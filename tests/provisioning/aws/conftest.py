from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioning import ProviderContext
from provisioning.aws.provider import AwsProvider
from tests.provisioning.aws.cloud import Ec2Cloud, serving
from tests.provisioning.machines import Clock


@pytest.fixture(scope="session")
def server() -> Iterator[Ec2Cloud]:
    with serving() as cloud:
        yield cloud


@pytest.fixture
def cloud(server: Ec2Cloud) -> Iterator[Ec2Cloud]:
    server.reset()
    yield server
    server.reset()


@pytest.fixture
def build(cloud: Ec2Cloud, tmp_path: Path) -> Callable[..., AwsProvider]:
    def build(
        clock: Clock | None = None, environ: dict[str, str] | None = None, **options: Any
    ) -> AwsProvider:
        more: dict[str, Any] = {"clock": clock} if clock else {}
        return AwsProvider(
            ProviderContext(home=tmp_path, environ=environ or cloud.environ(), options=options, **more)
        )

    return build


@pytest.fixture
def provider(build: Callable[..., AwsProvider]) -> AwsProvider:
    return build()
