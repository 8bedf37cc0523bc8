"""The provider ``gcp``: Compute Engine in the caller's own project."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from provisioning import address
from provisioning.errors import (
    BadCredentials,
    BadOption,
    NoCapacity,
    Unreachable,
)
from provisioning.gcp import convert
from provisioning.gcp.abilities import CAPABILITIES
from provisioning.gcp.client import client_for
from provisioning.gcp.convert import last_part
from provisioning.gcp.greetings import Greetings
from provisioning.gcp.images import Images
from provisioning.gcp.limits import Limits
from provisioning.gcp.machines import Machines, zone_of
from provisioning.gcp.market import Market
from provisioning.gcp.network import Network
from provisioning.gcp.options import Options
from provisioning.gcp.pricelist import PriceList
from provisioning.gcp.quotas import gpu_quota
from provisioning.gcp.request import NOTICE_S, carrier_body, insert_body
from provisioning.models import Capabilities, InstanceRef, InstanceState, NoticeProbe, Remark
from provisioning.options import read_options
from provisioning.prices import refuse_dearer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any

    from provisioning.models import Instance, InstanceSpec, Offer, Query
    from provisioning.provider import ProviderContext

__all__ = ["GcpProvider"]

METADATA = "http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1"
"""Read on the machine: the standard variable of its own environment, else the name that all machines know."""
MAINTENANCE_NOTICE_S = 3600.0
"""Ahead of the maintenance of a host with GPUs, which machines cannot be moved away from."""


class GcpProvider:
    """Compute Engine in the project that Google's usual configuration names."""

    name: ClassVar[str] = "gcp"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, context: ProviderContext) -> None:
        self._options = read_options(Options, context.options, "provider_options.gcp")
        self._clock = context.clock
        self._lookup = {name: value for name, value in context.environ.items() if name == address.VARIABLE}
        self._client = client_for(context.environ, self._options.project)
        prices = PriceList(
            self._client,
            context.home / "gcp" / "prices.json",
            context.clock,
            live=self._options.prices == "auto",
        )
        environ = {
            name: value
            for name, value in context.environ.items()
            if name.startswith("CLOUDSDK_") or name == "HOME"
        }
        self._market = Market(self._client, self._options, prices, environ)
        self._images = Images(self._client)
        self._network = Network(self._client, self._options.network)
        self._limits = Limits(self._client, self._network)
        self._machines = Machines(self._client)
        self._greetings = Greetings(self._client, context.clock)
        self._stopped_for: dict[tuple[str, str], str] = {}

    def __repr__(self) -> str:
        return f"GcpProvider({self._options!r})"

    def check(self) -> None:
        """Make sure that somebody is logged in, that the project exists, and that the Compute API is on in it."""
        self._client.call("projects.get")

    def remarks(self) -> Sequence[Remark]:
        """Say which project this is, how many GPUs it may have, and who signs addresses of ``gs://`` for machines."""
        project = self._client.call("projects.get")
        found = [Remark(text=f"the project is {self._client.project}"), gpu_quota(project)]
        try:
            signer = self._client.signer(self._options.signer)
        except BadCredentials as error:
            return [*found, Remark(text=error.message, fix=error.hint)]
        return [*found, Remark(text=f"gs://: {signer.account} signs addresses for machines")]

    def check_offer(self, offer: Offer) -> None:
        """Make sure of the network, and that the project's limits leave room for the GPUs of ``offer``."""
        hardware = self._market.hardware_of(
            offer.location, offer.instance_type, offer.gpu_name, offer.gpu_count
        )
        self._limits.check(hardware, offer.region, spot=offer.spot)

    def offers(self, query: Query) -> Sequence[Offer]:
        """Return machines by type, GPU, zone and market, cheapest first."""
        return self._market.offers(query)

    def create(self, offer: Offer, spec: InstanceSpec) -> Instance:
        """Rent one machine; SPENDS MONEY. Its name is its token: the same call finds the same machine."""
        zone = offer.location
        hardware = self._market.hardware_of(zone, offer.instance_type, offer.gpu_name, offer.gpu_count)
        refuse_dearer(offer, spec, self._market.price_now(hardware, zone, spot=offer.spot))
        image = self._images.image_for(hardware, spec.image_id)
        cidr = address.admitted_cidr(self._lookup, spec, self.name)
        body = insert_body(
            offer,
            spec,
            self._options,
            hardware=hardware,
            image=image,
            project=self._client.project,
            tag=self._network.admit(spec.home_id, cidr),
            now=self._clock(),
        )
        made = self._machines.insert(zone, body, token=spec.token)
        if made is None:
            ref = InstanceRef(self.name, zone, spec.token)
            words = f"what {spec.token} rented has ended; a next try needs a new number"
            return convert.ended(ref, self._clock(), reason=words, run_id=spec.run_id, token=spec.token)
        return self._instance(made)

    def get(self, ref: InstanceRef) -> Instance:
        """Return the machine as Compute Engine sees it. ``STOPPED`` also when only its disk is left."""
        machine = self._machines.describe(ref.location, ref.id)
        if machine is not None and convert.state_of(machine) is not InstanceState.STOPPED:
            return self._instance(machine)
        if (carrier := self._machines.carrier(ref.location, ref.id)) is not None:
            return self._instance(carrier)
        if machine is not None:
            return self._instance(machine, reason=self._why_stopped(machine))
        if (disk := self._machines.disk(ref.location, ref.id)) is not None and not disk.get("users"):
            return convert.kept_disk_to_instance(disk, ref, self._clock())
        history = self._machines.history(ref.location, ref.id)
        if history.is_being_made:
            raise Unreachable(f"gcp: {ref} is not listed yet", retry_after_s=2.0)
        return convert.ended(ref, self._clock(), reason=history.reason or "unknown to Compute Engine")

    def owned(self, run_id: str | None = None) -> Sequence[Instance]:
        """Return our machines and kept disks in all zones of the project."""
        machines = self._machines.ours(run_id)
        # A machine that carries the disk of another goes by that one's address, and comes after it.
        machines.sort(key=lambda machine: convert.CARRIES_LABEL in (machine.get("labels") or {}))
        found = {convert.ref_of(machine): self._instance(machine, ask=False) for machine in machines}
        for disk in self._machines.our_disks(run_id):
            ref = InstanceRef(self.name, zone_of(disk), disk["name"])
            if not disk.get("users"):
                found.setdefault(ref, convert.kept_disk_to_instance(disk, ref, self._clock()))
        return list(found.values())

    def terminate(self, ref: InstanceRef) -> None:
        """End the machine and its disk, a kept one too."""
        zone = ref.location
        machine = self._machines.describe(zone, ref.id)
        has_disk = machine is not None and bool(machine.get("disks"))
        if machine is not None:
            self._machines.delete(zone, ref.id)
        if has_disk:
            return
        if (carrier := self._machines.carrier(zone, ref.id)) is not None:
            self._machines.end_with(zone, carrier["name"])
            self._machines.delete(zone, carrier["name"])
        elif self._machines.disk(zone, ref.id) is not None:
            self._machines.delete_disk(zone, ref.id)

    def park(self, ref: InstanceRef) -> None:
        """Stop the machine; one that carries a disk to be read ends, and gives the disk back."""
        machine = self._machines.describe(ref.location, ref.id)
        if machine is not None and convert.state_of(machine) is not InstanceState.STOPPED:
            self._machines.stop(ref.location, machine)
        elif (carrier := self._machines.carrier(ref.location, ref.id)) is not None:
            self._machines.delete(ref.location, carrier["name"])

    def unpark(self, ref: InstanceRef, deadline: datetime) -> None:
        """Start a stopped machine again where it stands, with a new deadline; SPENDS MONEY."""
        machine = self._machines.describe(ref.location, ref.id)
        if machine is None:
            raise NoCapacity(
                f"gcp: the machine of {ref} is gone and cannot be started again",
                left_behind="its disk, if it was kept",
                hint="`launch pull` reads the disk",
            )
        if convert.state_of(machine) is InstanceState.STOPPED:
            self._machines.start(ref.location, machine, deadline)

    def read_disk(self, ref: InstanceRef, deadline: datetime) -> None:
        """Boot the kept disk on the cheapest machine of its zone, without a GPU; SPENDS MONEY.

        A stopped machine lends its disk for that, and has it back before it is started again.
        """
        zone = ref.location
        machine = self._machines.describe(zone, ref.id)
        if machine is not None and convert.state_of(machine) is not InstanceState.STOPPED:
            return
        if self._machines.carrier(zone, ref.id) is not None:
            return
        disk = self._machines.disk(zone, ref.id)
        if disk is None:
            raise BadOption(f"gcp: nothing is left of {ref}: no disk {ref.id} in {zone}")
        if machine is None:
            raise BadOption(
                f"gcp: the machine of {ref} was deleted, and its disk {ref.id} does not say who may log in",
                hint=f"boot it on a machine of yours in {zone}, or attach it to one",
            )
        self._carry(ref, machine, disk, deadline)

    def admit(self, ref: InstanceRef, cidr: str) -> bool:
        """Let ``cidr`` in to the machine, which is to let it in to all machines of this home."""
        machine = self._machines.describe(ref.location, ref.id)
        if machine is None or convert.state_of(machine) is InstanceState.STOPPED:
            machine = self._machines.carrier(ref.location, ref.id)
        if machine is None:
            return False
        return self._network.follow(machine, cidr)

    def notice(self, instance: Instance) -> NoticeProbe:
        """Tell Spot machines two minutes ahead, others an hour ahead of maintenance; both by the metadata service."""
        what, match, notice_s = (
            ("preempted", "TRUE", float(NOTICE_S))
            if instance.spot
            else ("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE", MAINTENANCE_NOTICE_S)
        )
        return NoticeProbe(
            url=f"{METADATA}/instance/{what}",
            match=match,
            headers={"Metadata-Flavor": "Google"},
            interval_s=5.0,
            notice_s=notice_s,
        )

    def self_destroy(self, instance: Instance) -> None:
        """Not needed: Google ends the machine at its deadline, as was said when it was made.

        It could not be better from inside: without a credential on it a machine can only switch itself off, which stops
        it, and its disk would be billed where it was to be deleted.
        """
        return

    def _carry(
        self, ref: InstanceRef, machine: dict[str, Any], disk: dict[str, Any], deadline: datetime
    ) -> None:
        zone = ref.location
        told = convert.metadata_of(machine)
        hardware, usd_per_hour = self._market.cheapest_carrier(zone, last_part(str(disk.get("type", ""))))
        home_id = told.get(convert.HOME, "")
        body = carrier_body(
            disk,
            told,
            deadline,
            self._options,
            machine_id=ref.id,
            hardware=hardware,
            usd_per_hour=usd_per_hour,
            zone=zone,
            project=self._client.project,
            tag=self._network.admit(home_id, address.my_cidr(self._lookup)),
        )
        self._machines.detach(zone, machine)
        self._machines.insert(zone, body, token=f"{ref.id} (to read its disk)")

    def _why_stopped(self, machine: dict[str, Any]) -> str:
        """Ask once per stop."""
        key = (str(machine.get("id", "")), str(machine.get("lastStopTimestamp", "")))
        if key not in self._stopped_for:
            self._stopped_for[key] = self._machines.history(zone_of(machine), machine["name"]).reason
        return self._stopped_for[key]

    def _instance(self, machine: dict[str, Any], *, reason: str = "", ask: bool = True) -> Instance:
        """Return our record; a running machine that cannot be logged in to yet, safely, counts as pending.

        Unless it may ``ask`` for host keys, it says no way in.
        """
        instance = convert.to_instance(machine, self._clock(), address=self._options.address, reason=reason)
        if not ask or instance.access is None:
            return replace(instance, access=None)
        greeting = self._greetings.of(machine)
        if greeting.awaits:
            return replace(
                instance,
                state=InstanceState.PENDING,
                access=None,
                state_reason=f"it runs and has not told {greeting.awaits} yet",
            )
        return convert.to_instance(
            machine,
            self._clock(),
            address=self._options.address,
            host_keys=greeting.host_keys,
            reason=greeting.reason,
        )
