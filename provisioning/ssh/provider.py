"""The provider ``ssh``: one offer, the host that was named, for nothing."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar

from provisioning import catalog, files
from provisioning.claims import never_claimed
from provisioning.errors import BadOption, MachineInUse, MissingDependency, NoCapacity
from provisioning.models import (
    Capabilities,
    Command,
    DeadlineKind,
    Instance,
    InstanceRef,
    Offer,
    SshAccess,
)
from provisioning.options import did_you_mean, read_options
from provisioning.ssh.claims import HostClaim, request_of
from provisioning.ssh.client import Client
from provisioning.ssh.options import Host, Options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioning.local.hardware import Gpu
    from provisioning.models import InstanceSpec, Query
    from provisioning.provider import ProviderContext
    from provisioning.ssh.facts import HostFacts

__all__ = ["INSTANCE_TYPE", "SshProvider"]

INSTANCE_TYPE = "ssh-host"
OLDEST_PYTHON = (3, 8)


class SshProvider:
    """A workstation, a lab machine, a node: it was there before and stays. Claims on it are kept on it.

    Claims of GPUs exclude each other, whoever made them and from wherever; those without a GPU lie side by side.
    """

    name: ClassVar[str] = "ssh"
    capabilities: ClassVar[Capabilities] = Capabilities(deadline=DeadlineKind.BOOT, claimed=True, bills=False)

    def __init__(self, context: ProviderContext) -> None:
        self._options = read_options(Options, context.options, "provider_options.ssh")
        self._context = context
        self._folder = context.home.absolute() / "ssh"
        self._clients: dict[str, Client] = {}
        self._facts: HostFacts | None = None

    def check(self) -> None:
        """Log in, and see that the host can run jobs: its key is the right one, it knows us, it has Python."""
        facts = self._looked_at()
        if not facts.python_version:
            raise MissingDependency(
                f"python3 is not installed on {self._location()}", hint="install Python 3.8 or later there"
            )
        if facts.python_version < OLDEST_PYTHON:
            found = ".".join(map(str, facts.python_version))
            raise MissingDependency(
                f"python3 on {self._location()} is {found}; 3.8 or later is needed",
                hint="put a newer python3 first in PATH there",
            )

    def offers(self, query: Query) -> Sequence[Offer]:
        """Return the host as it is, with as many of its GPUs as the query asks for, all without a wish."""
        location = self._location()
        _known("instance type", query.instance_type, INSTANCE_TYPE)
        _known("region", query.region, location)
        _known("zone", query.zone, location)
        return catalog.select([self._offer(query.gpu_count)], query)

    def create(self, offer: Offer, spec: InstanceSpec) -> Instance:
        """Claim the host for one try of one run."""
        _known("instance type", offer.instance_type, INSTANCE_TYPE)
        client = self._client(offer.location)
        group = self._gpu_group()
        if len(group) < offer.gpu_count:
            raise NoCapacity(
                f"{offer.location} has {len(group)} such GPUs now, {offer.gpu_count} were offered"
            )
        vendor = group[0].vendor if group else None
        self._remember(offer.location)
        told = client.ask(
            {
                "action": "claim",
                "claim": request_of(spec, vendor=vendor, now=self._context.clock()),
                "work_root": self._options.work_root,
                "choices": [gpu.selector for gpu in group],
                "count": offer.gpu_count,
                "share_gpu": self._options.share_gpu,
            }
        )
        if told["claim"] is None:
            held = told["held"]
            raise MachineInUse(
                f"the GPU of {offer.location} is held by {', '.join(held)}",
                hint=f"wait for it, end it with `launch down {held[0]}`, or set provider_options.ssh.share_gpu: true",
            )
        return self._instance(offer.location, HostClaim.read(told["claim"], offer.location))

    def get(self, ref: InstanceRef) -> Instance:
        """Return the claim as a machine that runs, or is gone once released; `Unreachable` is not gone."""
        told = self._ask(ref.location, {"action": "get", "id": ref.id})
        if told["claim"] is None:
            return self._unknown(ref)
        return self._instance(ref.location, HostClaim.read(told["claim"], ref.location))

    def owned(self, run_id: str | None = None) -> Sequence[Instance]:
        """Return every live claim on the host, or on all hosts that this home has ever claimed when none is named."""
        claims = [
            (location, HostClaim.read(found, location))
            for location in self._locations()
            for found in self._ask(location, {"action": "list"})["claims"]
        ]
        return [
            self._instance(location, claim) for location, claim in claims if run_id in (None, claim.run_id)
        ]

    def terminate(self, ref: InstanceRef) -> None:
        """Release the claim and kill the processes that carry its mark; the files stay where they are."""
        self._ask(ref.location, {"action": "release", "id": ref.id, "reason": "released"})

    def notice(self, instance: Instance) -> None:
        """Nobody takes such a host away."""
        return

    def self_destroy(self, instance: Instance) -> Command | None:
        """Return the command that releases the claim on the host itself."""
        told = self._ask(instance.ref.location, {"action": "get", "id": instance.ref.id})
        if told["claim"] is None:
            return None
        program = HostClaim.read(told["claim"], instance.ref.location).program
        return Command(argv=("python3", "-I", "-S", program, "release", instance.ref.id))

    # The host.

    def _location(self) -> str:
        if self._options.host is None:
            raise BadOption(
                "provider_options.ssh.host: missing",
                hint="name the machine: --host user@box, or --host box:2222",
            )
        return str(Host.parse(self._options.host))

    def _locations(self) -> list[str]:
        if self._options.host is not None:
            return [self._location()]
        remembered = self._folder / "hosts"
        return (
            sorted(path.read_text(encoding="utf-8") for path in remembered.glob("*"))
            if remembered.is_dir()
            else []
        )

    def _remember(self, location: str) -> None:
        """So that everything claimed from this home can be found without its job."""
        name = hashlib.sha256(location.encode()).hexdigest()[:16]
        with files.os_errors(f"using {self._folder}"):
            files.write_atomically(self._folder / "hosts" / name, location)

    def _client(self, location: str) -> Client:
        if location not in self._clients:
            self._clients[location] = Client(
                Host.parse(location), self._context.environ, self._folder, self._options.host_key
            )
        return self._clients[location]

    def _ask(self, location: str, request: Mapping[str, Any]) -> dict[str, Any]:
        with files.os_errors(f"using {self._folder}"):
            return self._client(location).ask(request)

    def _looked_at(self) -> HostFacts:
        if self._facts is None:
            with files.os_errors(f"using {self._folder}"):
                self._facts = self._client(self._location()).facts(self._options.work_root)
        return self._facts

    def _offer(self, gpu_count: int | None) -> Offer:
        facts, group, location = self._looked_at(), self._gpu_group(), self._location()
        count = min(len(group), gpu_count) if gpu_count is not None else len(group)
        return Offer(
            provider=self.name,
            instance_type=INSTANCE_TYPE,
            location=location,
            region=location,
            usd_per_hour=0.0,
            priced_at=self._context.clock(),
            price_source="free",
            gpu_name=group[0].name if count else None,
            gpu_count=count,
            gpu_memory_gib=min(gpu.memory_gib for gpu in group) if count else 0.0,
            vcpus=facts.vcpus,
            memory_gib=facts.memory_gib,
            disk_gib=facts.free_disk_gib,
            notes=(f"{len(group)} GPUs, {count} of them used",) if count < len(group) else (),
        )

    def _gpu_group(self) -> Sequence[Gpu]:
        """Return the GPUs of one model; where there are several models, those with the most memory in all."""
        groups: dict[str, list[Gpu]] = {}
        for gpu in self._looked_at().gpus:
            groups.setdefault(gpu.name, []).append(gpu)
        return max(groups.values(), key=lambda group: sum(gpu.memory_gib for gpu in group), default=[])

    # Claims.

    def _instance(self, location: str, claim: HostClaim) -> Instance:
        client = self._client(location)
        access = SshAccess(
            host=client.login.alias,
            user=client.login.user,
            port=client.login.port,
            host_keys=client.host_keys(),
            work_root=claim.work_root,
            environ=claim.environ,
        )
        return claim.instance(
            self.name, location, INSTANCE_TYPE, access=access, seen_at=self._context.clock()
        )

    def _unknown(self, ref: InstanceRef) -> Instance:
        return never_claimed(ref, self._context.clock())


def _known(what: str, asked: str | None, only: str) -> None:
    if asked is not None and asked != only:
        raise did_you_mean(f"ssh: {what}", asked, [only])
