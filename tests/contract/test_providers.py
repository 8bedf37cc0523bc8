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
    Command,
    InstanceRef,
    InstanceState,
    MayHaveBeenCreated,
    NoCapacity,
    Offer,
    PermissionDenied,
    PriceRose,
    Provider,
    ProviderContext,
    QuotaExceeded,
    Throttled,
    registry,
)
from provisioning.aws.userdata import END
from provisioning.vast import onstart
from tests.contract.provider import Build, FaultyCloudContract, ProviderContract, spec_for
from tests.provisioning.aws.cloud import KEY, SECRET, Ec2Cloud, Fault, serving
from tests.provisioning.gcp import cloud as gce
from tests.provisioning.gcp import keys as gce_keys
from tests.provisioning.gcp import server as gce_server
from tests.provisioning.gcp import stock as gce_stock
from tests.provisioning.vast import cloud as vast
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


class TestAws(ProviderContract, FaultyCloudContract):
    """Over EC2's API on loopback."""

    name = "aws"
    endpoint_variable = "AWS_ENDPOINT_URL"
    misspelt_option = "region"
    option = "regions"
    secrets = (KEY, SECRET)
    create_faults: ClassVar = {
        "InsufficientInstanceCapacity": NoCapacity,
        "VcpuLimitExceeded": QuotaExceeded,
        "price_rose": PriceRose,
        "RequestLimitExceeded": Throttled,
        "AuthFailure": BadCredentials,
        "UnauthorizedOperation": PermissionDenied,
        "InternalError": MayHaveBeenCreated,
        "SomethingNobodyKnows": MayHaveBeenCreated,
        "unreachable": MayHaveBeenCreated,
        "lost_answer": MayHaveBeenCreated,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[Ec2Cloud]:
        with serving() as cloud:
            yield cloud

    @pytest.fixture
    def cloud(self, server: Ec2Cloud) -> Iterator[Ec2Cloud]:
        server.reset()
        yield server
        server.reset()

    @pytest.fixture
    def build(self, cloud: Ec2Cloud, tmp_path: Path) -> Build:
        self.cloud = cloud

        def build(**options: Any) -> Provider:
            return registry.provider(
                "aws", ProviderContext(home=tmp_path, environ=cloud.environ(), options=options)
            )

        return build

    def build_with_fault(self, build: Build, call: str, kind: str) -> Provider:
        action = {"create": "RunInstances", "get": "DescribeInstances", "terminate": "TerminateInstances"}[
            call
        ]
        self.cloud.listed_usd.pop(("t3.small", "us-east-1"), None)
        if kind == "price_rose":
            self.cloud.listed_usd["t3.small", "us-east-1"] = 0.09
        elif kind in ("unreachable", "lost_answer"):
            how = "hang_up" if kind == "unreachable" else "lose"
            self.cloud.faults.append(Fault(action, kind=how))
        else:
            is_server_error = kind in (
                "InsufficientInstanceCapacity",
                "InternalError",
                "RequestLimitExceeded",
            )
            self.cloud.faults.append(Fault(action, kind, 500 if is_server_error else 400))
        return build()

    def test_a_command_of_self_destruction_ends_the_machine(  # it would end this computer
        self, provider: Provider, offer: Offer, tmp_path: Path
    ) -> None:
        instance = provider.create(offer, spec_for())
        command = provider.self_destroy(instance)
        assert isinstance(command, Command)
        assert command.argv[-1] == END
        assert END in self.cloud.user_data(instance.ref.id)
        self.cloud.power_off(instance.ref.id)
        assert provider.get(instance.ref).state.is_gone


class TestVast(ProviderContract, FaultyCloudContract):
    """Over Vast's API on loopback."""

    name = "vast"
    endpoint_variable = "VAST_URL"
    misspelt_option = "min_reliabilty"
    option = "min_reliability"
    secrets = (vast.KEY,)
    create_faults: ClassVar = {
        "no_such_ask": NoCapacity,
        "missing_billing": QuotaExceeded,
        "price_rose": PriceRose,
        "too_frequent": Throttled,
        "auth_error": BadCredentials,
        "forbidden": PermissionDenied,
        "half": NoCapacity,
        "server_error": MayHaveBeenCreated,
        "nobody_knows": MayHaveBeenCreated,
        "unreachable": MayHaveBeenCreated,
        "lost_answer": MayHaveBeenCreated,
    }
    faults: ClassVar = {
        "no_such_ask": {"status": 404, "code": "invalid_args", "message": "error 404/3603: no_such_ask"},
        "missing_billing": {"status": 400, "code": "missing_billing"},
        "too_frequent": {"status": 429, "kind": "text", "message": "API requests too frequent"},
        "auth_error": {"status": 401, "code": "auth_error"},
        "forbidden": {"status": 403, "code": "invalid_args"},
        "half": {"kind": "half"},
        "server_error": {"status": 502, "kind": "text", "message": "<html>Bad Gateway</html>"},
        "nobody_knows": {"status": 400, "code": "never_heard_of"},
        "unreachable": {"kind": "hang_up"},
        "lost_answer": {"kind": "lose"},
    }

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[vast.VastCloud]:
        with vast.serving() as cloud:
            yield cloud

    @pytest.fixture
    def cloud(self, server: vast.VastCloud) -> Iterator[vast.VastCloud]:
        server.reset()
        yield server
        assert not server.violations

    @pytest.fixture
    def build(self, cloud: vast.VastCloud, tmp_path: Path) -> Build:
        self.cloud = cloud

        def build(**options: Any) -> Provider:
            # The home of a launcher that is started anew: what Vast has forgotten is on file there.
            return registry.provider(
                "vast", ProviderContext(home=tmp_path, environ=cloud.environ(), options=options)
            )

        return build

    def settle(self, provider: Provider, ref: InstanceRef, wanted: InstanceState) -> InstanceState:
        states = [provider.get(ref).state for _ in range(3)]
        return states[-1]

    def build_with_fault(self, build: Build, call: str, kind: str) -> Provider:
        cheapest = self.cloud.machines[21]
        cheapest.dph_base, cheapest.min_bid = 0.12, 0.06
        if kind == "price_rose":
            cheapest.dph_base, cheapest.min_bid = 0.5, 0.4
        else:
            name = {"create": "create", "get": "show", "terminate": "destroy"}[call]
            self.cloud.faults.append(vast.Fault(name, **self.faults[kind]))
        return build()

    def test_a_command_of_self_destruction_ends_the_machine(  # it lies on the machine: see tests/system/vast
        self, provider: Provider, offer: Offer, tmp_path: Path
    ) -> None:
        instance = provider.create(offer, spec_for())
        command = provider.self_destroy(instance)
        assert isinstance(command, Command)
        assert command.argv == (onstart.END,)
        assert f"$d/{Path(onstart.END).name}" in self.cloud.row(instance.ref.id)["onstart"]


class TestGcp(ProviderContract, FaultyCloudContract):
    """Over Compute Engine's API on loopback."""

    name = "gcp"
    endpoint_variable = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"
    misspelt_option = "region"
    option = "regions"
    secrets = (gce_keys.private_pem(), *gce_server.TOKENS)
    create_faults: ClassVar = {
        "ZONE_RESOURCE_POOL_EXHAUSTED": NoCapacity,
        "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": NoCapacity,
        "QUOTA_EXCEEDED": QuotaExceeded,
        "rateLimitExceeded": Throttled,
        "authError": BadCredentials,
        "forbidden": PermissionDenied,
        "backendError": MayHaveBeenCreated,
        "somethingNobodyKnows": MayHaveBeenCreated,
        "unreachable": MayHaveBeenCreated,
        "lost_answer": MayHaveBeenCreated,
        "price_rose": PriceRose,  # the last: prices are kept for a day
    }

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[gce.GceCloud]:
        with gce_server.serving(tmp_path_factory.mktemp("google")) as cloud:
            yield cloud

    @pytest.fixture
    def build(self, server: gce.GceCloud, tmp_path: Path) -> Iterator[Build]:
        self.cloud = server
        server.reset()

        def build(**options: Any) -> Provider:
            return registry.provider(
                "gcp", ProviderContext(home=tmp_path, environ=server.environ(), options=options)
            )

        yield build
        server.reset()

    def build_with_fault(self, build: Build, call: str, kind: str) -> Provider:
        method = {"create": "insert", "get": "get", "terminate": "delete"}[call]
        statuses = {"rateLimitExceeded": 403, "authError": 401, "forbidden": 403, "backendError": 500}
        if kind == "price_rose":
            self.cloud.skus = [
                gce_stock.sku("Spot Preemptible E2 Instance Core running in Americas", 9.0, "Preemptible"),
                gce_stock.sku("E2 Instance Core running in Americas", 9.0),
            ]
        elif kind in ("unreachable", "lost_answer"):
            how = "hang_up" if kind == "unreachable" else "lose"
            self.cloud.faults.append(gce.Fault(f"instances.{method}", kind=how))
        elif kind.isupper():
            self.cloud.faults.append(gce.Fault(f"instances.{method}", kind, kind="fail"))
        else:
            status = statuses.get(kind, 418)
            times = 3 if status == 401 else 1  # the SDK logs in anew and repeats the call, twice
            self.cloud.faults.append(gce.Fault(f"instances.{method}", kind, status, times))
        return build()


def test_every_registered_provider_has_joined() -> None:
    joined = {value.name for value in globals().values() if _is_bound(value)}
    assert joined >= set(registry.built_in_names())


def _is_bound(value: object) -> bool:
    return (
        isinstance(value, type) and issubclass(value, ProviderContract) and value.__name__.startswith("Test")
    )
