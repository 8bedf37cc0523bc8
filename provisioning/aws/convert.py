"""Between EC2's words and ours: pure."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from provisioning.aws import prices
from provisioning.models import Instance, InstanceRef, InstanceState, Offer, SshAccess

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioning.aws.hardware import Hardware
    from provisioning.prices import Price

__all__ = [
    "CARRIER_TAG",
    "DEADLINE_TAG",
    "HOST_KEY_TAG",
    "INSTANCE_TAG",
    "KEPT_TAG",
    "PERSISTENT_TAG",
    "PRICE_TAG",
    "PROVIDER",
    "USER_TAG",
    "aws_tags",
    "group_ids",
    "instances_of",
    "kept_disk_to_instance",
    "ref_of",
    "ref_of_disk",
    "root_volume_id",
    "tags_of",
    "to_instance",
    "to_offer",
    "unknown",
]

PROVIDER = "aws"
DEADLINE_TAG = "launch-deadline"
PRICE_TAG = "launch-usd-per-hour"
USER_TAG = "launch-ssh-user"
HOST_KEY_TAG = "launch-host-key"
"""The public host key that user-data has put on the machine."""
KEPT_TAG = "launch-keeps-disk"
"""On machines and volumes whose disk outlives the machine."""
PERSISTENT_TAG = "launch-persistent-spot"
"""On spot machines that can be stopped."""
CARRIER_TAG = "launch-carries"
"""On a machine that was rented to read a kept disk: the volume's id. `INSTANCE_TAG` says for which machine it stands."""
INSTANCE_TAG = "launch-instance"
"""On a kept volume: the machine whose disk it was."""

_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.STOPPING,
    "shutting-down": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "terminated": InstanceState.TERMINATED,
}


def to_offer(
    hardware: Hardware,
    *,
    region: str,
    zone: str,
    spot: bool,
    price: Price,
    gpus_used: int,
    public_ipv4: bool = True,
    risk: tuple[str, str] | None = None,
) -> Offer:
    """Return one offer: a type in a zone on one of the two markets. ``gpus_used``: more than these would idle.

    ``risk``: the Spot Advisor's bucket of today and its day, where they are known.
    """
    notes: list[str] = []
    idle = hardware.gpu_count - gpus_used
    if gpus_used and idle > 0:
        notes.append(f"{idle} of {hardware.gpu_count} GPUs would idle")
    rate = 0.0
    if spot:
        rate, basis = prices.interruptions_per_hour(hardware.instance_type, region, risk)
        notes.append(basis)
    rates = prices.rates_of(region)
    if rates.note:
        notes.append(rates.note)
    return Offer(
        provider=PROVIDER,
        instance_type=hardware.instance_type,
        location=region,
        region=region,
        zone=zone,
        spot=spot,
        usd_per_hour=price.usd_per_hour,
        priced_at=price.at,
        price_source=price.source,
        gpu_name=hardware.gpu_name,
        gpu_count=hardware.gpu_count,
        gpu_memory_gib=hardware.gpu_memory_gib,
        vcpus=float(hardware.vcpus),
        memory_gib=hardware.memory_gib,
        disk_gib=16384.0,
        disk_usd_per_gib_month=rates.disk_usd_per_gib_month,
        ipv4_usd_per_hour=prices.IPV4_USD_PER_HOUR if public_ipv4 else 0.0,
        egress_usd_per_gib=rates.egress_usd_per_gib,
        interruptions_per_hour=rate,
        notes=tuple(notes),
    )


def tags_of(resource: Mapping[str, Any]) -> dict[str, str]:
    """Return a resource's tags as a mapping."""
    return {tag["Key"]: tag.get("Value", "") for tag in resource.get("Tags") or ()}


def aws_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags in EC2's form, in one fixed order."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def instances_of(reservations: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the machines of a DescribeInstances answer."""
    return [machine for reservation in reservations for machine in reservation.get("Instances", [])]


def to_instance(
    machine: Mapping[str, Any], region: str, now: datetime, *, address: str = "public"
) -> Instance:
    """Return our record of one machine as EC2 described it at ``now``."""
    tags = tags_of(machine)
    state = _STATES.get(str(machine.get("State", {}).get("Name")), InstanceState.PENDING)
    running = state is InstanceState.RUNNING
    return Instance(
        ref=ref_of(machine, region),
        state=state,
        seen_at=now,
        instance_type=str(machine.get("InstanceType", "")),
        spot=machine.get("InstanceLifecycle") == "spot",
        created_at=_utc(machine.get("LaunchTime")),
        access=_access(machine, tags, address) if running else None,
        state_reason=_reason(machine),
        **_from_tags(tags),
    )


def ref_of(machine: Mapping[str, Any], region: str) -> InstanceRef:
    """Return a machine's address; one that carries a kept disk goes by the address of the disk's own machine."""
    tags = tags_of(machine)
    stands_for = tags.get(INSTANCE_TAG) if CARRIER_TAG in tags else None
    return InstanceRef(PROVIDER, region, stands_for or machine["InstanceId"])


def ref_of_disk(volume: Mapping[str, Any], region: str) -> InstanceRef:
    """Return the address of a kept disk: its machine's where the disk knows it, else the volume's own."""
    return InstanceRef(PROVIDER, region, tags_of(volume).get(INSTANCE_TAG) or volume["VolumeId"])


def kept_disk_to_instance(volume: Mapping[str, Any], ref: InstanceRef, now: datetime) -> Instance:
    """Return the record of a machine of which nothing but its disk is left: `InstanceState.STOPPED`."""
    tags = tags_of(volume)
    size = volume.get("Size", 0)
    return Instance(
        ref=ref,
        state=InstanceState.STOPPED,
        seen_at=now,
        created_at=_utc(volume.get("CreateTime")),
        state_reason=f"its machine is gone, its disk {volume['VolumeId']} ({size} GiB) is kept",
        **_from_tags(tags),
    )


def unknown(ref: InstanceRef, now: datetime) -> Instance:
    """Return our record of what EC2 has no trace of."""
    return Instance(
        ref=ref,
        state=InstanceState.TERMINATED,
        seen_at=now,
        run_id=None,
        token=None,
        state_reason="unknown to EC2",
    )


def root_volume_id(machine: Mapping[str, Any]) -> str | None:
    """Return the id of a machine's root volume, once it is attached."""
    root = machine.get("RootDeviceName")
    for device in machine.get("BlockDeviceMappings") or ():
        if device.get("DeviceName") == root:
            return str(device["Ebs"]["VolumeId"])
    return None


def group_ids(machine: Mapping[str, Any]) -> list[str]:
    """Return the security groups that a machine is in, by whichever of its interfaces."""
    holders = [
        machine.get("SecurityGroups"),
        *(nic.get("Groups") for nic in machine.get("NetworkInterfaces") or ()),
    ]
    return sorted({group["GroupId"] for held in holders for group in held or ()})


def _utc(at: datetime | None) -> datetime | None:
    """Return a time without the SDK's own time zone object."""
    return at.astimezone(timezone.utc) if at else None


def _from_tags(tags: Mapping[str, str]) -> dict[str, Any]:
    deadline = tags.get(DEADLINE_TAG)
    return {
        "run_id": tags.get("launch-run"),
        "token": tags.get("launch-token"),
        "home_id": tags.get("launch-home"),
        "owner": tags.get("launch-owner"),
        "usd_per_hour": float(tags.get(PRICE_TAG) or 0.0),
        "deadline": datetime.fromisoformat(deadline).astimezone(timezone.utc) if deadline else None,
    }


def _access(machine: Mapping[str, Any], tags: Mapping[str, str], address: str) -> SshAccess | None:
    field = {"public": "PublicIpAddress", "private": "PrivateIpAddress", "ipv6": "Ipv6Address"}[address]
    host = machine.get(field) or (_ipv6_of(machine) if address == "ipv6" else None)
    if not host:
        return None
    host_key = tags.get(HOST_KEY_TAG)
    return SshAccess(
        host=str(host), user=tags.get(USER_TAG) or "ubuntu", host_keys=(host_key,) if host_key else ()
    )


def _ipv6_of(machine: Mapping[str, Any]) -> str | None:
    for nic in machine.get("NetworkInterfaces") or ():
        for held in nic.get("Ipv6Addresses") or ():
            return str(held["Ipv6Address"])
    return None


def _reason(machine: Mapping[str, Any]) -> str:
    reason = machine.get("StateReason") or {}
    code, message = str(reason.get("Code") or ""), str(reason.get("Message") or "")
    return message if code in message else ": ".join(part for part in (code, message) if part)
