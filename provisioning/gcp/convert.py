"""Between Compute Engine's words and ours: pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from provisioning.gcp import prices
from provisioning.models import Instance, InstanceRef, InstanceState, Offer, SshAccess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioning.gcp.hardware import Hardware
    from provisioning.prices import Price

__all__ = [
    "CARRIES_LABEL",
    "DEADLINE",
    "DRIVER",
    "HOME",
    "OWNER",
    "PRICE",
    "PROVIDER",
    "USER",
    "ended",
    "kept_disk_to_instance",
    "label_value",
    "last_part",
    "metadata_of",
    "ref_of",
    "region_of",
    "state_of",
    "to_instance",
    "to_offer",
]

PROVIDER = "gcp"
# Metadata of a machine, for what a label's 63 letters and digits cannot hold.
DEADLINE = "launch-deadline"
PRICE = "launch-usd-per-hour"
USER = "launch-ssh-user"
HOME = "launch-home"
OWNER = "launch-owner"
DRIVER = "launch-awaits-driver"
"""The machine tells by a guest attribute when its GPU's driver answers."""
CARRIES_LABEL = "launch-carries"
"""On a machine that was rented to read a kept disk: whose disk it is."""

_STATES = {
    "PENDING": InstanceState.PENDING,
    "PROVISIONING": InstanceState.PENDING,
    "STAGING": InstanceState.PENDING,
    "REPAIRING": InstanceState.PENDING,
    "RUNNING": InstanceState.RUNNING,
    "PENDING_STOP": InstanceState.STOPPING,
    "STOPPING": InstanceState.STOPPING,
    "SUSPENDING": InstanceState.STOPPING,
    "DEPROVISIONING": InstanceState.STOPPING,
    "STOPPED": InstanceState.STOPPED,
    "SUSPENDED": InstanceState.STOPPED,
    "TERMINATED": InstanceState.STOPPED,
}
_SAME_TIME = timedelta(seconds=1)


def last_part(url: str) -> str:
    """Return the name at the end of a resource's URL."""
    return url.rpartition("/")[2]


def region_of(zone: str) -> str:
    """Return ``us-central1`` for ``us-central1-a``."""
    return zone.rpartition("-")[0]


def label_value(text: str) -> str:
    """Return a text as a label can hold it: 63 small letters, digits, dashes and underscores."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:63].strip("-_")


def to_offer(
    hardware: Hardware, *, zone: str, spot: bool, price: Price, gpus_used: int, public_ipv4: bool = True
) -> Offer:
    """Return one offer: a machine in a zone on one of the two markets. ``gpus_used``: more than these would idle."""
    notes: list[str] = []
    idle = hardware.gpu_count - gpus_used
    if hardware.gpu_count and idle > 0:
        notes.append(f"{idle} of {hardware.gpu_count} GPUs would idle")
    rate = 0.0
    if spot:
        rate = 1.0 / prices.MEAN_HOURS_OF_SPOT
        notes.append("interruptions: Google publishes no figure, planned as one a day")
    gpu = hardware.gpu
    return Offer(
        provider=PROVIDER,
        instance_type=hardware.machine_type,
        location=zone,
        region=region_of(zone),
        zone=zone,
        spot=spot,
        usd_per_hour=price.usd_per_hour,
        priced_at=price.at,
        price_source=price.source,
        gpu_name=gpu.name if gpu else None,
        gpu_count=hardware.gpu_count if gpu else 0,
        gpu_memory_gib=gpu.memory_gib if gpu else 0.0,
        vcpus=float(hardware.vcpus),
        memory_gib=hardware.memory_gib,
        disk_gib=65536.0,
        disk_usd_per_gib_month=prices.DISK_USD_PER_GIB_MONTH,
        ipv4_usd_per_hour=prices.ipv4_usd_per_hour(spot=spot) if public_ipv4 else 0.0,
        egress_usd_per_gib=prices.EGRESS_USD_PER_GIB,
        interruptions_per_hour=rate,
        notes=tuple(notes),
    )


def metadata_of(machine: Mapping[str, Any]) -> dict[str, str]:
    """Return a machine's metadata as a mapping."""
    items = (machine.get("metadata") or {}).get("items") or ()
    return {item["key"]: item.get("value", "") for item in items}


def state_of(machine: Mapping[str, Any]) -> InstanceState:
    """Return what a machine's status means; one that is not known is taken for passing."""
    return _STATES.get(str(machine.get("status")), InstanceState.PENDING)


def ref_of(machine: Mapping[str, Any]) -> InstanceRef:
    """Return a machine's address; one that carries a kept disk goes by the address of the disk's own machine."""
    carried = (machine.get("labels") or {}).get(CARRIES_LABEL)
    return InstanceRef(PROVIDER, last_part(machine["zone"]), carried or machine["name"])


def to_instance(
    machine: Mapping[str, Any],
    now: datetime,
    *,
    address: str = "public",
    host_keys: tuple[str, ...] = (),
    reason: str = "",
) -> Instance:
    """Return our record of one machine as Compute Engine described it at ``now``."""
    told, labels = metadata_of(machine), machine.get("labels") or {}
    state = state_of(machine)
    scheduling = machine.get("scheduling") or {}
    return Instance(
        ref=ref_of(machine),
        state=state,
        seen_at=now,
        run_id=labels.get("launch-run"),
        token=labels.get("launch-token"),
        home_id=told.get(HOME) or labels.get("launch-home"),
        owner=told.get(OWNER) or labels.get("launch-owner"),
        instance_type=last_part(str(machine.get("machineType", ""))),
        spot=scheduling.get("provisioningModel") == "SPOT",
        usd_per_hour=float(told.get(PRICE) or 0.0),
        created_at=_time(machine.get("creationTimestamp")),
        deadline=_deadline(_time(scheduling.get("terminationTime")), _time(told.get(DEADLINE))),
        access=_access(machine, told, address, host_keys) if state is InstanceState.RUNNING else None,
        state_reason=reason or str(machine.get("statusMessage") or ""),
    )


def kept_disk_to_instance(disk: Mapping[str, Any], ref: InstanceRef, now: datetime) -> Instance:
    """Return the record of a machine of which nothing but its disk is left: `InstanceState.STOPPED`."""
    labels = disk.get("labels") or {}
    size = disk.get("sizeGb", "?")
    return Instance(
        ref=ref,
        state=InstanceState.STOPPED,
        seen_at=now,
        run_id=labels.get("launch-run"),
        token=labels.get("launch-token"),
        home_id=labels.get("launch-home"),
        owner=labels.get("launch-owner"),
        created_at=_time(disk.get("creationTimestamp")),
        state_reason=f"its machine is gone, its disk {disk['name']} ({size} GiB) is kept",
    )


def ended(
    ref: InstanceRef,
    now: datetime,
    *,
    reason: str,
    run_id: str | None = None,
    token: str | None = None,
) -> Instance:
    """Return our record of what Compute Engine does not know (any more)."""
    return Instance(
        ref=ref,
        state=InstanceState.TERMINATED,
        seen_at=now,
        run_id=run_id,
        token=token,
        state_reason=reason,
    )


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)


def _deadline(armed: datetime | None, told: datetime | None) -> datetime | None:
    """Return what is armed; to the microsecond where that is what the machine was made with."""
    if armed is None or (told is not None and abs(armed - told) < _SAME_TIME):
        return told
    return armed


def _access(
    machine: Mapping[str, Any], told: Mapping[str, str], address: str, host_keys: tuple[str, ...]
) -> SshAccess | None:
    interface = (machine.get("networkInterfaces") or [{}])[0]
    config = (interface.get("accessConfigs") or [{}])[0]
    host = config.get("natIP") if address == "public" else interface.get("networkIP")
    if not host:
        return None
    return SshAccess(host=str(host), user=told.get(USER) or "ubuntu", host_keys=host_keys)
