"""The body of ``instances.insert`` for a try: pure, and the same for the same try.

How a machine ends when nobody is there is said here, once for its deadline and for a preemption, which share one setting
(``instanceTerminationAction``): **STOP** for ``park``, since a stopped machine keeps its name, its disk and its labels, can
be started again where it stands, and costs its disk alone; **DELETE**, disk and all, for ``push`` and ``linger``, where
nothing on it is worth a bill. The deadline is a time (``terminationTime``), not a duration: a duration would begin anew
each time the machine is started.
"""

from __future__ import annotations

import math
import re
import uuid
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadOption
from provisioning.gcp.convert import (
    CARRIES_LABEL,
    DEADLINE,
    DRIVER,
    HOME,
    OWNER,
    PRICE,
    USER,
    label_value,
    region_of,
)
from provisioning.gcp.hardware import disk_type
from provisioning.models import WhenUnattended

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from provisioning.gcp.hardware import Hardware
    from provisioning.gcp.images import Image
    from provisioning.gcp.options import Options
    from provisioning.models import InstanceSpec, Offer

__all__ = [
    "BOOT_DEVICE",
    "NOTICE_S",
    "carrier_body",
    "carrier_name",
    "insert_body",
    "labels_of",
    "request_id",
    "scheduling_with",
    "termination_time",
]

BOOT_DEVICE = "boot"
NOTICE_S = 120
"""Between the notice and the end of a Spot machine; must be asked for when it is made, and costs nothing."""
LONGEST_LIFE = timedelta(days=120)
_IDS = uuid.UUID("c5a1f0a8-4c0e-4c8c-9d0b-0e7f6f2f6c11")
_MOST_LABELS = 64

_DRIVER_SCRIPT = """\
#!/bin/sh
# Tells by a guest attribute when the driver of the GPU answers: some images install it at their first boot.
(
    said=missing
    tries=0
    while [ "$tries" -lt 180 ]; do
        if nvidia-smi -L >/dev/null 2>&1; then said=ready; break; fi
        tries=$((tries + 1))
        sleep 5
    done
    curl -s -X PUT --data "$said" -H "Metadata-Flavor: Google" \\
        http://metadata.google.internal/computeMetadata/v1/instance/guest-attributes/launch/driver
) >/dev/null 2>&1 &
"""


def request_id(*parts: str) -> str:
    """Return the id by which Google knows a repeated call again: the same parts, the same id."""
    return str(uuid.uuid5(_IDS, "/".join(parts)))


def termination_time(deadline: datetime) -> str:
    """Return a deadline as the API takes it."""
    return deadline.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def labels_of(spec: InstanceSpec) -> dict[str, str]:
    """Return the labels of machine and disk.

    Raises:
        BadOption: a label of the job is none that Google takes.
    """
    for key, value in spec.labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise BadOption(
                f"labels: {key}={value!r} is no label of Google Cloud",
                hint="small letters, digits, - and _; at most 63 of them, and a letter first in the key",
            )
    labels = {**spec.labels, **{key: label_value(value) for key, value in _ours(spec).items()}}
    if len(labels) > _MOST_LABELS:
        raise BadOption(
            f"labels: {len(spec.labels)} of them; Google Cloud allows {_MOST_LABELS} with our {len(labels) - len(spec.labels)}"
        )
    return labels


def insert_body(
    offer: Offer,
    spec: InstanceSpec,
    options: Options,
    *,
    hardware: Hardware,
    image: Image,
    project: str,
    tag: str,
    now: datetime,
) -> dict[str, Any]:
    """Return the body of the create call.

    Raises:
        BadOption: labels, keys or the deadline are not what Google takes.
    """
    zone = offer.location
    labels = labels_of(spec)
    body: dict[str, Any] = {
        "name": spec.token,
        "machineType": f"zones/{zone}/machineTypes/{hardware.machine_type}",
        "labels": labels,
        "tags": {"items": [tag]},
        "metadata": {"items": _items(_metadata(offer, spec, options, hardware, image))},
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "deviceName": BOOT_DEVICE,
                "initializeParams": {
                    "diskName": spec.token,
                    "sourceImage": image.link,
                    "diskSizeGb": str(max(math.ceil(spec.disk_gib), image.disk_gib)),
                    "diskType": f"zones/{zone}/diskTypes/{disk_type(hardware.machine_type)}",
                    "labels": labels,
                },
            }
        ],
        "networkInterfaces": [_interface(options, project, zone)],
        "scheduling": _scheduling(offer, spec, hardware, now),
    }
    if hardware.is_attached:
        body["guestAccelerators"] = [
            {
                "acceleratorType": f"zones/{zone}/acceleratorTypes/{hardware.accelerator}",
                "acceleratorCount": hardware.gpu_count,
            }
        ]
    return body


def carrier_body(
    disk: Mapping[str, Any],
    metadata: Mapping[str, str],
    deadline: datetime,
    options: Options,
    *,
    machine_id: str,
    hardware: Hardware,
    usd_per_hour: float,
    zone: str,
    project: str,
    tag: str,
) -> dict[str, Any]:
    """Return the body of the create call for a small machine that boots a kept disk, to read it.

    It is the same system with the same logins, on other hardware. The disk outlives it.
    """
    labels = {**(disk.get("labels") or {}), CARRIES_LABEL: machine_id}
    told = {
        key: value for key, value in metadata.items() if key not in (DRIVER, "startup-script", "fingerprint")
    }
    told |= {DEADLINE: deadline.isoformat(), PRICE: f"{usd_per_hour:.6g}"}
    return {
        "name": carrier_name(machine_id),
        "machineType": f"zones/{zone}/machineTypes/{hardware.machine_type}",
        "labels": labels,
        "tags": {"items": [tag]},
        "metadata": {"items": _items(told)},
        "disks": [
            {
                "boot": True,
                "autoDelete": False,
                "deviceName": BOOT_DEVICE,
                "source": f"projects/{project}/zones/{zone}/disks/{disk['name']}",
            }
        ],
        "networkInterfaces": [_interface(options, project, zone)],
        "scheduling": {
            "provisioningModel": "STANDARD",
            "automaticRestart": False,
            "terminationTime": termination_time(deadline),
            "instanceTerminationAction": "DELETE",
        },
    }


def carrier_name(machine_id: str) -> str:
    """Return the name of the machine that carries the disk of another."""
    return f"{machine_id[:61]}-r"


def scheduling_with(scheduling: Mapping[str, Any], deadline: datetime) -> dict[str, Any]:
    """Return a machine's scheduling with another deadline; the API replaces the whole of it."""
    return {**scheduling, "terminationTime": termination_time(deadline)}


def _ours(spec: InstanceSpec) -> dict[str, str]:
    return {key: value for key, value in spec.tags.items() if key.startswith("launch-")}


def _metadata(
    offer: Offer, spec: InstanceSpec, options: Options, hardware: Hardware, image: Image
) -> dict[str, str]:
    keys = [" ".join(key.split()) for key in spec.ssh_public_keys]
    told = {
        "ssh-keys": "\n".join(f"{options.ssh_user}:{key}" for key in keys),
        "block-project-ssh-keys": "TRUE",
        "enable-oslogin": "FALSE",  # with it, ssh-keys are not looked at
        "enable-guest-attributes": "TRUE",  # where the machine tells its host keys
        DEADLINE: spec.deadline.isoformat(),
        PRICE: f"{offer.usd_per_hour:.6g}",
        USER: options.ssh_user,
        HOME: spec.home_id,
        OWNER: spec.owner,
    }
    if hardware.accelerator and not image.has_driver:
        told |= {"install-nvidia-driver": "True", "startup-script": _DRIVER_SCRIPT, DRIVER: "yes"}
    return told


def _items(metadata: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": metadata[key]} for key in sorted(metadata)]


def _interface(options: Options, project: str, zone: str) -> dict[str, Any]:
    told: dict[str, Any] = {"network": f"projects/{project}/global/networks/{options.network}"}
    if options.subnetwork:
        told["subnetwork"] = f"projects/{project}/regions/{region_of(zone)}/subnetworks/{options.subnetwork}"
    if options.address == "public":
        told["accessConfigs"] = [{"type": "ONE_TO_ONE_NAT", "name": "External NAT", "networkTier": "PREMIUM"}]
    return told


def _scheduling(offer: Offer, spec: InstanceSpec, hardware: Hardware, now: datetime) -> dict[str, Any]:
    if spec.deadline - now > LONGEST_LIFE:
        raise BadOption(
            f"gcp: a machine ends after {LONGEST_LIFE.days} days at the latest, and this deadline is later",
            hint="a shorter --max-duration",
        )
    stops = spec.when_unattended is WhenUnattended.PARK
    told: dict[str, Any] = {
        "provisioningModel": "SPOT" if offer.spot else "STANDARD",
        # Started again by Google after a fault, a machine would run without its job: that is for us to decide.
        "automaticRestart": False,
        "onHostMaintenance": "TERMINATE" if offer.spot or hardware.accelerator else "MIGRATE",
        "terminationTime": termination_time(spec.deadline),
        "instanceTerminationAction": "STOP" if stops else "DELETE",
    }
    if offer.spot:
        told["preemptionNoticeDuration"] = {"seconds": str(NOTICE_S)}
    if stops and hardware.has_local_ssd:
        told["onInstanceStopAction"] = {"discardLocalSsd": True}
    return told
