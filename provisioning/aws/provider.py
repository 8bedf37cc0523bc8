"""The provider ``aws``: machines of Amazon EC2."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from provisioning import address
from provisioning.aws import convert, userdata
from provisioning.aws.abilities import CAPABILITIES
from provisioning.aws.advisor import Advisor
from provisioning.aws.carrier import DEVICE, MOUNTED_AFTER, KeptKeys, attached_at, carrier_request
from provisioning.aws.client import client_for
from provisioning.aws.convert import CARRIER_TAG, KEPT_TAG, PERSISTENT_TAG
from provisioning.aws.errors import Refusal, create_error
from provisioning.aws.images import Images
from provisioning.aws.limits import AccountLimits
from provisioning.aws.machines import Machines
from provisioning.aws.market import Market
from provisioning.aws.network import Network
from provisioning.aws.options import Options
from provisioning.aws.quotas import quota_of
from provisioning.aws.request import home_tags, interface, run_request
from provisioning.errors import BadOption, NoCapacity, NoOffer, PermissionDenied, Unreachable
from provisioning.models import (
    Capabilities,
    Command,
    HttpRequest,
    InstanceState,
    NoticeProbe,
)
from provisioning.newcomers import Newcomers
from provisioning.options import read_options
from provisioning.prices import refuse_dearer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any

    from provisioning.models import Instance, InstanceRef, InstanceSpec, Offer, Query
    from provisioning.provider import ProviderContext

__all__ = ["AwsProvider"]

PARALLEL_REGIONS = 8
NOTICE_S = 120.0
METADATA = "${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}"
"""Read on the machine: the standard variable of its own environment, else the address that all machines have."""


class AwsProvider:
    """EC2 in the account that AWS's usual configuration names."""

    name: ClassVar[str] = "aws"
    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, context: ProviderContext) -> None:
        self._options = read_options(Options, context.options, "provider_options.aws")
        self._clock = context.clock
        self._lookup = {name: value for name, value in context.environ.items() if name == address.VARIABLE}
        self._client = client_for(context.environ, self._options.profile)
        advisor = Advisor(context.home / "aws" / "spot-advisor.json", context.environ, context.clock)
        self._market = Market(self._client, self._options, context.clock, advisor)
        self._limits = AccountLimits(self._client)
        self._images = Images(self._client, self._options.ssh_user)
        self._network = Network(self._client, self._options.vpc, ipv6=self._options.address == "ipv6")
        self._machines = Machines(self._client)
        self._newcomers = Newcomers(context.home / "aws" / "new", context.clock)
        self._keys = KeptKeys(context.home / "aws" / "kept")
        self._named_disks: set[str] = set()

    def __repr__(self) -> str:
        return f"AwsProvider({self._options!r})"

    def check(self) -> None:
        """Make sure that somebody is logged in and may look at EC2."""
        self._client.call("sts", self._client.default_region, "get_caller_identity")
        self._market.enabled_regions()

    def offers(self, query: Query) -> Sequence[Offer]:
        """Return machines by type, zone and market in the regions asked for, at the prices of now."""
        return self._market.offers(query)

    def create(self, offer: Offer, spec: InstanceSpec) -> Instance:
        """Rent one machine; SPENDS MONEY. The token makes a repeated call return the same machine."""
        region = offer.region
        hardware = self._hardware(offer)
        refuse_dearer(offer, spec, self._market.price_now(offer))
        image = self._images.image_for(region, hardware, spec.image_id)
        request = run_request(
            offer,
            spec,
            self._options,
            image=image,
            subnet=self._network.subnet(region, offer.zone),
            group=self._network.admit(region, self._admitted(region, spec), home_tags(spec)),
        )
        quota = quota_of(offer.instance_type, spot=offer.spot)
        answer = self._client.run_instances(
            region, request, token=spec.token, quota=f"{quota.name}: {quota.page(region)}"
        )
        machine = (
            self._replayed(region, spec, answer) if isinstance(answer, Refusal) else answer["Instances"][0]
        )
        self._newcomers.note(machine["InstanceId"])
        if offer.spot:
            self._keys.keep(machine["InstanceId"], spec)
        return self._instance(machine, region)

    def get(self, ref: InstanceRef) -> Instance:
        """Return the machine as EC2 sees it. ``STOPPED`` also when only its kept disk is left."""
        machine = self._machines.describe(ref.location, ref.id)
        if machine is None and self._newcomers.is_new(ref.id):
            raise Unreachable(f"aws: {ref} is not listed yet", retry_after_s=2.0)
        if machine is not None and machine["State"]["Name"] != "terminated":
            self._name_disk(ref.location, machine)
            return self._instance(machine, ref.location)
        if (carrier := self._machines.carrier(ref.location, ref.id)) is not None:
            return self._carried(ref.location, carrier)
        disk = self._machines.kept_disk(ref.location, ref.id, machine)
        if disk is not None:
            return convert.kept_disk_to_instance(disk, ref, self._clock())
        return self._instance(machine, ref.location) if machine else convert.unknown(ref, self._clock())

    def owned(self, run_id: str | None = None) -> Sequence[Instance]:
        """Return our machines and kept disks in all regions that the account may use."""
        regions = self._market.enabled_regions()
        with ThreadPoolExecutor(max_workers=PARALLEL_REGIONS) as pool:
            found = list(pool.map(lambda region: self._owned_in(region, run_id), regions))
        denied = [answer for answer in found if isinstance(answer, PermissionDenied)]
        if len(denied) == len(regions) and denied:
            raise denied[0]
        return [
            instance for answer in found if not isinstance(answer, PermissionDenied) for instance in answer
        ]

    def terminate(self, ref: InstanceRef) -> None:
        """End the machine with its spot request and its disk, a kept one too."""
        region = ref.location
        machine = self._machines.describe(region, ref.id)
        if machine is not None and machine["State"]["Name"] != "terminated":
            if KEPT_TAG in convert.tags_of(machine):
                self._machines.keep_disk(region, machine, keep=False)
            self._machines.terminate(region, machine)
            return
        if (carrier := self._machines.carrier(region, ref.id)) is not None:
            if attached_at(carrier, convert.tags_of(carrier)[CARRIER_TAG]) is not None:
                self._machines.end_with(region, carrier, DEVICE)
            self._machines.terminate(region, carrier)
        if disk := self._machines.kept_disk(region, ref.id, machine):
            self._machines.delete_disk(region, disk["VolumeId"])
        self._keys.forget(ref.id)

    def park(self, ref: InstanceRef) -> None:
        """Stop the machine; a one-time spot machine, which cannot be stopped, ends and leaves its disk."""
        machine = self._machines.describe(ref.location, ref.id)
        if machine is None or machine["State"]["Name"] not in ("pending", "running"):
            if (carrier := self._machines.carrier(ref.location, ref.id)) is not None:
                self._machines.terminate(ref.location, carrier)
            return
        if machine.get("InstanceLifecycle") == "spot" and PERSISTENT_TAG not in convert.tags_of(machine):
            self._machines.keep_disk(ref.location, machine, keep=True)
            self._machines.terminate(ref.location, machine)
        else:
            self._machines.stop(ref.location, ref.id)

    def unpark(self, ref: InstanceRef, deadline: datetime) -> None:
        """Start a stopped machine again with a new deadline; SPENDS MONEY."""
        machine = self._machines.describe(ref.location, ref.id)
        if machine is not None and machine["State"]["Name"] in ("stopped", "stopping"):
            self._machines.start(ref.location, ref.id, deadline)
        elif machine is None or machine["State"]["Name"] == "terminated":
            raise NoCapacity(
                f"aws: the machine of {ref} is gone and cannot be started again; what it left can be read",
                left_behind="its disk, if it was kept",
                hint="`launch pull` reads the disk",
            )

    def read_disk(self, ref: InstanceRef, deadline: datetime) -> None:
        """Start a stopped machine, or rent the cheapest one that can carry a kept disk; SPENDS MONEY."""
        machine = self._machines.describe(ref.location, ref.id)
        if machine is not None and machine["State"]["Name"] != "terminated":
            self.unpark(ref, deadline)
            return
        disk = self._machines.kept_disk(ref.location, ref.id, machine)
        if disk is not None and self._machines.carrier(ref.location, ref.id) is None:
            self._carry(ref, disk, deadline)

    def admit(self, ref: InstanceRef, cidr: str) -> bool:
        """Let ``cidr`` in to the machine and, with it, to all machines of this home in the region.

        Machines that are reached by another address than the public one let in who that is, whatever ``cidr`` says.
        """
        if self._options.address != "public":
            cidr = self._mine(ref.location)
        machine = self._machines.describe(ref.location, ref.id)
        if machine is None or machine["State"]["Name"] == "terminated":
            machine = self._machines.carrier(ref.location, ref.id)
        groups = convert.group_ids(machine) if machine else []
        changed = [self._network.follow(ref.location, group, cidr) for group in groups]
        return any(changed)

    def check_offer(self, offer: Offer) -> None:
        """Compare the account's vCPU quota with what the machine needs, and look for a network to put it in."""
        self._limits.check(offer)
        self._network.vpc_of(offer.region)

    def notice(self, instance: Instance) -> NoticeProbe | None:
        """Spot machines are told two minutes ahead, through their metadata service; others are not taken away.

        A recommendation to move elsewhere may come earlier, together with the notice, or for nothing.
        """
        if not instance.spot:
            return None
        return NoticeProbe(
            url=f"{METADATA}/latest/meta-data/spot/instance-action",
            match=r'"action"\s*:',
            token_request=HttpRequest(
                method="PUT",
                url=f"{METADATA}/latest/api/token",
                headers={"X-aws-ec2-metadata-token-ttl-seconds": "21600"},
            ),
            token_header="X-aws-ec2-metadata-token",
            interval_s=5.0,
            notice_s=NOTICE_S,
            warning_url=f"{METADATA}/latest/meta-data/events/recommendations/rebalance",
        )

    def self_destroy(self, instance: Instance) -> Command:
        """Power off, by the script that user-data has put on the machine; EC2 knows what shall follow."""
        return Command(argv=("sudo", "-n", userdata.END))

    def _carry(self, ref: InstanceRef, disk: dict[str, Any], deadline: datetime) -> None:
        region, zone = ref.location, disk["AvailabilityZone"]
        keys = self._keys.of(ref.id)
        hardware, usd_per_hour = self._market.cheapest_carrier(region, zone)
        tags = {
            name: value
            for name, value in convert.tags_of(disk).items()
            if name in ("launch-home", "launch-owner")
        }
        group = self._network.admit(region, self._mine(region), tags)
        request = carrier_request(
            disk,
            keys,
            deadline,
            instance_id=ref.id,
            instance_type=hardware.instance_type,
            usd_per_hour=usd_per_hour,
            image=self._images.image_for(region, hardware, None),
            interface=interface(self._options, self._network.subnet(region, zone), group),
        )
        quota = quota_of(hardware.instance_type, spot=False)
        self._client.run_instances(
            region, request, token=request["ClientToken"], quota=f"{quota.name}: {quota.page(region)}"
        )

    def _carried(self, region: str, carrier: dict[str, Any]) -> Instance:
        """Bring the disk to its carrier; the machine counts as running when the disk has had time to be mounted."""
        instance = self._instance(carrier, region)
        if instance.state is not InstanceState.RUNNING:
            return instance
        volume = convert.tags_of(carrier)[CARRIER_TAG]
        since = attached_at(carrier, volume)
        if since is None:
            self._machines.attach(region, carrier, volume, DEVICE)
        if since is None or self._clock() - since < MOUNTED_AFTER:
            return replace(
                instance,
                state=InstanceState.PENDING,
                access=None,
                state_reason=f"its disk {volume} is being attached",
            )
        return instance

    def _mine(self, region: str) -> str:
        """From where machines are reached: this computer, or the VPC's own network for those without a public address."""
        if self._options.address == "private":
            return self._network.cidr_of(region)
        return address.my_cidr(self._lookup, ipv6=self._options.address == "ipv6")

    def _admitted(self, region: str, spec: InstanceSpec) -> str:
        if spec.allowed_cidr is None:
            return self._mine(region)
        return address.admitted_cidr(self._lookup, spec, self.name)

    def _hardware(self, offer: Offer) -> Any:
        try:
            return self._market.hardware_of(offer.region, offer.instance_type)
        except NoOffer as error:
            raise BadOption(error.message, hint=error.hint) from None

    def _replayed(self, region: str, spec: InstanceSpec, refusal: Refusal) -> dict[str, Any]:
        """Find the machine that the token has made before, with other parameters (a newer image, say) or ended."""
        machine = self._machines.by_token(region, spec.token)
        if machine is not None:
            return machine
        if refusal.code == "IdempotentInstanceTerminated":
            raise NoCapacity(
                f"aws {region}: what {spec.token} rented has ended; a next try needs a new number"
            )
        raise create_error(refusal, token=spec.token)

    def _owned_in(self, region: str, run_id: str | None) -> list[Instance] | PermissionDenied:
        try:
            machines = self._machines.ours(region, run_id)
            disks = self._machines.kept_disks(region, run_id)
        except PermissionDenied as error:
            return error
        now = self._clock()
        found = {convert.ref_of(machine, region): self._instance(machine, region) for machine in machines}
        for disk in disks:
            ref = convert.ref_of_disk(disk, region)
            found.setdefault(ref, convert.kept_disk_to_instance(disk, ref, now))
        return list(found.values())

    def _instance(self, machine: dict[str, Any], region: str) -> Instance:
        return convert.to_instance(machine, region, self._clock(), address=self._options.address)

    def _name_disk(self, region: str, machine: dict[str, Any]) -> None:
        """Once per machine whose disk is kept: let the disk be found by the machine's id when that is gone."""
        instance_id = machine["InstanceId"]
        if KEPT_TAG not in convert.tags_of(machine) or instance_id in self._named_disks:
            return
        if self._machines.name_disk(region, machine):
            self._named_disks.add(instance_id)
