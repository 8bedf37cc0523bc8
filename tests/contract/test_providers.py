"""Binds the contract to every provider of the registry, and fails for one that has not joined."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from provisioning import (
    BadCredentials,
    MayHaveBeenCreated,
    NoCapacity,
    PriceRose,
    Provider,
    ProviderContext,
    QuotaExceeded,
    Throttled,
    registry,
)
from tests.contract.provider import Build, FaultyCloudContract, ProviderContract
from tests.system.ssh.server import Sshd


class AtHome(ProviderContract):
    """For providers whose cloud is a folder. What this computer has (its GPUs, say) must not matter."""

    @pytest.fixture
    def build(self, tmp_path: Path) -> Iterator[Build]:
        def build(**options: Any) -> Provider:
            return registry.provider(
                self.name, ProviderContext(home=tmp_path, environ={"PATH": "/nowhere"}, options=options)
            )

        yield build
        for instance in build().owned():
            build().terminate(instance.ref)


class TestFake(AtHome, FaultyCloudContract):
    name = "fake"
    misspelt_option = "boot_z"
    option = "boot_s"
    create_faults: ClassVar = {
        "no_capacity": NoCapacity,
        "quota": QuotaExceeded,
        "price_rose": PriceRose,
        "throttled": Throttled,
        "credentials": BadCredentials,
        "unreachable": MayHaveBeenCreated,
        "lost_answer": MayHaveBeenCreated,
    }

    def build_with_fault(self, build: Build, call: str, kind: str) -> Provider:
        return build(faults=[{"call": call, "kind": kind}])


class TestLocal(AtHome):
    name = "local"
    misspelt_option = "share_gpus"
    option = "share_gpu"


class TestSsh(ProviderContract):
    """Over a real sshd on loopback."""

    name = "ssh"
    misspelt_option = "share_gpus"
    option = "share_gpu"

    @pytest.fixture(scope="class")
    @classmethod
    def machine(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
        folder = tmp_path_factory.mktemp("ssh-host")
        machine = Sshd(folder, folder / "a home").start()
        (folder / "known_hosts").write_text(machine.known_hosts_line())
        (folder / "config").write_text(machine.ssh_config())
        yield machine
        machine.destroy()

    @pytest.fixture
    def build(self, machine: Sshd, tmp_path: Path) -> Iterator[Build]:
        environ = {**os.environ, "LAUNCH_SSH_CONFIG": str(machine.folder / "config")}

        def build(**options: Any) -> Provider:
            told = {"host": f"{machine.user}@127.0.0.1:{machine.port}", **options}
            return registry.provider("ssh", ProviderContext(home=tmp_path, environ=environ, options=told))

        yield build
        for instance in build().owned():
            build().terminate(instance.ref)
        shutil.rmtree(machine.home / ".launch")


def test_every_registered_provider_has_joined() -> None:
    joined = {value.name for value in globals().values() if _is_bound(value)}
    assert joined >= set(registry.built_in_names())


def _is_bound(value: object) -> bool:
    return (
        isinstance(value, type) and issubclass(value, ProviderContract) and value.__name__.startswith("Test")
    )
