"""Reading a disk whose machine is gone: the cheapest machine of its zone carries it, under the old machine's address.

A one-time spot machine cannot be stopped, so what is parked of it is its root volume. To unpark it, a small on-demand
machine is rented beside the volume, the volume is attached as its second disk, and what the run left is shown at the
same path as before. Its login and host keys are the old machine's, kept on file at home since it was made.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from provisioning.aws import userdata
from provisioning.aws.convert import (
    CARRIER_TAG,
    DEADLINE_TAG,
    HOST_KEY_TAG,
    INSTANCE_TAG,
    PRICE_TAG,
    USER_TAG,
    aws_tags,
    tags_of,
)
from provisioning.errors import BadOption
from provisioning.files import write_atomically
from provisioning.models import HostKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from provisioning.aws.images import Image
    from provisioning.models import InstanceSpec

__all__ = ["DEVICE", "MOUNTED_AFTER", "KeptKeys", "Keys", "attached_at", "carrier_request"]

DEVICE = "/dev/sdf"
MOUNTED_AFTER = timedelta(seconds=15)
"""So long after it was attached a disk is taken to be mounted: the machine looks for it every second."""
_POINT = "/mnt/launch-disk"

_MOUNT = """\
#!/bin/sh
# Shows what a run has left on the disk of a machine that is gone, at the path where it was.
disk=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume}
home=/home/{user}
(
    tries=0
    while [ ! -e "$disk" ] && [ "$tries" -lt 900 ]; do tries=$((tries + 1)); sleep 1; done
    part=$disk-part1
    [ -e "$part" ] || part=$disk
    mkdir -p {point} "$home/launch"
    mountpoint -q {point} || mount -o nouuid "$part" {point} 2>/dev/null || mount "$part" {point}
    mountpoint -q "$home/launch" || mount --bind "{point}$home/launch" "$home/launch"
) >/var/log/launch-disk.log 2>&1 &
"""


@dataclass(frozen=True, slots=True)
class Keys:
    """Who may log in to a machine, and what it shows."""

    public_keys: tuple[str, ...]
    host_key: HostKey | None


class KeptKeys:
    """The keys of machines whose disk may outlive them: one file each, readable by this user alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, instance_id: str, spec: InstanceSpec) -> None:
        """Remember the keys of a machine; a full disk is no reason to lose the machine."""
        host_key = spec.host_key
        told = {
            "public_keys": list(spec.ssh_public_keys),
            "host_key": [host_key.private, host_key.public] if host_key else None,
        }
        with suppress(OSError):
            write_atomically(self._folder / instance_id, json.dumps(told))

    def of(self, instance_id: str) -> Keys:
        """Return the keys of a machine; `BadOption` where this computer never had them."""
        try:
            told = json.loads((self._folder / instance_id).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise BadOption(
                f"aws: this computer does not have the keys of {instance_id}, whose disk is kept",
                hint="attach the volume to a machine of yours in its zone to read it",
            ) from None
        pair = told["host_key"]
        return Keys(tuple(told["public_keys"]), HostKey(private=pair[0], public=pair[1]) if pair else None)

    def forget(self, instance_id: str) -> None:
        """Delete the keys of a machine of which nothing is left."""
        with suppress(OSError):
            (self._folder / instance_id).unlink(missing_ok=True)


def carrier_request(
    disk: Mapping[str, Any],
    keys: Keys,
    deadline: datetime,
    *,
    instance_id: str,
    instance_type: str,
    usd_per_hour: float,
    image: Image,
    interface: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the parameters of the create call for the machine that carries ``disk``. The same call, the same bytes."""
    old = tags_of(disk)
    user = old.get(USER_TAG) or "ubuntu"
    tags = {
        name: value
        for name, value in old.items()
        if not name.startswith("aws:") and name != "launch-keeps-disk"
    }
    tags |= {
        INSTANCE_TAG: instance_id,
        CARRIER_TAG: str(disk["VolumeId"]),
        DEADLINE_TAG: deadline.isoformat(),
        PRICE_TAG: f"{usd_per_hour:.6g}",
        USER_TAG: image.user,
    }
    if keys.host_key is not None:
        tags[HOST_KEY_TAG] = keys.host_key.public
    text = userdata.user_data(
        keys.public_keys, keys.host_key, deadline, also=(mount_script(str(disk["VolumeId"]), user),)
    )
    return {
        "ClientToken": f"{old.get('launch-token', instance_id)}-c{int(deadline.timestamp())}"[-64:],
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": image.id,
        "InstanceType": instance_type,
        "UserData": text,
        "NetworkInterfaces": [dict(interface)],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "BlockDeviceMappings": [
            {
                "DeviceName": image.root_device,
                "Ebs": {"VolumeSize": image.root_gib, "VolumeType": "gp3", "DeleteOnTermination": True},
            }
        ],
        "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": aws_tags(tags)} for kind in ("instance", "network-interface")
        ],
    }


def mount_script(volume_id: str, user: str) -> str:
    """Return the boot hook that waits for the disk and mounts it."""
    if not re.fullmatch(r"vol-[0-9a-f]+", volume_id) or not re.fullmatch(r"[a-z_][a-z0-9_-]*", user):
        raise BadOption(f"aws: a disk {volume_id!r} of {user!r} cannot be mounted")
    return _MOUNT.format(volume=volume_id.replace("-", ""), user=user, point=_POINT)


def attached_at(machine: Mapping[str, Any], volume_id: str) -> datetime | None:
    """Return since when a carrier has its disk; None before that."""
    for device in machine.get("BlockDeviceMappings") or ():
        ebs = device.get("Ebs") or {}
        if ebs.get("VolumeId") == volume_id and ebs.get("Status") == "attached":
            at: datetime | None = ebs.get("AttachTime")
            return at
    return None
